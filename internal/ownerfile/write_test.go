package ownerfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "", "three"} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	wantFiles(t, dir, "f")
}

// A file that others can read is its owner's alone once it was written.
func TestWriteCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(path, info); err != nil {
		t.Error(err)
	}
}

// WriteOwned does what Write does, and leaves nothing else behind.
func TestWriteOwned(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		if err := WriteOwned(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := Audit(path); err != nil {
		t.Error(err)
	}
	if err := WriteOwned(filepath.Join(dir, "no", "f"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
	wantFiles(t, dir, "f")
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "f")
	if err := Write(missing, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "write "+missing+": ") {
		t.Errorf("into a directory that is not there: %v", err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(taken, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	wantFiles(t, dir, "taken")
}

// Readers and other writers see whole contents only.
func TestWriteAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	contents := []string{strings.Repeat("a", 10_000), strings.Repeat("b", 20_000)}
	if err := Write(path, []byte(contents[0])); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, content := range contents {
		writers.Go(func() {
			for range 20 {
				if err := Write(path, []byte(content)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	var pause time.Duration
	if runtime.GOOS == "windows" {
		pause = 2 * time.Millisecond // a file that is always open cannot be replaced there
	}
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		case <-time.After(pause):
		}
		got, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) || inUse(err) {
			continue // Windows, in the middle of a rename
		}
		if err != nil || (string(got) != contents[0] && string(got) != contents[1]) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
	}
	wantFiles(t, dir, "f")
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path); err != nil {
		t.Error(err)
	}
	if err := Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second time: %v", err)
	}
	wantFiles(t, dir)
}

func TestLeftover(t *testing.T) {
	left, err := writeBeside(filepath.Join(t.TempDir(), "record-x.a"), []byte("x"), createOwned) // as a killed process does
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Base(left): "record-x.a", ".f.1": "f", ".f.2.3": "f.2",
		"f.1": "", ".f": "", ".f.": "", ".1": "", ".f.x1": "", "": "", ".": "", "..": "", ".lock": "",
	} {
		if of, ok := Leftover(name); of != want || ok != (want != "") {
			t.Errorf("Leftover(%q) = %q, %t; want %q", name, of, ok, want)
		}
	}
}

func TestSyncDir(t *testing.T) {
	if err := SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := SyncDir(filepath.Join(t.TempDir(), "no")); err == nil && runtime.GOOS != "windows" {
		t.Error("a directory that is not there")
	}
}

// Another process that has the file open is waited for, but not for ever, and
// no other fault is.
func TestPatience(t *testing.T) {
	busy, fault := errors.New("busy"), errors.New("fault")
	isBusy := func(err error) bool { return errors.Is(err, busy) }
	for _, tt := range []struct {
		name  string
		busy  int // so many times
		then  error
		want  error
		tries int
		took  time.Duration
	}{
		{"free", 0, nil, nil, 1, 0},
		{"busy for a moment", 3, nil, nil, 4, 30 * time.Millisecond},
		{"busy for long", 1000, nil, busy, 51, 500 * time.Millisecond},
		{"another fault", 0, fault, fault, 1, 0},
		{"another fault then", 1, fault, fault, 2, 10 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, start := 0, time.Now()
				err := patiently(isBusy, func() error {
					if tries++; tries <= tt.busy {
						return busy
					}
					return tt.then
				})
				if !errors.Is(err, tt.want) || tries != tt.tries || time.Since(start) != tt.took {
					t.Errorf("%v after %d tries and %v", err, tries, time.Since(start))
				}
			})
		})
	}
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}
