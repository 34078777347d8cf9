package credstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// Names in the directory of the file store. A record "x" is in record-x.a and record-x.b.
const (
	lockName = ".lock"
	keyName  = "store.key"
	autoName = "auto" // what "store: auto" chose here, see chooseAuto
)

const (
	filePatience  = 10 * time.Second     // for the lock of another process; then Busy
	fileLockRetry = 5 * time.Millisecond // flock(2) cannot wait with a deadline
)

// fileStore is the Store in a directory that only its owner can enter: one
// file per copy of a record, sealed with AES-256-GCM, replaced atomically and
// synced. The directory's lock keeps other processes out, so every temporary
// file that is seen under it is a leftover.
type fileStore struct {
	dir       string
	home      *keyHome // where keys may be kept; may be nil
	keyInFile bool     // a new key is kept in a file in any case
	turn      turn
	log       *slog.Logger
}

// openFile opens the store in c.Dir, makes that where it is missing, and
// refuses one that others can enter.
func openFile(ctx context.Context, c Config, home *keyHome) (*fileStore, error) {
	if c.Dir == "" {
		return nil, &Error{Op: opOpen, Reason: Failed, Err: errors.New("no directory is given for the file store")}
	}
	f := &fileStore{dir: c.Dir, home: home, keyInFile: c.KeyInFile, turn: newTurn(), log: c.Log}
	return f, f.alone(ctx, opOpen, f.sweep)
}

// Save implements Store.
func (f *fileStore) Save(ctx context.Context, id string, data []byte) error {
	if err := beginSave(ctx, id, data); err != nil {
		return err
	}
	return f.alone(ctx, opSave, func() error {
		key, err := f.keyOrNew(ctx)
		if err != nil {
			return err
		}
		return saveTwin(fileSlots{dir: f.dir, key: key}, id, data)
	})
}

// Load implements Store.
func (f *fileStore) Load(ctx context.Context, id string) (data []byte, err error) {
	if err := begin(ctx, opLoad, id); err != nil {
		return nil, err
	}
	var damage error
	err = f.alone(ctx, opLoad, func() error {
		slots, err := f.slotsToRead(ctx, id)
		if err != nil {
			return err
		}
		data, damage, err = loadTwin(slots, id)
		return err
	})
	if damage != nil {
		f.log.WarnContext(ctx, "one copy of a stored record is damaged; the other one is used", slog.String("store", string(File)), slog.String("record", id), slog.Any("cause", damage))
	}
	return data, err
}

// slotsToRead has the key in it where one is needed: a record that is not there
// is ErrNotFound also while the platform store that keeps the key is away.
func (f *fileStore) slotsToRead(ctx context.Context, id string) (fileSlots, error) {
	if !fileExists(slotPath(f.dir, id, slotA)) && !fileExists(slotPath(f.dir, id, slotB)) {
		return fileSlots{}, ErrNotFound
	}
	key, err := f.key(ctx)
	if noKey := (*noKeyError)(nil); errors.As(err, &noKey) {
		return fileSlots{dir: f.dir, noKey: noKey}, nil
	}
	return fileSlots{dir: f.dir, key: key}, err
}

// Delete implements Store.
func (f *fileStore) Delete(ctx context.Context, id string) error {
	if err := begin(ctx, opDelete, id); err != nil {
		return err
	}
	// Without the key the generations in the headers still tell the order, so a
	// sign-out works also when the key is out of reach.
	return f.alone(ctx, opDelete, func() error { return deleteTwin(fileSlots{dir: f.dir}, id) })
}

// List implements Store.
func (f *fileStore) List(ctx context.Context) (ids []string, err error) {
	err = f.alone(ctx, opList, func() error {
		entries, err := os.ReadDir(f.dir)
		for _, e := range entries {
			if id, ok := parseSlotName(e.Name()); ok {
				ids = append(ids, id)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return listed(ids), nil
}

// alone runs do with the directory checked and everybody else kept out.
func (f *fileStore) alone(ctx context.Context, op string, do func() error) error {
	if err := f.turn.take(ctx, op); err != nil {
		return err
	}
	defer f.turn.give()
	if err := ownDirectory(f.dir); err != nil {
		return fileError(op, err)
	}
	patience, cancel := context.WithTimeout(ctx, filePatience)
	defer cancel()
	lock := flock.New(filepath.Join(f.dir, lockName), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(patience, fileLockRetry); err != nil {
		if ctx.Err() == nil && patience.Err() != nil {
			return &Error{Op: op, Reason: Busy, Err: fmt.Errorf("the lock %s was not free for %s", lock.Path(), filePatience)}
		}
		return fileError(op, err)
	}
	err := do()
	if unlockErr := lock.Unlock(); err == nil {
		err = unlockErr
	}
	return fileError(op, err)
}

// sweep removes the temporary files of a process that died.
func (f *fileStore) sweep() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		of, ok := ownerfile.Leftover(e.Name())
		if !ok || !isOurs(of) {
			continue
		}
		if err := ownerfile.Remove(filepath.Join(f.dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// isOurs reports whether the store writes a file of this name.
func isOurs(name string) bool {
	_, record := parseSlotName(name)
	return record || name == keyName || name == autoName
}

// ownDirectory makes dir, or checks that nobody else can enter it.
func ownDirectory(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return ownerfile.ProtectDir(dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return ownerfile.Check(dir, info)
}

// readOwn reads a file of ours of at most limit bytes. A larger one is cut
// after limit+1 bytes, which no parser takes.
func readOwn(path string, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // a file that was only read has nothing to lose
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if err := ownerfile.Check(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, int64(limit)+1))
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// fileError gives an error of the file system its reason.
func fileError(op string, err error) error {
	if _, ours := errors.AsType[*Error](err); err == nil || ours || errors.Is(err, ErrNotFound) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	reason := Failed
	switch {
	case errors.Is(err, fs.ErrPermission):
		reason = Permission
	case isDiskFull(err):
		reason = DiskFull
	}
	return &Error{Op: op, Reason: reason, Err: err}
}
