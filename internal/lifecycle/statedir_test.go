package lifecycle

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

func TestEnsureStateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // makes it, then finds it good
		if err := EnsureStateDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := ownerfile.Write(file, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := EnsureStateDir(file); err == nil || !strings.Contains(err.Error(), "is a file; choose another --state-dir") {
		t.Errorf("got %v", err)
	}
	if err := EnsureStateDir(filepath.Join(file, "below")); err == nil {
		t.Error("a directory below a file")
	}
}

func TestStateDirOpenToOthersIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are Unix's; on Windows the access list is set instead")
	}
	for _, mode := range []os.FileMode{0o755, 0o750, 0o701, 0o770} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := EnsureStateDir(dir); err == nil || !strings.Contains(err.Error(), "run: chmod 700 '"+dir+"'") {
			t.Errorf("%04o: %v", mode, err)
		}
	}
}

func TestStateDirOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	dir := filepath.Join(t.TempDir(), "d")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 4242, -1)); err != nil {
		t.Fatal(err)
	}
	if err := EnsureStateDir(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 4242") || !strings.Contains(err.Error(), "chown") {
		t.Errorf("got %v", err)
	}
}

func TestAdminKey(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadAdminKey(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	made, err := AdminKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	read, err := AdminKey(dir)
	if err != nil || !read.Equal(made) {
		t.Errorf("read another key back: %v", err)
	}
	if text := made.Reveal(); !strings.HasPrefix(text, "bra_") || len(text) != len("bra_")+43 {
		t.Errorf("the key has %d characters", len(text))
	}
	other, err := AdminKey(t.TempDir())
	if err != nil || other.Equal(made) {
		t.Errorf("two directories share a key: %v", err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(AdminKeyPath(dir), 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := AdminKey(dir); err == nil || !strings.Contains(err.Error(), "run: chmod 600 '"+AdminKeyPath(dir)+"'") {
			t.Errorf("got %v", err)
		}
	}
}

func TestGarbageIsNoAdminKey(t *testing.T) {
	good := "bra_" + strings.Repeat("A", 43)
	for name, content := range map[string]string{
		"empty": "", "no prefix": good[4:], "consumer's": "brk_" + good[4:], "short": good[:40], "long": good + "AAAA",
		"two lines": good + "\n" + good, "not base64url": "bra_" + strings.Repeat("+", 43), "huge": strings.Repeat("CANARY", 10_000),
	} {
		dir := t.TempDir()
		if err := ownerfile.Write(AdminKeyPath(dir), []byte(content)); err != nil {
			t.Fatal(err)
		}
		_, err := AdminKey(dir)
		if err == nil || !strings.Contains(err.Error(), "remove it and start the broker again") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: the content is shown: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := ownerfile.Write(AdminKeyPath(dir), []byte(" "+good+"\r\n")); err != nil {
		t.Fatal(err)
	}
	if key, err := AdminKey(dir); err != nil || key.Reveal() != good {
		t.Errorf("white space around a key: %v", err)
	}
}
