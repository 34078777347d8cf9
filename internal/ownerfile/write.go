// Package ownerfile keeps the files that only their owner may read: it replaces
// and removes them so that a crash or a loss of power leaves the old file or
// the new one, and it refuses what other users can reach, with the command that
// mends it.
//
// On Unix the mode of each file and directory protects it. On Windows the
// access list of the directory does, which its files inherit: see ProtectDir.
//
// All functions are safe for concurrent use, also by several processes; of two
// writers of one file the later one wins.
package ownerfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Write puts data into path, readable by its owner only. Afterwards, whatever
// happens, path holds the old or the new content, and once Write has returned
// nil the new one is on the disk. The directory must exist.
//
// The content goes into a new file beside path, which is flushed and then
// renamed. That a process was killed in between shows in a file that Leftover
// knows. On Windows Write waits for half a second at most while another process
// has path open. The error wraps that of the file system.
func Write(path string, data []byte) error { return write(path, data, createBeside) }

// WriteOwned is Write for a directory that other users may look into: on Windows
// the file gets an access list of its own, for this user, SYSTEM and
// Administrators, from its first moment on. On Unix Write does that already.
func WriteOwned(path string, data []byte) error { return write(path, data, createOwned) }

// creator makes a new, empty file beside path, with a name that Leftover knows.
type creator func(path string) (*os.File, error)

func createBeside(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
}

func write(path string, data []byte, create creator) error {
	temporary, err := writeBeside(path, data, create)
	if err == nil {
		err = patiently(inUse, func() error { return replace(temporary, path) })
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeBeside puts data into a new file in the directory of path, flushed. It
// leaves none where it fails.
func writeBeside(path string, data []byte, create creator) (string, error) {
	f, err := create(path)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// Leftover reports whether a file of this name, without its directory, is what
// a process left that was killed in Write, and which file it was writing. The
// same name belongs to a Write that is going on: remove it only where nobody
// else can be writing.
func Leftover(name string) (of string, ok bool) {
	name, hidden := strings.CutPrefix(name, ".")
	dot := strings.LastIndexByte(name, '.')
	if !hidden || dot <= 0 || dot == len(name)-1 || strings.Trim(name[dot+1:], "0123456789") != "" {
		return "", false
	}
	return name[:dot], true
}

// Remove removes the file path durably. On Windows it waits as Write does. The
// error wraps that of the file system: os.ErrNotExist where there is no file.
func Remove(path string) error {
	if err := patiently(inUse, func() error { return os.Remove(path) }); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes what was renamed or removed in dir durable (fsync(2)), where the
// file system can. Windows has no such call and needs none: renames are written
// through, and NTFS keeps a journal.
func SyncDir(dir string) error { return syncDir(dir) }
