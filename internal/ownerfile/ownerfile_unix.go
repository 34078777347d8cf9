//go:build !windows

package ownerfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

func check(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		chown := "sudo chown "
		if info.IsDir() {
			chown += "-R "
		}
		return &AccessError{
			Path:    path,
			Problem: fmt.Sprintf("belongs to user %d, and this process runs as %d", stat.Uid, os.Geteuid()),
			Command: chown + strconv.Itoa(os.Geteuid()) + " " + quoted(path),
		}
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	chmod := "chmod 600 "
	if info.IsDir() {
		chmod = "chmod 700 "
	}
	return &AccessError{
		Path:    path,
		Problem: fmt.Sprintf("can be reached by other users (mode %04o)", mode),
		Command: chmod + quoted(path),
	}
}

// audit has nothing to add: check has seen owner and mode.
func audit(string) error { return nil }

// quoted is s as one word for a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func makeDir(path string) error { return os.MkdirAll(path, 0o700) }

func protectDir(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return os.Chmod(path, 0o700) //nolint:gosec // a directory is entered by its execute bit
}

func share(string, Access) error { return errors.ErrUnsupported }

func administered(string) bool { return false }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

func createOwned(path string) (*os.File, error) { return createBeside(path) }

func replace(temporary, path string) error { return os.Rename(temporary, path) }

// inUse is never a reason here: a file that is open can be replaced.
func inUse(error) bool { return false }
