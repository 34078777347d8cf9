package audit

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// logs are a log of several files, and one whose oldest files are gone.
func logs(t testing.TB) map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for name, size := range map[string]int64{"whole": 8 << 10, "pruned": 2 << 10} {
		dir := filepath.Join(t.TempDir(), "audit")
		fill(t, dir, 150, size)
		r := wantWhole(t, dir)
		if r.Files < 5 || r.Pruned != (name == "pruned") || r.Last.Seq < 150 || r.Lines < 50 {
			t.Fatalf("%s: %+v", name, r)
		}
		all[name] = snapshot(t, dir)
	}
	return all
}

// position is a line of a log.
type position struct {
	file  string
	begin int // of the line in the file
	end   int // behind its newline
	n     int // from 1
}

func positions(files map[string][]byte) []position {
	var all []position
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".jsonl") {
			continue
		}
		begin, n := 0, 0
		for line := range bytes.Lines(files[name]) {
			n++
			all = append(all, position{name, begin, begin + len(line), n})
			begin += len(line)
		}
	}
	slices.SortStableFunc(all, func(a, b position) int { // the current file is the last
		return strings.Compare(strings.Replace(a.file, "audit.", "audit-9.", 1), strings.Replace(b.file, "audit.", "audit-9.", 1))
	})
	return all
}

// with is the files with this in place of the bytes of a line.
func with(files map[string][]byte, at position, instead string) map[string][]byte {
	changed := maps.Clone(files)
	b := files[at.file]
	changed[at.file] = slices.Concat(b[:at.begin], []byte(instead), b[at.end:])
	return changed
}

// TestVerifyFindsAnyTampering: any one line of a log that is removed, changed,
// swapped with the next, doubled, or put in is found.
func TestVerifyFindsAnyTampering(t *testing.T) {
	foreign := foreignLine(t)
	for name, files := range logs(t) {
		all := positions(files)
		t.Logf("%s: %d lines", name, len(all))
		for i, at := range all {
			line := string(files[at.file][at.begin:at.end])
			tampered := map[string]map[string][]byte{
				"removed":  with(files, at, ""),
				"doubled":  with(files, at, line+line),
				"put in":   with(files, at, line+foreign),
				"blank":    with(files, at, line+"\n"),
				"joined":   with(files, at, strings.TrimSuffix(line, "\n")),
				"replaced": with(files, at, foreign),
			}
			spot := rand.IntN(len(line))
			tampered[fmt.Sprintf("byte %d", spot)] = with(files, at, line[:spot]+string(line[spot]^1)+line[spot+1:])
			tampered["rehashed"] = with(files, at, rehashed(t, line))
			if i+1 < len(all) {
				next := all[i+1]
				after := string(files[next.file][next.begin:next.end])
				tampered["swapped"] = with(with(files, next, line), at, after)
				if next.file == at.file { // the first replacement moved the second
					both := position{at.file, at.begin, next.end, at.n}
					tampered["swapped"] = with(files, both, after+line)
				}
			}
			for what, changed := range tampered {
				r := verifyFiles(t, changed)
				if r.Fault == nil {
					t.Fatalf("%s: line %d of %s %s: not found", name, at.n, at.file, what)
				}
				wantNamed(t, what, at, *r.Fault)
			}
		}
	}
}

// wantNamed wants the fault at the line, or at the next one, and called by its
// name.
func wantNamed(t *testing.T, what string, at position, f Finding) {
	t.Helper()
	if f.File == at.file && f.Line != at.n && f.Line != at.n+1 {
		t.Errorf("line %d of %s %s: found at line %d (%+v)", at.n, at.file, what, f.Line, f)
	}
	if f.Text == "" || f.File == "" {
		t.Errorf("%+v", f)
	}
	kinds := map[string][]FaultKind{
		"removed": {FaultRemoved, FaultCut}, "doubled": {FaultReordered}, "swapped": {FaultReordered},
		"rehashed": {FaultChanged}, "put in": {FaultReordered}, "blank": {FaultChanged},
	}[what]
	if kinds != nil && !slices.Contains(kinds, f.Kind) {
		t.Errorf("line %d of %s %s: called %s: %s", at.n, at.file, what, f.Kind, f.Text)
	}
}

