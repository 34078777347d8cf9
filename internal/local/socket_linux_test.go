package local

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestOtherUsers: the kernel keeps out who is neither owner nor of the group.
func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can try as another user")
		return
	}
	dir := place(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const stranger, member = 54321, 54322
	for _, tt := range []struct {
		group string
		gid   int
		comes bool
	}{{"", stranger, false}, {"54322", stranger, false}, {"54322", member, true}} {
		path := filepath.Join(dir, "s")
		l := open(t, path, tt.group)
		err := dialAs(stranger, tt.gid, path)
		if tt.comes != (err == nil) || (!tt.comes && !errors.Is(err, syscall.EACCES)) {
			t.Errorf("group %q, as one of group %d: %v", tt.group, tt.gid, err)
		}
		l.Close()
	}
}

// dialAs connects as another user: on a thread of its own, which ends with it.
func dialAs(uid, gid int, path string) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, call := range [][4]uintptr{
			{syscall.SYS_SETGROUPS},
			{syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, e := syscall.RawSyscall(call[0], call[1], call[2], call[3]); e != 0 {
				result <- e
				return
			}
		}
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		result <- err
	}()
	return <-result
}
