package mapiadapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

var ledgerTime = time.Date(2026, 11, 22, 20, 0, 0, 123456789, time.UTC)

// happened is an entry that nothing but its number tells from others.
func happened(n int) Entry {
	return Entry{
		On: ledgerTime.Add(time.Duration(n) * time.Second), Event: "tick", From: Idle, To: Precheck, Reason: "due",
		Cause: "c1", Attempt: "a1", Action: "start", Outcome: "done", Detail: fmt.Sprintf("the %d. entry", n),
		State: json.RawMessage(fmt.Sprintf(`{"phase":"precheck","serial":%d}`, n)),
	}
}

func openTest(t *testing.T, dir string, limit int64) *Ledger {
	t.Helper()
	l, err := openLedger(dir, "outlook", limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendTest(t *testing.T, l *Ledger, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		e, err := l.Append(happened(n))
		want := happened(n)
		want.Seq = uint64(n)
		if err != nil || !reflect.DeepEqual(e, want) {
			t.Fatalf("entry %d: %+v, %v", n, e, err)
		}
	}
}

// wantLedger opens dir anew and wants the entries from and to, whole, and
// nothing damaged.
func wantLedger(t *testing.T, dir string, from, to int) {
	t.Helper()
	l := openTest(t, dir, maxLedger)
	defer l.Close()
	wantEntries(t, l, from, to)
	if l.Damaged() != 0 {
		t.Errorf("%d damaged lines", l.Damaged())
	}
}

func wantEntries(t *testing.T, l *Ledger, from, to int) {
	t.Helper()
	tail, err := l.Tail(1 << 20)
	if err != nil || len(tail) != to-from+1 {
		t.Fatalf("%d entries, %v; want %d to %d", len(tail), err, from, to)
	}
	for i, e := range tail {
		want := happened(from + i)
		want.Seq = uint64(from + i)
		if !reflect.DeepEqual(e, want) {
			t.Fatalf("%+v, want %+v", e, want)
		}
	}
	last, ok := l.Last()
	if ok != (to > 0) || (ok && !reflect.DeepEqual(last, tail[len(tail)-1])) {
		t.Fatalf("the last is %+v, %t", last, ok)
	}
}

func TestLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "mapi")
	l := openTest(t, dir, maxLedger)
	wantEntries(t, l, 1, 0)
	appendTest(t, l, 1, 5)
	wantEntries(t, l, 1, 5)
	for n, want := range map[int]int{-1: 0, 0: 0, 1: 1, 3: 3, 5: 5, 6: 5} {
		tail, err := l.Tail(n)
		if err != nil || len(tail) != want || (want > 0 && tail[want-1].Seq != 5) {
			t.Errorf("Tail(%d) is %d entries, %v", n, len(tail), err)
		}
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Append(happened(6)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	wantEntries(t, l, 1, 5)
	l = openTest(t, dir, maxLedger)
	appendTest(t, l, 6, 7)
	wantLedger(t, dir, 1, 7)
	for _, path := range []string{dir, l.path} {
		info, err := os.Stat(path)
		if err != nil || ownerfile.Check(path, info) != nil {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// The names in the file are its format: other programs read it too.
func TestLedgerFormat(t *testing.T) {
	l := openTest(t, t.TempDir(), maxLedger)
	appendTest(t, l, 1, 1)
	if _, err := l.Append(Entry{On: ledgerTime}); err != nil {
		t.Fatal(err)
	}
	got := string(readTest(t, l.path))
	want := `{"seq":1,"on":"2026-11-22T20:00:01.123456789Z","event":"tick","from":"idle","to":"precheck","reason":"due","cause":"c1",` +
		`"attempt":"a1","action":"start","outcome":"done","detail":"the 1. entry","state":{"phase":"precheck","serial":1},"sum":"033fccfb"}` + "\n" +
		`{"seq":2,"on":"2026-11-22T20:00:00.123456789Z","sum":"fe08affb"}` + "\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// An entry is one plain line for a person and for a terminal, whatever came in.
func TestLedgerPlainText(t *testing.T) {
	l := openTest(t, t.TempDir(), maxLedger)
	e, err := l.Append(Entry{
		On:     ledgerTime.In(time.FixedZone("", 3600)),
		Event:  "a\nb\x1b[2Jc\x00d\u202ee\u2028f\u0085g\xffh",
		Detail: strings.Repeat("ä", maxDetail) + "\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	if e.Event != "a b [2Jc d e f g\uFFFDh" || e.Detail != strings.Repeat("ä", maxDetail/2)+"…" || !e.On.Equal(ledgerTime) {
		t.Errorf("%q, %d bytes, %v", e.Event, len(e.Detail), e.On)
	}
	if last, _ := l.Last(); !reflect.DeepEqual(last, e) {
		t.Errorf("%+v", last)
	}
}

// What no line can hold is refused, and the ledger goes on.
func TestLedgerRefusesEntries(t *testing.T) {
	l := openTest(t, t.TempDir(), maxLedger)
	appendTest(t, l, 1, 1)
	for name, e := range map[string]Entry{
		"a state that is no JSON": {State: json.RawMessage(`{"a`)},
		"a state with a tail":     {State: json.RawMessage(`{} {}`)},
		"a state too large":       {State: json.RawMessage(`"` + strings.Repeat("x", maxLine) + `"`)},
		"a year too far":          {On: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := l.Append(e); err == nil || !strings.Contains(err.Error(), l.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	largest := Entry{On: ledgerTime, State: json.RawMessage(`""`)}
	line, _, err := encodeEntry(Entry{Seq: 2, On: ledgerTime, State: largest.State})
	if err != nil {
		t.Fatal(err)
	}
	largest.State = json.RawMessage(`"` + strings.Repeat("x", maxLine-len(line)) + `"`)
	if _, err := l.Append(largest); err != nil {
		t.Error(err)
	}
	if got := openTest(t, filepath.Dir(l.path), maxLedger); got.Damaged() != 0 || got.seq != 2 {
		t.Errorf("%d damaged, %d entries", got.Damaged(), got.seq)
	}
}

// The state that a caller hands in is its own again afterwards.
func TestLedgerKeepsItsOwnState(t *testing.T) {
	l := openTest(t, t.TempDir(), maxLedger)
	e := Entry{On: ledgerTime, State: json.RawMessage(`{"a":1}`)}
	if _, err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	copy(e.State, "xxxxxxx")
	if last, _ := l.Last(); string(last.State) != `{"a":1}` {
		t.Errorf("%s", last.State)
	}
}

// A loss of power may leave any part of the last line, or zeros in its place.
// All lines before it stay, and the next entry goes where it was.
func TestLedgerTorn(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, maxLedger)
	appendTest(t, l, 1, 3)
	l.Close()
	whole := readTest(t, l.path)
	begin := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for cut := begin; cut < len(whole); cut++ {
		zeros := append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...)
		for _, torn := range [][]byte{whole[:cut], zeros} {
			writeTest(t, l.path, torn)
			wantLedger(t, dir, 1, 2)
			if got := readTest(t, l.path); !bytes.Equal(got, whole[:begin]) {
				t.Fatalf("cut at %d: %d bytes are left, want %d", cut, len(got), begin)
			}
			next := openTest(t, dir, maxLedger)
			appendTest(t, next, 3, 3)
			next.Close()
			if got := readTest(t, l.path); !bytes.Equal(got, whole) {
				t.Fatalf("cut at %d: entry 3 was written as\n%s", cut, got[begin:])
			}
		}
	}
}

// Bits rot: every changed byte of a line costs that line only, and is counted.
func TestLedgerDamaged(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, maxLedger)
	appendTest(t, l, 1, 3)
	l.Close()
	whole := readTest(t, l.path)
	begin := bytes.IndexByte(whole, '\n') + 1
	end := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for i := begin; i < end; i++ {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		writeTest(t, l.path, bad)
		l := openTest(t, dir, maxLedger)
		tail, err := l.Tail(10)
		l.Close()
		lost := 1
		if i == end-1 {
			lost = 2 // without the newline, the line after it is part of it
		}
		if err != nil || len(tail) != 3-lost || tail[0].Seq != 1 || l.Damaged() == 0 {
			t.Fatalf("byte %d: %d entries, %d damaged, %v", i, len(tail), l.Damaged(), err)
		}
		if last, _ := l.Last(); lost == 1 && last.Seq != 3 {
			t.Fatalf("byte %d: the last is %d", i, last.Seq)
		}
	}
}

// Lines that are too long or from somewhere else are skipped, not believed.
func TestLedgerForeignLines(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, maxLedger)
	appendTest(t, l, 1, 1)
	foreign := "\n{}\n{\"seq\":9}\nnull\n" + strings.Repeat("x", 5*maxLine) + "\n" + strings.Repeat("y", maxLine) + "\n" + strings.Repeat("\x00", 100) + "\n"
	l.Close()
	writeTest(t, l.path, append(readTest(t, l.path), foreign...))
	l = openTest(t, dir, maxLedger)
	if l.Damaged() != 7 {
		t.Errorf("%d damaged lines", l.Damaged())
	}
	appendTest(t, l, 2, 2)
	wantEntries(t, l, 1, 2)
}

func TestOpenLedgerRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "A", "../x", "a/b", `a\b`, ".", strings.Repeat("a", 65), "a b", "a\x00"} {
		if l, err := OpenLedger(dir, name); err == nil {
			t.Errorf("%q: %v", name, l.Close())
		}
	}
	if runtime.GOOS == "windows" {
		if _, err := OpenLedger(dir, "nul"); err == nil {
			t.Error("nul is a device")
		}
	}
	file := filepath.Join(dir, "file")
	writeTest(t, file, nil)
	if _, err := OpenLedger(file, "outlook"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("in a file: %v", err)
	}
	for _, name := range []string{"outlook.jsonl", "outlook.jsonl.1"} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLedger(dir, "outlook"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a directory: %v", err)
		}
		os.Remove(path)
		if runtime.GOOS == "windows" {
			continue // there the directory protects it
		}
		writeTest(t, path, nil)
		os.Chmod(path, 0o620)
		access, ok := (*ownerfile.AccessError)(nil), false
		_, err := OpenLedger(dir, "outlook")
		if access, ok = errors.AsType[*ownerfile.AccessError](err); !ok || access.Path != path || !strings.Contains(err.Error(), "run: chmod 600 ") {
			t.Errorf("others can write it: %v", err)
		}
		os.Remove(path)
	}
}

// Entries of many goroutines, while others read, each come out once.
func TestLedgerAtOnce(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, 8<<10)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 20 {
				e, err := l.Append(happened(1))
				if err != nil {
					t.Error(err)
				}
				tail, err := l.Tail(3)
				if last, ok := l.Last(); err != nil || !ok || last.Seq < e.Seq || tail[len(tail)-1].Seq < e.Seq {
					t.Errorf("after %d: %d entries, %v", e.Seq, len(tail), err)
				}
			}
		})
	}
	group.Wait()
	if last, _ := l.Last(); last.Seq != 80 {
		t.Errorf("%d entries", last.Seq)
	}
	wantContiguous(t, l, 80)
}

