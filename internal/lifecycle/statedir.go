package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/natefinch/atomic"
)

// EnsureStateDir makes path, and what is missing above it, with access for its
// owner only: mode 0700; on Windows an access list of its own for this user,
// SYSTEM and Administrators. An existing directory that somebody else can read
// or owns is refused, with the command that mends it.
//
// On Windows an existing directory that only inherits its access list gets that
// list too; one with a list of its own is left as it is, since we or an
// administrator gave it on purpose.
func EnsureStateDir(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return createStateDir(path)
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("state directory %s is a file; choose another --state-dir", path)
	}
	return protectStateDir(path, info)
}

func createStateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("state directory: %w; choose another --state-dir", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return protectStateDir(path, info)
}

// WriteOwnerOnly puts data into path, readable by its owner only. Afterwards,
// whatever happens, path holds the old or the new content, and once
// WriteOwnerOnly has returned nil the new one is on the disk.
func WriteOwnerOnly(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		// A rename; on Windows with WRITE_THROUGH.
		err = patiently(func() error { return atomic.ReplaceFile(tmp.Name(), path) })
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return syncDir(dir)
}

// Windows refuses to replace or remove a file while another process has it open,
// a reader or a virus scanner; that is over in milliseconds.
const (
	sharingTries = 50
	sharingPause = 10 * time.Millisecond
)

// patiently calls change again while another process has its file open.
func patiently(change func() error) error {
	err := change()
	for range sharingTries {
		if !openElsewhere(err) {
			break
		}
		<-time.After(sharingPause)
		err = change()
	}
	return err
}

// syncDir makes a rename durable (fsync(2) of the directory). Windows has no
// such call and needs none: the rename was written through.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readLimited reads a small file.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return data, errors.Join(err, f.Close())
}
