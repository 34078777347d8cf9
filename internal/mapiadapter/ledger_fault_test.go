package mapiadapter

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errFull = errors.New("no space left on device")

// faultyFile is a file on a disk that is full after some bytes, and where
// nothing else may work either.
type faultyFile struct {
	ledgerFile
	room     int  // WriteAt takes so many bytes; negative: all
	noFlush  bool // Sync fails
	stuck    bool // Truncate fails
	attempts int
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	f.attempts++
	if f.room < 0 || len(p) <= f.room {
		return f.ledgerFile.WriteAt(p, off)
	}
	n, err := f.ledgerFile.WriteAt(p[:f.room], off)
	return n, errors.Join(errFull, err)
}

func (f *faultyFile) Sync() error {
	if f.noFlush {
		return errFull
	}
	return f.ledgerFile.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if f.stuck {
		return errFull
	}
	return f.ledgerFile.Truncate(size)
}

// A full disk costs the entry that did not fit and nothing else: the file ends
// with its last whole line, the error says which file and what to do, and once
// there is room the same number is given again.
func TestLedgerDiskFull(t *testing.T) {
	line, _, err := encodeEntry(Entry{Seq: 4, On: ledgerTime})
	if err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]faultyFile{
		"no room":               {room: 0},
		"room for a part":       {room: 50},
		"room for the line":     {room: len(line) - 1},
		"no flush":              {room: -1, noFlush: true},
		"room for a part, hung": {room: 50, stuck: true},
		"no flush, hung":        {room: -1, noFlush: true, stuck: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := openTest(t, dir, maxLedger)
			appendTest(t, l, 1, 3)
			before := readTest(t, l.path)
			real := l.file
			fault.ledgerFile = real
			l.file = &fault
			for range 2 {
				_, err := l.Append(Entry{On: ledgerTime})
				if !errors.Is(err, errFull) || !strings.Contains(err.Error(), l.path) || !strings.Contains(err.Error(), "free space") {
					t.Fatalf("got %v", err)
				}
			}
			if got := readTest(t, l.path); !fault.stuck && !bytes.Equal(got, before) {
				t.Errorf("%d bytes are left of %d", len(got), len(before))
			}
			if fault.stuck && fault.attempts != 1 {
				t.Errorf("%d attempts to write behind what could not be cut off", fault.attempts)
			}
			wantEntries(t, l, 1, 3)
			l.file = real
			appendTest(t, l, 4, 5)
			wantLedger(t, dir, 1, 5)
		})
	}
}

// A process that dies on a full disk leaves the same.
func TestLedgerDiskFullThenKilled(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, maxLedger)
	appendTest(t, l, 1, 3)
	l.file = &faultyFile{ledgerFile: l.file, room: 50, stuck: true}
	if _, err := l.Append(happened(4)); err == nil {
		t.Fatal("no error")
	}
	l.Close()
	l = openTest(t, dir, maxLedger)
	appendTest(t, l, 4, 4)
	wantLedger(t, dir, 1, 4)
}

// rotating is a limit that some entries reach.
const rotating = 4 << 10

// fill appends until just before the ledger would rotate, and returns the
// number of the newest entry.
func fill(t *testing.T, l *Ledger, from int) int {
	t.Helper()
	for n := from; ; n++ {
		e := happened(n)
		e.Seq = uint64(n)
		if line, _, err := encodeEntry(e); err != nil || l.size+int64(len(line)) > l.rotateAt {
			return n - 1
		}
		appendTest(t, l, n, n)
	}
}

