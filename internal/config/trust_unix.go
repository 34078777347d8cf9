//go:build !windows

package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// standingOf reads owner and mode of the file and its directory. A directory
// that everybody may write to lets everybody replace the file, unless it is sticky.
func standingOf(path string) standing {
	file, err := os.Stat(path)
	if err != nil {
		return standing{}
	}
	s := standing{known: true, openToWrite: file.Mode().Perm()&0o002 != 0}
	if st, ok := file.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		s.foreign, s.owner = true, "user "+strconv.FormatUint(uint64(st.Uid), 10)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil {
		s.openToWrite = s.openToWrite || (dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0)
	}
	return s
}