// foreignLine is a good first line of another log.
func foreignLine(t *testing.T) string {
	b, err := encode(&Line{Time: Stamp{time.Unix(2e9, 0)}, Seq: 1, Record: happened(7), Prev: noHash})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rehashed is a line with another content and the hash of that.
func rehashed(t *testing.T, line string) string {
	l, err := decode([]byte(strings.TrimSuffix(line, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	l.Consumer = "somebody-else"
	b, err := encode(&l)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// verifyFiles verifies files that are in memory.
func verifyFiles(t testing.TB, files map[string][]byte) Report {
	t.Helper()
	dir := fstest.MapFS{}
	for name, b := range files {
		dir[name] = &fstest.MapFile{Data: b}
	}
	r, err := verifyIn(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A range that is missing at the beginning, in the middle or at the end is found
// wherever it begins and ends, and so is a file.
func TestVerifyFindsMissingRanges(t *testing.T) {
	for name, files := range logs(t) {
		all := positions(files)
		for range 200 {
			from := rand.IntN(len(all))
			to := from + 1 + rand.IntN(len(all)-from)
			changed := maps.Clone(files)
			for i := to - 1; i >= from; i-- { // from behind, so that the others stay where they are
				changed = with(changed, all[i], "")
			}
			r := verifyFiles(t, changed)
			if r.Fault == nil || (r.Fault.Kind != FaultRemoved && r.Fault.Kind != FaultCut) {
				t.Fatalf("%s: lines %d to %d removed: %+v", name, from, to, r)
			}
		}
		for file := range files {
			changed := maps.Clone(files)
			delete(changed, file)
			r := verifyFiles(t, changed)
			if r.Fault == nil || file == headName && r.Fault.Kind != FaultHead {
				t.Fatalf("%s: %s removed: %+v", name, file, r)
			}
		}
	}
}

// Who may write the files can make them anew; a line that was noted elsewhere
// shows it.
func TestVerifyNoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	fill(t, dir, 100, 4<<10)
	head := wantWhole(t, dir).Last
	check := func(dir string, m Mark) *Finding {
		r, err := Verify(dir, &m)
		if err != nil {
			t.Fatal(err)
		}
		return r.Fault
	}
	if f := check(dir, head); f != nil {
		t.Errorf("%+v", *f)
	}
	fill(t, dir, 20, 4<<10) // the log goes on
	if f := check(dir, head); f != nil {
		t.Errorf("%+v", *f)
	}
	other := filepath.Join(t.TempDir(), "audit")
	fill(t, other, 90, 4<<10) // made anew, and shorter
	wantWhole(t, other)
	if f := check(other, head); f == nil || f.Kind != FaultCut {
		t.Errorf("%+v", f)
	}
	fill(t, other, 30, 4<<10)
	if f := check(other, head); f == nil || f.Kind != FaultChanged {
		t.Errorf("%+v", f)
	}
	fill(t, dir, 400, 1<<10)
	if f := check(dir, head); f == nil || f.Kind != FaultRemoved || !strings.Contains(f.Text, "because it was old") {
		t.Errorf("%+v", f)
	}
}

func TestVerifyNoLog(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := Verify(dir, nil); !errors.Is(err, ErrNoLog) {
			t.Errorf("%v", err)
		}
		if _, err := Tail(dir, 5, func(Line) bool { return true }); !errors.Is(err, ErrNoLog) {
			t.Errorf("%v", err)
		}
	}
}

// What stands in a line is what docs/audit.md says; the hash is that of the bytes
// before it, for any other program.
func TestLineFormat(t *testing.T) {
	l := Line{Time: Stamp{time.Date(2026, 11, 22, 8, 5, 0, 120e6, time.FixedZone("", 3600))}, Seq: 1, Prev: noHash, Record: Record{
		Event: TokenIssued, Consumer: "crm", Account: "9f86d081884c7d65", Resource: "graph", Outcome: "ok", RequestID: "58b1d2c9f0e4a7b3",
	}}
	b, err := encode(&l)
	if err != nil {
		t.Fatal(err)
	}
	content := `{"time":"2026-11-22T07:05:00.120Z","seq":1,"event":"token.issued","consumer":"crm","account":"9f86d081884c7d65","resource":"graph","outcome":"ok","request_id":"58b1d2c9f0e4a7b3","prev":"` + noHash + `"`
	if want := content + `,"hash":"` + hashOf([]byte(content)) + "\"}\n"; string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if l.String()+"\n" != string(b) {
		t.Errorf("shown as %s", l)
	}
	document := mustRead(t, filepath.Join("..", "..", "docs", "audit.md"))
	if !bytes.Contains(document, bytes.TrimSpace(b)) {
		t.Errorf("docs/audit.md does not show this line: %s", b)
	}
}

// FuzzVerify: whatever stands in the files, they are read to their end or refused,
// and nothing but a log that was written is whole.
func FuzzVerify(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "audit")
	fill(f, dir, 6, 1<<20)
	good := mustRead(f, filepath.Join(dir, currentName))
	head := mustRead(f, filepath.Join(dir, headName))
	f.Add(good, head)
	f.Add([]byte{}, []byte(`{"seq":0,"hash":"`+noHash+`","offset":0}`))
	f.Add([]byte("\n\n"), []byte("{}"))
	f.Add(bytes.Repeat([]byte("x"), maxLine+10), head)
	f.Add(append(slices.Clone(good), good[:40]...), head)
	f.Fuzz(func(t *testing.T, text, head []byte) {
		dir := lay(t, map[string][]byte{currentName: text, headName: head})
		r := verify(t, dir)
		if r.Fault == nil && r.Lines > 0 && !bytes.HasPrefix(text, good[:40]) && r.First.Seq == 1 && r.Lines != bytes.Count(text, []byte("\n")) {
			t.Errorf("whole: %+v", r)
		}
		if _, err := Tail(dir, 3, func(Line) bool { return true }); err != nil {
			t.Error(err)
		}
		fill(t, dir, 3, 1<<20) // it always goes on
		after := verify(t, dir)
		if r.Fault == nil && after.Fault != nil && after.Fault.Kind != FaultReported {
			t.Errorf("whole before, and then: %+v", *after.Fault)
		}
		if r.Fault != nil && after.Fault == nil {
			t.Errorf("the fault is gone: %+v", *r.Fault)
		}
	})
}
