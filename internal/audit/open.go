package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

func now() Stamp { return Stamp{time.Now()} }

// begin opens the log where it ends, and makes it where there is none. What a
// crash left half written after the head is moved into a file of its own, and a
// log that does not hold its last known line goes on all the same; a line says
// either, before the next one.
func (w *writer) begin() error {
	if err := w.enter(); err != nil {
		return err
	}
	found, err := w.find()
	if err == nil {
		err = w.resume(found)
	}
	if err != nil {
		_ = w.drop() // nothing was written
		return err
	}
	w.owed = append(w.owed, tell(found)...)
	return nil
}

// enter makes the directory, for its owner alone, and clears what a killed writer
// left of a head.
func (w *writer) enter() error {
	if err := errors.Join(os.MkdirAll(w.dir, 0o700), ownerfile.ProtectDir(w.dir)); err != nil {
		return err
	}
	info, err := os.Stat(w.dir)
	if err == nil {
		err = ownerfile.Check(w.dir, info)
	}
	if err != nil {
		return err
	}
	l, err := list(w.dir)
	for _, name := range l.left {
		err = errors.Join(err, ownerfile.Remove(filepath.Join(w.dir, name)))
	}
	return err
}

// found is where a log ends.
type found struct {
	seq   uint64 // of the last line
	hash  string // of it
	size  int64  // of the current file's whole lines
	first uint64 // number of the current file's first line; zero: it has none
	torn  []byte // what stands after them
	fault string // why the log is not what was left; empty: it is
}

// find looks for the end. From the head on, which is at most a second old, each
// line must follow the one before; what does not was never finished.
func (w *writer) find() (found, error) {
	h, noHead := readHead(os.DirFS(w.dir))
	if noHead == nil {
		w.head = h
	}
	l, err := list(w.dir)
	if err != nil {
		return found{}, err
	}
	data, err := w.current()
	if err != nil {
		return found{}, err
	}
	var last Line // of the newest full file
	if n := len(l.full); n > 0 {
		last, err = lastLine(filepath.Join(w.dir, l.full[n-1]))
		if err != nil {
			last = Line{}
		}
	}
	switch {
	case noHead == nil && h.Seq == 0 && len(l.full) == 0:
		return follow(data, 0, Line{Hash: noHash}), nil
	case noHead == nil && h.Seq > 0 && endsAt(data, h):
		return follow(data, h.Offset, Line{Seq: h.Seq, Hash: h.Hash}), nil
	case noHead == nil && h.Seq > 0 && last.Seq == h.Seq && last.Hash == h.Hash:
		return follow(data, 0, last), nil
	case errors.Is(noHead, errNoHead) && len(l.full) == 0 && len(data) == 0:
		return found{hash: noHash}, nil
	}
	return astray(data, last, h, noHead), nil
}

// current is what the current file holds; nothing where there is none.
func (w *writer) current() ([]byte, error) {
	info, err := os.Stat(w.path()) // before it is opened: a pipe would block
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file; move it away", w.path())
	}
	if err := ownerfile.Check(w.path(), info); err != nil {
		return nil, err
	}
	return os.ReadFile(w.path())
}

// endsAt reports whether the head's line ends where the head says.
func endsAt(data []byte, h head) bool {
	if h.Offset > int64(len(data)) || h.Offset == 0 {
		return false
	}
	line, err := lineBefore(bytes.NewReader(data), h.Offset)
	if err != nil {
		return false
	}
	l, err := decode(line)
	return err == nil && l.Seq == h.Seq && l.Hash == h.Hash
}

