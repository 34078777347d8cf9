package credstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenKinds(t *testing.T) {
	dir := privateDir(t)
	for kind, place := range map[Kind]string{Memory: "this process", File: dir} {
		store, d, err := Open(t.Context(), Config{Kind: kind, Dir: dir, Log: discard(), KeyInFile: true})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if d.Kind != kind || !strings.HasPrefix(d.Place, place) || !strings.Contains(d.Why, "configuration") || !strings.HasSuffix(d.Why, ".") {
			t.Errorf("%s: %+v", kind, d)
		}
		if s := d.String(); !strings.Contains(s, string(kind)) || !strings.Contains(s, d.Place) || !strings.Contains(s, d.Why) {
			t.Errorf("String() = %q", s)
		}
		if err := Check(t.Context(), store); err != nil {
			t.Errorf("%s: Check = %v", kind, err)
		}
	}
	for _, kind := range []Kind{"keychain", "FILE"} {
		if _, _, err := Open(t.Context(), Config{Kind: kind, Dir: dir}); err == nil || !strings.Contains(err.Error(), string(kind)) || !strings.Contains(err.Error(), string(SecretService)) {
			t.Errorf("%q: %v", kind, err)
		}
	}
	if _, _, err := Open(t.Context(), Config{Kind: File}); err == nil {
		t.Error("a file store without a directory was opened")
	}
}

// hollow is a store that answers and keeps nothing right.
type hollow struct {
	Store
	load func() ([]byte, error)
}

func (h hollow) Load(context.Context, string) ([]byte, error) { return h.load() }

func TestCheckNotices(t *testing.T) {
	for name, load := range map[string]func() ([]byte, error){
		"other bytes": func() ([]byte, error) { return make([]byte, checkSize), nil },
		"cut":         func() ([]byte, error) { return checkRecord()[:100], nil },
		"nothing":     func() ([]byte, error) { return nil, ErrNotFound },
		"error":       func() ([]byte, error) { return nil, &Error{Op: opLoad, Reason: Failed} },
	} {
		inner := NewMemory()
		if err := Check(t.Context(), hollow{inner, load}); ReasonOf(err) != Failed || err == nil {
			t.Errorf("%s: Check = %v", name, err)
		}
		if _, err := inner.Load(t.Context(), checkID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: the scratch record is still there: %v", name, err)
		}
	}
	for _, reason := range []Reason{Locked, Quota, NoLogonSession} {
		if err := Check(t.Context(), failing{reason: reason}); ReasonOf(err) != reason {
			t.Errorf("Check = %v; want %s", err, reason)
		}
	}
}

// openLog opens a store and gives what was logged, too.
func openLog(t *testing.T, c Config) (Store, Description, string) {
	t.Helper()
	var log bytes.Buffer
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	store, d, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	return store, d, log.String()
}

func TestRememberedChoiceDamaged(t *testing.T) {
	dir := privateDir(t)
	if err := rememberChoice(filepath.Join(dir, autoName), "nonsense"); err != nil {
		t.Fatal(err)
	}
	_, d, _ := openLog(t, Config{Dir: dir})
	if d.Kind == "nonsense" || d.Kind == Auto {
		t.Errorf("%+v", d)
	}
	content, err := os.ReadFile(filepath.Join(dir, autoName))
	if d.Kind != Wincred && (err != nil || string(content) != string(d.Kind)+"\n") {
		t.Errorf("%s holds %q, %v", autoName, content, err)
	}
}
