//go:build !windows

package credstore

import (
	"os"
	"strings"
	"testing"
)

// TestFilePermissions: what others can read is refused with the command that
// mends it, for the directory, the records and the key.
func TestFilePermissions(t *testing.T) {
	store := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, store, "account", []byte("secret"))
	for _, c := range []struct {
		path     string
		bad, mod os.FileMode
		mend     string
	}{
		{store.dir, 0o755, 0o700, "chmod 700 "},
		{store.dir, 0o710, 0o700, "chmod 700 "},
		{slotPath(store.dir, "account", slotB), 0o644, 0o600, "chmod 600 "},
		{slotPath(store.dir, "account", slotB), 0o620, 0o600, "chmod 600 "},
		{store.dir + "/" + keyName, 0o640, 0o600, "chmod 600 "},
	} {
		if err := os.Chmod(c.path, c.bad); err != nil {
			t.Fatal(err)
		}
		_, err := store.Load(t.Context(), "account")
		if ReasonOf(err) != Permission || !strings.Contains(err.Error(), c.mend+"'"+c.path+"'") {
			t.Errorf("Load with %s at %o = %v; want Permission and %s", c.path, c.bad, err, c.mend)
		}
		if err := store.Save(t.Context(), "account", []byte("x")); ReasonOf(err) != Permission {
			t.Errorf("Save with %s at %o = %v; want Permission", c.path, c.bad, err)
		}
		if err := os.Chmod(c.path, c.mod); err != nil {
			t.Fatal(err)
		}
		wantRecord(t, store, "account", []byte("secret"))
	}
}

func TestFileModes(t *testing.T) {
	store := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, store, "account", []byte("secret"))
	entries, err := os.ReadDir(store.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(store.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has the mode %v, %v", info.Mode(), err)
	}
}
