package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// A file is full at 16 MiB, which is some 50,000 lines and what an editor still
// opens; with eight full ones there are 144 MiB at most, a month of ten programs that
// ask all day (docs/audit.md).
const (
	maxFile     = 16 << 20
	keepFull    = 8
	keepTorn    = 16       // what crashes cut off
	rotateAgain = 64 << 10 // how much is appended before a failed rotation is tried again
)

// auditFile is what a writer needs of the file that it appends to.
type auditFile interface {
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// writer appends lines to the files of one directory. Nobody else may write there
// (the instance lock of the state directory sees to that), and it is not safe for
// concurrent use. It opens the file with the first line.
type writer struct {
	dir  string
	log  *slog.Logger
	open func(path string) (auditFile, error)
	max  int64 // from here on a file is full

	file     auditFile   // nil: it has to be opened
	is       os.FileInfo // what had the log's name when file was opened
	size     int64       // of the whole lines in file
	first    uint64      // number of the first line in file; zero: it has none
	rotateAt int64
	torn     bool // there may be bytes after size

	seq   uint64 // of the last line
	prev  string // its hash
	head  head   // as it stands in head.json
	dirty bool   // lines were written after head
	owed  []Line // what the writer met and has not written yet
}

func newWriter(dir string, log *slog.Logger) *writer {
	return &writer{dir: dir, log: log, open: openFile, max: maxFile}
}

func openFile(path string) (auditFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// reopen opens the current file, and makes it where there is none.
func (w *writer) reopen() (err error) {
	if w.file, err = w.open(w.path()); err != nil {
		w.file = nil
		return err
	}
	w.is, err = os.Stat(w.path())
	return err
}

func (w *writer) path() string { return filepath.Join(w.dir, currentName) }

// append numbers and chains the lines, writes them and gives them as they were
// written, after those that the writer has to say itself. Where that fails the log
// is as it was before.
func (w *writer) append(lines []Line) ([]Line, error) {
	err := w.ready()
	if err == nil && w.size >= w.rotateAt {
		err = w.rotate()
	}
	if err == nil {
		lines, err = w.write(append(slices.Clone(w.owed), lines...))
	}
	if err != nil {
		return nil, fmt.Errorf("write %s (free space on its disk, or make it writable): %w", w.path(), err)
	}
	w.owed = nil
	return lines, nil
}

// write appends lines in one write.
func (w *writer) write(lines []Line) ([]Line, error) {
	var data []byte
	seq, prev := w.seq, w.prev
	for i := range lines {
		l := &lines[i]
		seq++
		l.Seq, l.Prev = seq, prev
		b, err := encode(l)
		if err != nil {
			return nil, err
		}
		data, prev = append(data, b...), l.Hash
	}
	w.torn = true
	if _, err := w.file.WriteAt(data, w.size); err != nil {
		_ = w.mend() // now, or before the next write
		return nil, err
	}
	if w.first == 0 && len(lines) > 0 {
		w.first = lines[0].Seq
	}
	w.torn, w.dirty = false, true
	w.size += int64(len(data))
	w.seq, w.prev = seq, prev
	return lines, nil
}

// ready opens the file where it is not open, and cuts off what a failed write
// left.
func (w *writer) ready() error {
	if w.file == nil {
		return w.begin()
	}
	return w.mend()
}

func (w *writer) mend() error {
	if !w.torn {
		return nil
	}
	err := w.file.Truncate(w.size)
	w.torn = err != nil
	return err
}

// sync brings the lines to the disk, and then the head: a head never names a line
// that a loss of power could take.
func (w *writer) sync() error {
	if w.file == nil || !w.dirty {
		return nil
	}
	if err := w.there(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	h := head{Seq: w.seq, Hash: w.prev, Offset: w.size}
	if err := writeHead(w.dir, h); err != nil {
		return err
	}
	w.head, w.dirty = h, false
	return nil
}

// there finds out whether the open file is still the one that has the log's name:
// one that was removed or replaced would take every line and show none.
func (w *writer) there() error {
	named, err := os.Stat(w.path())
	if err == nil && os.SameFile(w.is, named) {
		return nil
	}
	if err == nil {
		err = errors.New("another file has its name")
	}
	// What the file held since the head is gone. The next line is chained to the last
	// of that, so that the gap shows.
	w.dirty = false
	_ = errors.Join(writeHead(w.dir, head{Seq: w.seq, Hash: w.prev, Offset: w.size}), w.drop())
	return fmt.Errorf("%s was taken away while it was written to: %w", w.path(), err)
}

// drop closes the file, if it is open.
func (w *writer) drop() error {
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	return f.Close()
}

func (w *writer) isOpen() bool { return w.file != nil }

// shut is the end: everything is on the disk.
func (w *writer) shut() error {
	return errors.Join(w.sync(), w.drop())
}

// rotate begins a new file where the present one is full, and removes the oldest
// where there are too many. Where the present one cannot be renamed (Windows does
// not while another program has it open) it grows, and is tried later.
func (w *writer) rotate() error {
	if err := w.shut(); err != nil {
		return err
	}
	renamed := w.rename()
	if renamed == nil {
		w.size, w.first, w.rotateAt, w.torn = 0, 0, w.max, false
	} else {
		w.rotateAt = w.size + rotateAgain
		w.log.Warn("the audit log is not divided into a new file now; something has it open", slog.Any("error", renamed))
	}
	if err := w.reopen(); err != nil || renamed != nil {
		return err
	}
	if err := ownerfile.SyncDir(w.dir); err != nil {
		return err
	}
	return w.prune()
}

// rename gives the full file its lasting name, and takes none that is taken.
func (w *writer) rename() error {
	to := filepath.Join(w.dir, fullName(w.first))
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already", to)
	}
	return os.Rename(w.path(), to)
}

// prune removes the oldest files. The log says first where it begins then.
func (w *writer) prune() error {
	l, err := list(w.dir)
	if err != nil || len(l.full) <= keepFull {
		return err
	}
	old, kept := l.full[:len(l.full)-keepFull], l.full[len(l.full)-keepFull]
	begins, err := firstLine(filepath.Join(w.dir, kept))
	if err != nil { // verify says what is wrong with it
		begins.Seq, _ = numbered(kept, fullBegin, fullEnd)
		begins.Prev = ""
	}
	_, err = w.write([]Line{{Time: now(), Record: Record{Event: Pruned, Count: int64(len(old))}, Begins: begins.Seq, Start: begins.Prev}})
	if err == nil {
		err = w.sync()
	}
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := ownerfile.Remove(filepath.Join(w.dir, name)); err != nil {
			w.log.Warn("an old file of the audit log cannot be removed; it is tried again when the next one is full", slog.Any("error", err))
			break // the files that are left must follow one another
		}
	}
	return nil
}
