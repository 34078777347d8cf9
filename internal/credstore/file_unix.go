//go:build !windows

package credstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// ownerOnly refuses a file or directory that another user can reach, with the
// command that mends it.
func ownerOnly(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return &Error{Op: opOpen, Reason: Permission, Err: fmt.Errorf("%s belongs to user %d and this process runs as %d; run: chown %d %q", path, stat.Uid, os.Geteuid(), os.Geteuid(), path)}
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	want := "600"
	if info.IsDir() {
		want = "700"
	}
	return &Error{Op: opOpen, Reason: Permission, Err: fmt.Errorf("%s can be reached by other users (mode %04o); run: chmod %s %q", path, info.Mode().Perm(), want, path)}
}

// protectDirectory has nothing to add to the mode that MkdirAll gave.
func protectDirectory(string) error { return nil }

// replaceFile puts content into path: afterwards, whatever happens, it holds
// the old or the new content, and once this returns the new one is on the disk.
func replaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer file.Cleanup() //nolint:errcheck // nothing to do after the replace; before it, the error below counts
	if _, err := file.Write(content); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// syncDirectory makes a rename or remove in dir durable, fsync(2).
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