func TestLedgerRotation(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, rotating)
	first := fill(t, l, 1)
	wantEntries(t, l, 1, first)
	if _, err := os.Stat(older(l.path)); err == nil {
		t.Fatal("rotated too early")
	}
	appendTest(t, l, first+1, first+1)
	wantEntries(t, l, 1, first+1) // the copy at the beginning is not seen
	if lines := bytes.Count(readTest(t, l.path), []byte("\n")); lines != 2 {
		t.Errorf("%d lines in the new file, want the newest of the old one and the new one", lines)
	}
	wantLedger(t, dir, 1, first+1)
	// The older generation is replaced by the next.
	second := fill(t, l, first+2)
	appendTest(t, l, second+1, second+1)
	wantEntries(t, l, first, second+1)
	for n := second + 2; n < 500; n++ {
		appendTest(t, l, n, n)
	}
	if tail := wantContiguous(t, l, 499); len(tail) < 10 {
		t.Errorf("%d entries", len(tail))
	}
	for _, path := range []string{l.path, older(l.path)} {
		if info, err := os.Stat(path); err != nil || info.Size() > rotating {
			t.Errorf("%s: %v", path, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 2 {
		t.Errorf("%v", files)
	}
}

// A crash at any point of a rotation loses nothing that was acknowledged.
func TestLedgerCrashWhileRotating(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, rotating)
	n := fill(t, l, 1)
	var renamed, created map[string][]byte
	open := l.open
	l.open = func(path string) (ledgerFile, error) {
		renamed = filesOf(t, dir)
		f, err := open(path)
		created = filesOf(t, dir)
		return f, err
	}
	appendTest(t, l, n+1, n+1)
	l.Close()
	done := filesOf(t, dir)
	crashed(t, renamed, n)
	crashed(t, created, n)
	whole := done["outlook.jsonl"]
	for cut := 1; cut < len(whole); cut += 7 { // the copy and the new entry are one write
		crashed(t, map[string][]byte{"outlook.jsonl": whole[:cut], "outlook.jsonl.1": done["outlook.jsonl.1"]}, n)
	}
	wantLedger(t, dir, 1, n+1)
}

// crashed wants entries 1 to n in the files of a crash, and that the ledger
// goes on there.
func crashed(t *testing.T, files map[string][]byte, n int) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		writeTest(t, filepath.Join(dir, name), data)
	}
	for range 2 { // a second crash before anything was written
		l := openTest(t, dir, rotating)
		wantEntries(t, l, 1, n)
		l.Close()
	}
	l := openTest(t, dir, rotating)
	appendTest(t, l, n+1, n+2)
	l.Close()
	wantLedger(t, dir, 1, n+2)
}

// A file full of damaged lines must not push out the one good state.
func TestLedgerRotatesNoStateAway(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, rotating)
	n := fill(t, l, 1)
	appendTest(t, l, n+1, n+1)
	l.Close()
	writeTest(t, l.path, bytes.Repeat([]byte("rot\n"), rotating))
	l = openTest(t, dir, rotating)
	last, ok := l.Last()
	if !ok || last.Seq != uint64(n) || l.Damaged() != rotating {
		t.Fatalf("%d, %t, %d damaged", last.Seq, ok, l.Damaged())
	}
	appendTest(t, l, n+1, n+2) // the second one rotates
	wantEntries(t, l, n, n+2)
	l.Close()
	wantEntries(t, openTest(t, dir, rotating), n, n+2)
}

// Where the file cannot be renamed it grows, and is rotated later. Where the
// new one cannot be made, the entry is refused and goes through later.
func TestLedgerCannotRotate(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, rotating)
	n := fill(t, l, 1)
	if err := os.MkdirAll(filepath.Join(older(l.path), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	appendTest(t, l, n+1, n+100)
	if err := os.RemoveAll(older(l.path)); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, l, 1, n+100)
	for n += 101; l.size > rotating; n++ { // at least rotateAgain later
		appendTest(t, l, n, n)
	}
	wantEntries(t, l, 1, n-1)

	n = fill(t, l, n) + 1
	open := l.open
	l.open = func(string) (ledgerFile, error) { return nil, errFull }
	for range 2 {
		if _, err := l.Append(happened(n)); !errors.Is(err, errFull) {
			t.Fatalf("got %v", err)
		}
	}
	l.open = open
	appendTest(t, l, n, n)
	wantContiguous(t, l, uint64(n))
}

func filesOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		files[filepath.Base(path)] = readTest(t, path)
	}
	return files
}
