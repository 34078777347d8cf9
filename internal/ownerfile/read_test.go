package ownerfile

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := Read(path, 4); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := Write(path, []byte("abcdef")); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int64]string{4: "abcd", 6: "abcdef", 9: "abcdef"} {
		if data, err := Read(path, limit); err != nil || string(data) != want {
			t.Errorf("%d bytes: %q, %v", limit, data, err)
		}
	}
	if _, err := Read(filepath.Dir(path), 4); err == nil {
		t.Error("a directory was read")
	}
}
