package audit

import (
	"bytes"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// crashed is a log whose last lines were written after its head, as a crash
// leaves it: synced lines with the head, then more.
func crashed(t *testing.T, synced, more int, size int64) map[string][]byte {
	dir := filepath.Join(t.TempDir(), "audit")
	w := newWriter(dir, slog.New(slog.DiscardHandler))
	w.max = size
	for i := range synced + more {
		if i == synced {
			if err := w.sync(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.append([]Line{{Time: now(), Record: happened(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	end := w.drop
	if more == 0 {
		end = w.shut
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return snapshot(t, dir)
}

// A crash at any byte of the lines after the head: verify calls the half line what
// it is, and the next broker moves it aside, says so, and goes on.
func TestCrashAtAnyByte(t *testing.T) {
	files := crashed(t, 5, 3, 1<<20)
	whole := files[currentName]
	from := len(slices.Concat(slices.Collect(bytes.Lines(whole))[:5]...))
	for cut := from; cut <= len(whole); cut += 7 {
		left := maps.Clone(files)
		left[currentName] = whole[:cut]
		dir := lay(t, left)
		torn := cut - bytes.LastIndexByte(whole[:cut], '\n') - 1
		if r := wantWhole(t, dir); r.Open != int64(torn) || r.Lines != bytes.Count(whole[:cut], []byte("\n")) {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
		fill(t, dir, 2, 1<<20)
		r := wantWhole(t, dir)
		if want := min(torn, 1); r.Torn != want || r.Open != 0 {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
		if torn == 0 {
			continue
		}
		l, err := list(dir)
		if err != nil || len(l.torn) != 1 || !bytes.Equal(mustRead(t, filepath.Join(dir, l.torn[0])), whole[cut-torn:cut]) {
			t.Fatalf("cut at %d: %v, %v", cut, l.torn, err)
		}
		if got := events(t, dir); !strings.HasPrefix(got[len(got)-3], string(Torn)) {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
}

// A crash anywhere in a rotation leaves a log that goes on.
func TestCrashWhileRotating(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	w := newWriter(dir, slog.New(slog.DiscardHandler))
	w.max = 4 << 10
	var states []map[string][]byte
	w.open = func(path string) (auditFile, error) {
		states = append(states, snapshot(t, dir))
		f, err := openFile(path)
		states = append(states, snapshot(t, dir))
		return f, err
	}
	for i := range 30 {
		if _, err := w.append([]Line{{Time: now(), Record: happened(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	states = append(states, snapshot(t, dir))
	if len(states) < 6 {
		t.Fatalf("%d states", len(states))
	}
	for i, s := range states[1:] {
		dir := lay(t, s)
		if i > 0 {
			wantWhole(t, dir)
		}
		fill(t, dir, 3, 4<<10)
		if r := wantWhole(t, dir); r.Torn != 0 {
			t.Errorf("state %d: %+v", i, r)
		}
	}
}

// The oldest files go when there are too many, and the log says where it begins.
func TestPrune(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	for range 20 {
		fill(t, dir, 40, 2<<10)
		r := wantWhole(t, dir)
		l, err := list(dir)
		if err != nil || len(l.full) > keepFull || len(l.full) == keepFull && r.Pruned && r.First.Seq == 1 {
			t.Fatalf("%v: %+v", l, r)
		}
	}
	for name := range snapshot(t, dir) {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A log that was tampered with is not silently mended: it goes on, and the fault
// stays to be seen.
func TestTheBrokerMendsNoTampering(t *testing.T) {
	good := crashed(t, 40, 0, 4<<10)
	all := positions(good)
	last := all[len(all)-1]
	without := func(names ...string) map[string][]byte {
		m := maps.Clone(good)
		for _, n := range names {
			delete(m, n)
		}
		return m
	}
	garbage := maps.Clone(good)
	garbage[currentName] = append(slices.Clone(garbage[currentName]), "{}\nhalf"...)
	badHead := maps.Clone(good)
	badHead[headName] = []byte("{}")
	for name, files := range map[string]map[string][]byte{
		"the last line removed": with(good, last, ""),
		"the last line changed": with(good, last, "{}\n"),
		"the end written anew":  with(good, last, rehashed(t, string(good[last.file][last.begin:last.end]))),
		"the file removed":      without(currentName),
		"the head removed":      without(headName),
		"the head changed":      badHead,
		"all but the head":      without(slices.DeleteFunc(slices.Collect(maps.Keys(good)), func(n string) bool { return n == headName })...),
		"a line put in":         garbage,
	} {
		t.Run(name, func(t *testing.T) {
			dir := lay(t, files)
			if r := verify(t, dir); r.Fault == nil {
				t.Fatal("not found before")
			}
			for range 3 {
				fill(t, dir, 4, 4<<10)
				if r := verify(t, dir); r.Fault == nil {
					t.Fatalf("not found afterwards: %+v", r)
				}
			}
			text := strings.Join(lines(t, dir), "\n")
			if n := strings.Count(text, string(Damaged)); n != 1 {
				t.Errorf("%d lines say so", n)
			}
		})
	}
}

// A file that is taken away while it is written to does not take the lines with it.
func TestFileTakenAway(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which lets nobody remove a file that is open
	}
	dir := filepath.Join(t.TempDir(), "audit")
	w := newWriter(dir, slog.New(slog.DiscardHandler))
	put := func() {
		t.Helper()
		if _, err := w.append([]Line{{Time: now(), Record: happened(1)}}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if err := w.sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.path()); err != nil {
		t.Fatal(err)
	}
	put()
	if err := w.sync(); err == nil || !strings.Contains(err.Error(), "taken away") {
		t.Fatalf("got %v", err)
	}
	put()
	if err := w.shut(); err != nil {
		t.Fatal(err)
	}
	r := verify(t, dir)
	if r.Fault == nil || len(lines(t, dir)) != 2 {
		t.Errorf("%+v", r)
	}
}

// Others who can reach the directory, or something in the log's place, are refused.
func TestOpenRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	if err := os.MkdirAll(filepath.Join(dir, currentName), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWriter(dir, slog.New(slog.DiscardHandler))
	_, err := w.append([]Line{{Time: now(), Record: happened(1)}})
	if err == nil || !strings.Contains(err.Error(), "is no plain file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, currentName)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.append([]Line{{Time: now(), Record: happened(1)}}); err != nil || w.shut() != nil {
		t.Errorf("it does not try again: %v", err)
	}
}

// Crashes that leave torn lines again and again fill no disk.
func TestTornFilesAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	for range keepTorn + 5 {
		fill(t, dir, 1, 1<<20)
		f, err := os.OpenFile(filepath.Join(dir, currentName), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(`{"time":"2026`)
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	fill(t, dir, 1, 1<<20)
	torn, err := fs.Glob(os.DirFS(dir), tornBegin+"*")
	if r := wantWhole(t, dir); err != nil || len(torn) != keepTorn || r.Torn != keepTorn+5 {
		t.Errorf("%d files, %v: %+v", len(torn), err, r)
	}
}

// A full file that cannot be renamed grows, and is divided later.
func TestCannotRotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	w := newWriter(dir, slog.New(slog.DiscardHandler))
	w.max = 2 << 10
	blocked := filepath.Join(dir, fullName(1))
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(n int) {
		for range n {
			if _, err := w.append([]Line{{Time: now(), Record: happened(2)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(100)
	if w.first != 1 || w.size < 10*w.max {
		t.Errorf("it was divided: first %d, %d bytes", w.first, w.size)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	put(200)
	if err := w.shut(); err != nil {
		t.Fatal(err)
	}
	if r := wantWhole(t, dir); r.Files < 3 || r.Lines < 300 {
		t.Errorf("%+v", r)
	}
}
