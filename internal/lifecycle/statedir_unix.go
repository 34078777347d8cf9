//go:build !windows

package lifecycle

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// protectStateDir refuses a directory that is not its owner's alone. It mends
// nothing by itself: who opened the directory may not know that it holds
// secrets, and should.
func protectStateDir(path string, info fs.FileInfo) error {
	return ownerOnly("state directory", path, info)
}

// openElsewhere is never a reason here: a file in use can be replaced.
func openElsewhere(error) bool { return false }

// ownerOnly refuses what belongs to, or can be reached by, another user.
func ownerOnly(what, path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s %s belongs to user %d, and the broker runs as %d; choose another --state-dir, or run: sudo chown -R %d '%s'",
			what, path, stat.Uid, os.Geteuid(), os.Geteuid(), path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		want := "600"
		if info.IsDir() {
			want = "700"
		}
		return fmt.Errorf("%s %s can be reached by other users (mode %04o); run: chmod %s '%s'", what, path, mode, want, path)
	}
	return nil
}
