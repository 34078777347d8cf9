//go:build !windows

package ownerfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What others can reach is refused, with a command that mends it.
func TestCheck(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `it's $HOME "here"`)
	file := filepath.Join(dir, "f")
	if err := errors.Join(os.Mkdir(dir, 0o700), Write(file, nil)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		mode os.FileMode
		want string // "" where it is taken
	}{
		{dir, 0o700, ""},
		{dir, 0o500, ""},
		{dir, 0o710, "can be reached by other users (mode 0710); run: chmod 700 "},
		{dir, 0o701, "can be reached by other users (mode 0701); run: chmod 700 "},
		{dir, 0o755, "can be reached by other users (mode 0755); run: chmod 700 "},
		{file, 0o600, ""},
		{file, 0o400, ""},
		{file, 0o640, "can be reached by other users (mode 0640); run: chmod 600 "},
		{file, 0o602, "can be reached by other users (mode 0602); run: chmod 600 "},
	} {
		err := checkAt(t, tt.path, tt.mode)
		if audited := Audit(tt.path); fmt.Sprint(audited) != fmt.Sprint(err) {
			t.Errorf("%s with %04o: audited: %v", tt.path, tt.mode, audited)
		}
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s with %04o: %v", tt.path, tt.mode, err)
			}
			continue
		}
		if err == nil || err.Error() != tt.path+" "+tt.want+quoted(tt.path) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s with %04o: %v", tt.path, tt.mode, err)
			continue
		}
		access, ok := errors.AsType[*AccessError](err)
		if !ok || access.Path != tt.path {
			t.Fatalf("%#v", err)
		}
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", access.Command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", access.Command, err, out)
		}
		if err := Check(tt.path, stat(t, tt.path)); err != nil {
			t.Errorf("after %s: %v", access.Command, err)
		}
	}
}

// asOf is a file of another user.
type asOf struct {
	fs.FileInfo
	uid uint32
}

func (i asOf) Sys() any { return &syscall.Stat_t{Uid: i.uid} }

func TestCheckOwner(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := Write(file, nil); err != nil {
		t.Fatal(err)
	}
	for path, command := range map[string]string{dir: "sudo chown -R ", file: "sudo chown "} {
		err := Check(path, asOf{stat(t, path), 4242})
		if err == nil || !strings.Contains(err.Error(), path+" belongs to user 4242, and this process runs as ") ||
			!strings.Contains(err.Error(), "; run: "+command) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v", err)
		}
	}
}

func TestProtectDir(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o700, 0o755, 0o500} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := ProtectDir(dir); err != nil {
			t.Fatal(err)
		}
		if got := stat(t, dir).Mode().Perm(); got != 0o700 {
			t.Errorf("%04o became %04o", mode, got)
		}
	}
	if err := ProtectDir(filepath.Join(dir, "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func checkAt(t *testing.T, path string, mode os.FileMode) error {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return Check(path, stat(t, path))
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