// wantContiguous wants the newest entries without a gap, up to last.
func wantContiguous(t *testing.T, l *Ledger, last uint64) []Entry {
	t.Helper()
	tail, err := l.Tail(1 << 20)
	if err != nil || len(tail) == 0 || tail[len(tail)-1].Seq != last {
		t.Fatalf("%d entries, %v; want them up to %d", len(tail), err, last)
	}
	for i, e := range tail {
		if want := last - uint64(len(tail)-1-i); e.Seq != want {
			t.Fatalf("entry %d where %d belongs", e.Seq, want)
		}
	}
	return tail
}

func FuzzLedgerRead(f *testing.F) {
	one, _, _ := encodeEntry(Entry{Seq: 1, On: ledgerTime})
	f.Add([]byte(nil))
	f.Add(one)
	f.Add(one[:len(one)-1])
	f.Add(append(bytes.Clone(one), one[:20]...))
	f.Add(bytes.Repeat([]byte("x"), maxLine+3))
	f.Add([]byte("\n\n,\"sum\":\"00000000\"}\n{,\"sum\":\"        \"}\n"))
	f.Fuzz(func(t *testing.T, garbage []byte) {
		var after []byte
		for n := 8; n <= 9; n++ {
			e := happened(n)
			e.Seq = uint64(n)
			line, _, err := encodeEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			after = append(after, line...)
		}
		for _, between := range []string{"\n", ""} {
			var entries []Entry
			data := append(append(bytes.Clone(garbage), between...), after...)
			end, _, err := ownerfile.Lines(bytes.NewReader(data), maxLine, func(line []byte) bool {
				if e, ok := decodeEntry(line); ok {
					entries = append(entries, e)
				}
				return true
			})
			if err != nil || end != int64(len(data)) {
				t.Fatalf("read up to %d of %d, %v", end, len(data), err)
			}
			if n := len(entries); n == 0 || entries[n-1].Seq != 9 || (between != "" && (n < 2 || entries[n-2].Seq != 8)) {
				t.Fatalf("lost whole lines after %q: %+v", garbage, entries)
			}
		}
	})
}

func readTest(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return data
}

func writeTest(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
