package credstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// The key of the file store is named by one line in the file "store.key":
//
//	m365-token-broker-key 1 file <the key, base64url>
//	m365-token-broker-key 1 wincred key-<hex>          (the id of the key there)
//	m365-token-broker-key 1 secret-service key-<hex>
//
// Where a key is kept is decided once, when it is made. A platform store that
// does not answer later is waited for: a second key would orphan every record.
const (
	keyMagic     = "m365-token-broker-key"
	keyVersion   = "1"
	keyFileLimit = 512
	homePatience = 2 * time.Second // for a platform store to take the key
)

// keyHome is a platform store that keeps the keys of file stores, apart from records.
type keyHome struct {
	kind  Kind
	store Store
}

// noKeyError says that the key is lost: not for now, but for good.
type noKeyError struct{ why string }

func (e *noKeyError) Error() string { return "the key of the file store is lost: " + e.why }

// key finds the key. It returns a *noKeyError where there is none any more, and
// another error where the key cannot be had now.
func (f *fileStore) key(ctx context.Context) ([]byte, error) {
	line, err := readOwn(filepath.Join(f.dir, keyName), keyFileLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &noKeyError{why: keyName + " is missing"}
	}
	if err != nil {
		return nil, err
	}
	kind, value, err := parseKeyLine(string(line))
	if err != nil {
		return nil, err
	}
	if kind == File {
		return decodeKey(value)
	}
	home, err := f.keyStore(kind)
	if err != nil {
		return nil, err
	}
	key, err := home.Load(ctx, value)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, &noKeyError{why: fmt.Sprintf("%s has no %q", kind, value)}
	case errors.Is(err, ErrCorrupt) || (err == nil && len(key) != keySize):
		return nil, &noKeyError{why: fmt.Sprintf("%q in %s is damaged", value, kind)}
	}
	return key, err
}

// keyStore is the platform store that keeps the key.
func (f *fileStore) keyStore(kind Kind) (Store, error) {
	if f.home == nil || f.home.kind != kind {
		return nil, &Error{Op: opOpen, Reason: Unavailable, Err: fmt.Errorf("the key of the file store %s is kept in %q, which this process cannot reach", f.dir, kind)}
	}
	return f.home.store, nil
}

// keyOrNew is key, or a new one where there is none any more.
func (f *fileStore) keyOrNew(ctx context.Context) ([]byte, error) {
	key, err := f.key(ctx)
	if noKey := (*noKeyError)(nil); !errors.As(err, &noKey) {
		return key, err
	}
	key = make([]byte, keySize)
	rand.Read(key) // never fails
	kind, value := f.keepKey(ctx, key)
	line := strings.Join([]string{keyMagic, keyVersion, string(kind), value}, " ") + "\n"
	return key, ownerfile.Write(filepath.Join(f.dir, keyName), []byte(line))
}

// keepKey gives key to the platform store when that answers, and says where
// the key is and its value or name there.
func (f *fileStore) keepKey(ctx context.Context, key []byte) (Kind, string) {
	inFile := base64.RawURLEncoding.EncodeToString(key)
	if f.home == nil || f.keyInFile {
		return File, inFile
	}
	ctx, cancel := context.WithTimeout(ctx, homePatience)
	defer cancel()
	name := make([]byte, 8)
	rand.Read(name) // never fails
	id := "key-" + hex.EncodeToString(name)
	err := Check(ctx, f.home.store)
	if err == nil {
		err = f.home.store.Save(ctx, id, key)
	}
	if err != nil {
		f.log.InfoContext(ctx, "the key of the file store is kept in an owner-only file, because the platform store does not take it", slog.String("store", string(f.home.kind)), slog.Any("cause", err))
		return File, inFile
	}
	return f.home.kind, id
}

// keyPlace says for people where the key is, or "" where there is none yet.
func (f *fileStore) keyPlace() string {
	line, err := readOwn(filepath.Join(f.dir, keyName), keyFileLimit)
	if err != nil {
		return ""
	}
	kind, _, err := parseKeyLine(string(line))
	if err != nil {
		return ""
	}
	return string(kind)
}

// parseKeyLine reads store.key: where the key is, and the key or its name there.
func parseKeyLine(line string) (kind Kind, value string, err error) {
	fields := strings.Fields(line)
	if len(fields) != 4 || fields[0] != keyMagic {
		return "", "", &noKeyError{why: keyName + " is damaged"}
	}
	if fields[1] != keyVersion {
		return "", "", fmt.Errorf("%s has format version %q, which a newer broker wrote", keyName, fields[1])
	}
	kind, value = Kind(fields[2]), fields[3]
	if kind == File {
		return kind, value, nil
	}
	if (kind != Wincred && kind != SecretService) || ValidID(value) != nil {
		return "", "", &noKeyError{why: keyName + " is damaged"}
	}
	return kind, value, nil
}

func decodeKey(value string) ([]byte, error) {
	key, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(key) != keySize {
		return nil, &noKeyError{why: keyName + " is damaged"} // the decoder's error would quote the key
	}
	return key, nil
}