// follow goes along the chain from offset on, where the line before was last.
func follow(data []byte, offset int64, last Line) found {
	f := found{seq: last.Seq, hash: last.Hash, size: offset, first: firstSeq(data)}
	rest := data[offset:]
	_, _, _ = readLines(bytes.NewReader(rest), func(line []byte) bool {
		l, err := decode(line)
		if err != nil || l.Seq != f.seq+1 || l.Prev != f.hash {
			return false
		}
		f.seq, f.hash = l.Seq, l.Hash
		f.size += int64(len(line)) + 1
		return true
	})
	f.torn = data[f.size:]
	if bytes.IndexByte(f.torn, '\n') >= 0 {
		f.fault = fmt.Sprintf("What stood after line %d was no line of the log; a loss of power can leave that, and so can a person.", f.seq)
	}
	if f.size == 0 {
		f.first = 0
	}
	return f
}

// astray is for a log that does not hold the line which was its last. It goes on
// from that one, so that the break in the chain stays; where nobody knows it, from
// the last line that can be read.
func astray(data []byte, last Line, h head, noHead error) found {
	f := found{seq: last.Seq, hash: last.Hash, first: firstSeq(data)}
	if last.Seq == 0 {
		f.hash = noHash
	}
	size, _, _ := readLines(bytes.NewReader(data), func(line []byte) bool {
		if l, err := decode(line); err == nil {
			f.seq, f.hash = l.Seq, l.Hash
		}
		return true
	})
	f.size = size
	f.torn = data[f.size:]
	if noHead != nil {
		f.fault = sentence(noHead) + ", so that nobody can say whether lines are missing before this one."
		return f
	}
	f.fault = fmt.Sprintf("Line %d, the last one that was known, is missing or was changed.", h.Seq)
	if h.Seq == 0 {
		f.fault = "The log should have no line yet, and has some."
	}
	if h.Seq >= f.seq {
		f.seq, f.hash = h.Seq, h.Hash
	}
	return f
}

// sentence is an error at the beginning of one.
func sentence(err error) string {
	s := err.Error()
	if s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

// firstSeq is the number of the first line that can be read.
func firstSeq(data []byte) (seq uint64) {
	_, _, _ = readLines(bytes.NewReader(data), func(line []byte) bool {
		if l, err := decode(line); err == nil {
			seq = l.Seq
		}
		return seq == 0
	})
	return seq
}

// lastLine is the last line of a file.
func lastLine(path string) (Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return Line{}, err
	}
	var b []byte
	info, err := f.Stat()
	if err == nil {
		b, err = lineBefore(f, info.Size())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return Line{}, err
	}
	return decode(b)
}

// resume makes the file ready for the next line. A log's head is written before
// its first line: a log without one was tampered with.
func (w *writer) resume(f found) error {
	if len(f.torn) > 0 {
		if err := w.saveTorn(f); err != nil {
			return err
		}
	}
	if err := w.reopen(); err != nil {
		return err
	}
	w.size, w.first, w.rotateAt = f.size, f.first, w.max
	w.seq, w.prev, w.torn = f.seq, f.hash, len(f.torn) > 0
	if err := errors.Join(w.mend(), ownerfile.SyncDir(w.dir)); err != nil {
		return err
	}
	if f.seq == 0 && f.fault == "" {
		return writeHead(w.dir, head{Hash: noHash})
	}
	return nil
}

// saveTorn keeps what a crash cut off.
func (w *writer) saveTorn(f found) error {
	if err := ownerfile.Write(filepath.Join(w.dir, tornName(f.seq+1)), f.torn); err != nil {
		return err
	}
	l, err := list(w.dir)
	if err != nil {
		return err
	}
	for i := range max(0, len(l.torn)-keepTorn) {
		err = errors.Join(err, ownerfile.Remove(filepath.Join(w.dir, l.torn[i])))
	}
	return err
}

// tell makes lines of what was met.
func tell(f found) []Line {
	var lines []Line
	if len(f.torn) > 0 {
		lines = append(lines, Line{Time: now(), Record: Record{Event: Torn, Count: int64(len(f.torn)), Detail: tornName(f.seq + 1)}})
	}
	if f.fault != "" {
		lines = append(lines, Line{Time: now(), Record: Record{Event: Damaged, Detail: clip(f.fault)}})
	}
	return lines
}
