package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "broker.log")
	l := &LogFile{Path: path, Max: 100, Keep: 2}
	var writers sync.WaitGroup
	for i := range 50 {
		writers.Go(func() {
			if _, err := fmt.Fprintf(l, "line %02d\n", i); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, name := range []string{path, path + ".1", path + ".2"} {
		text, err := os.ReadFile(name)
		if err != nil || len(text) > 100 || len(text)%8 != 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		all += string(text)
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("an old log too many")
	}
	if n := strings.Count(all, "\n"); n < 25 || n > 36 {
		t.Errorf("%d lines are kept", n)
	}
	// The next process goes on in the file, and the limit holds for both.
	next := &LogFile{Path: path, Max: 100, Keep: 2}
	fmt.Fprintln(next, "the next process")
	if got := Tail(path, 1); len(got) != 1 || got[0] != "the next process" {
		t.Errorf("the last line is %q", got)
	}
	_ = next.Close()
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if got := Tail(path, 3); got != nil {
		t.Errorf("of no file: %q", got)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 100<<10)+"\na\nb\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(Tail(path, 2), " "); got != "b c" {
		t.Errorf("got %s", got)
	}
}

func TestLogFileNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&LogFile{Path: filepath.Join(file, "broker.log")}).Write([]byte("x\n")); err == nil {
		t.Error("a log below a file")
	}
}
