package credstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Empty deletes every record of store, also damaged ones, and after the last of
// them what a file store keeps in the platform's store: its key. It gives the number of
// records. What could not be deleted is in the error, and Empty may be called again.
func Empty(ctx context.Context, store Store) (records int, err error) {
	ids, err := store.List(ctx)
	for _, id := range ids {
		err = errors.Join(err, store.Delete(ctx, id))
	}
	if f, ok := store.(*fileStore); ok && err == nil {
		err = f.alone(ctx, opDelete, func() error { return f.dropKey(ctx) })
	}
	return len(ids), err
}

// dropKey removes the key and then the line that names it.
func (f *fileStore) dropKey(ctx context.Context) error {
	path := filepath.Join(f.dir, keyName)
	line, err := readOwn(path, keyFileLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A line that is damaged names nothing that could be removed.
	if kind, id, err := parseKeyLine(string(line)); err == nil && kind != File {
		home, err := f.keyStore(kind)
		if err == nil {
			err = home.Delete(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return os.Remove(path)
}
