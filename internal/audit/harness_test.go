package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// happened is a record of every kind in turn.
func happened(n int) Record {
	switch n % 4 {
	case 0:
		return Record{Event: TokenIssued, Consumer: fmt.Sprint("app-", n), Account: "0123456789abcdef", Resource: "graph", Outcome: "ok", RequestID: fmt.Sprintf("%016x", n)}
	case 1:
		return Record{Event: RefusedRepeated, Outcome: "unauthenticated", Route: "GET /v1/token", Count: int64(n)}
	case 2:
		return Record{Event: PolicyChanged, Keys: []string{"consumers.app.rate", "telemetry.log_level"}}
	default:
		return Record{Event: "consumer.rotated", Consumer: "admin", Subject: "app", RequestID: "x"}
	}
}

// fill makes a log of n lines in files of about this many bytes.
func fill(t testing.TB, dir string, n int, size int64) {
	t.Helper()
	w := newWriter(dir, slog.New(slog.DiscardHandler))
	w.max = size
	for i := range n {
		if _, err := w.append([]Line{{Time: Stamp{time.Unix(1e9+int64(i), 0)}, Record: happened(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.shut(); err != nil {
		t.Fatal(err)
	}
}

// snapshot is every file of a directory.
func snapshot(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = b
	}
	return all
}

// lay puts files into a directory of their own.
func lay(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func verify(t testing.TB, dir string) Report {
	t.Helper()
	r, err := Verify(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantWhole wants a log without a fault, and gives what was found.
func wantWhole(t testing.TB, dir string) Report {
	t.Helper()
	r := verify(t, dir)
	if r.Fault != nil {
		t.Fatalf("%+v", *r.Fault)
	}
	return r
}

// lines are all lines of a log, without their newlines.
func lines(t testing.TB, dir string) []string {
	t.Helper()
	l, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range l.files() {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return all
}

// events are what the lines are about, in short.
func events(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for _, s := range lines(t, dir) {
		l, err := decode([]byte(s))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		e := string(l.Event)
		for _, more := range []string{l.Consumer, l.Subject, l.Account, l.Resource, l.Outcome, l.Route, strings.Join(l.Keys, ",")} {
			if more != "" {
				e += " " + more
			}
		}
		if l.Count > 0 {
			e += fmt.Sprint(" x", l.Count)
		}
		all = append(all, e)
	}
	return all
}

var errFull = errors.New("no space left on device")

// disk can be full.
type disk struct {
	mu   sync.Mutex
	full bool
	lag  time.Duration // of a write
	hang time.Duration // of a sync
}

func (d *disk) set(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// onDisk is a file on it; a full disk takes a part.
type onDisk struct {
	auditFile
	disk *disk
}

func (f onDisk) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	full, lag := f.disk.full, f.disk.lag
	f.disk.mu.Unlock()
	time.Sleep(lag)
	if full {
		n, _ := f.auditFile.WriteAt(p[:len(p)/2], off)
		return n, errFull
	}
	return f.auditFile.WriteAt(p, off)
}

func (f onDisk) Sync() error {
	f.disk.mu.Lock()
	hang := f.disk.hang
	f.disk.mu.Unlock()
	time.Sleep(hang)
	return f.auditFile.Sync()
}

// logged is a Log under test and what it says.
type logged struct {
	*Log
	dir  string
	disk *disk
	text *bytes.Buffer
}

func newLogged(t testing.TB) *logged {
	l := &logged{dir: filepath.Join(t.TempDir(), "audit"), disk: &disk{}, text: &bytes.Buffer{}}
	l.Log = New(Config{
		Dir: l.dir, Hash: func(a string) string { return "#" + a[:2] },
		Log: slog.New(slog.NewTextHandler(l.text, nil)),
	})
	l.w.open = func(path string) (auditFile, error) {
		f, err := openFile(path)
		return onDisk{f, l.disk}, err
	}
	l.Configure(Settings{File: true})
	return l
}

// start runs the log; the function it returns ends it as the broker does.
func (l *logged) start(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := errors.Join(<-ended, l.Close(context.Background())); err != nil {
			t.Error(err)
		}
	}
}
