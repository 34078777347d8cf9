//go:build !windows

package local

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// place is a directory with a path that is short enough for a socket.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "local")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func open(t *testing.T, path, group string) net.Listener {
	t.Helper()
	l, err := ListenUnix(t.Context(), path, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func answers(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// TestModes: who the file lets in, also where the process's umask would let in all.
func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := place(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for group, want := range map[string]fs.FileMode{"": 0o600, strconv.Itoa(os.Getgid()): 0o660} {
		path := filepath.Join(dir, "s"+group)
		l := open(t, path, group)
		if got := mode(t, path); got != fs.ModeSocket|want {
			t.Errorf("group %q: %v", group, got)
		}
		if l.Addr().Network() != "unix" || l.Addr().String() != path || !answers(path) {
			t.Errorf("%v", l.Addr())
		}
		if err := errors.Join(l.Close(), ignoreClosed(l.Close())); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file stays: %v", err)
		}
	}
	if runtime.GOOS == "linux" { // before anything of ours could set it
		config := net.ListenConfig{Control: ownerOnly}
		l, err := config.Listen(t.Context(), "unix", filepath.Join(dir, "born"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if got := mode(t, filepath.Join(dir, "born")); got != fs.ModeSocket|0o600 {
			t.Errorf("born with %v", got)
		}
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// TestStale: the socket of a broker that was killed is replaced, one that answers is not.
func TestStale(t *testing.T) {
	path := filepath.Join(place(t), "s")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if mode(t, path).Type() != fs.ModeSocket {
		t.Fatal("no socket is left")
	}
	l := open(t, path, "")
	if _, err := ListenUnix(t.Context(), path, ""); !errors.Is(err, ErrTaken) {
		t.Errorf("a second one: %v", err)
	}
	if !answers(path) {
		t.Error("the first one no longer answers")
	}
	// Somebody took the file away and put another one there: that stays.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := open(t, path, "")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if !answers(path) {
		t.Error("the other's file has gone")
	}
	other.Close()
}

// TestNoSocket: what is no socket is never touched, and no link is followed.
func TestNoSocket(t *testing.T) {
	dir := place(t)
	live := filepath.Join(dir, "live")
	open(t, live, "")
	file, link, folder := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "folder")
	dangling := filepath.Join(dir, "dangling")
	err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Symlink(live, link), os.Mkdir(folder, 0o700), os.Symlink(filepath.Join(dir, "no"), dangling))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, folder, dangling} {
		before := mode(t, path)
		if _, err := ListenUnix(t.Context(), path, ""); err == nil || !strings.Contains(err.Error(), "is not a socket; remove it") {
			t.Errorf("%s: %v", path, err)
		}
		if after := mode(t, path); after != before {
			t.Errorf("%s is now %v", path, after)
		}
	}
	if _, err := ListenUnix(t.Context(), filepath.Join(dir, strings.Repeat("x", 120)), ""); err == nil {
		t.Error("a path that is too long")
	}
}

// resolved is the path without links.
func resolved(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDirectories: nobody else may be able to put a socket in ours' place.
func TestDirectories(t *testing.T) {
	dir := place(t)
	sub := filepath.Join(dir, "sub")
	if err := errors.Join(os.Mkdir(sub, 0o700), os.Symlink(sub, filepath.Join(dir, "link")), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		mode  fs.FileMode
		group string
		want  string // "" where it is taken
	}{
		{0o700, "", ""},
		{0o755, "", ""},
		{0o777 | fs.ModeSticky, "", ""},
		{0o777, "", "can be written by other users (mode 0777)"},
		{0o720, "", "can be written by other users (mode 0720)"},
		{0o700, strconv.Itoa(os.Getgid()), "cannot be entered by the group (mode 0700)"},
		{0o710, strconv.Itoa(os.Getgid()), ""},
	} {
		if err := os.Chmod(sub, tt.mode); err != nil {
			t.Fatal(err)
		}
		l, err := ListenUnix(t.Context(), filepath.Join(sub, "s"), tt.group)
		if err == nil {
			l.Close()
		}
		access, ok := errors.AsType[*ownerfile.AccessError](err)
		if (err == nil) != (tt.want == "") || (tt.want != "" && (!ok || !strings.Contains(access.Problem, tt.want))) {
			t.Errorf("%v for group %q: %v", tt.mode, tt.group, err)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "link", "s"):     "is a symbolic link; name the directory",
		filepath.Join(dir, "file", "s"):     "is not a directory",
		filepath.Join(dir, "no", "no", "s"): "no such file",
	} {
		if _, err := ListenUnix(t.Context(), path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for group, want := range map[string]fs.FileMode{"": 0o700, strconv.Itoa(os.Getgid()): 0o750} {
		made := filepath.Join(dir, "made"+group)
		open(t, filepath.Join(made, "s"), group)
		if got := mode(t, made).Perm(); got != want {
			t.Errorf("made for group %q with %v", group, got)
		}
	}
	// Who can rename the directory can put his own in its place.
	if err := os.Chmod(dir, 0o757); err != nil {
		t.Fatal(err)
	}
	_, err := ListenUnix(t.Context(), filepath.Join(sub, "s"), "")
	if access, ok := errors.AsType[*ownerfile.AccessError](err); !ok || access.Path != resolved(t, dir) || !strings.Contains(access.Problem, "can be written by everybody (mode 0757)") {
		t.Errorf("below one that is open to all: %v", err)
	}
	if _, err := ListenUnix(t.Context(), filepath.Join(dir, "s"), "no-such-group-here"); err == nil || !strings.Contains(err.Error(), `find the group "no-such-group-here"`) {
		t.Errorf("a group that is not there: %v", err)
	}
}
