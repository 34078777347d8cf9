package mapiadapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// Sizes of a ledger, in bytes. Two files of maxLedger are some thousand entries.
const (
	maxLedger   = 1 << 20  // from here on the file is rotated
	maxLine     = 64 << 10 // of one entry, with its newline
	maxDetail   = 2 << 10  // of an entry's Detail; the rest is cut off
	rotateAgain = 64 << 10 // how much is appended before a failed rotation is tried again
)

// Entry is one thing that happened to a target, and what it led to.
type Entry struct {
	Seq     uint64          `json:"seq"` // from 1; Append gives it
	On      time.Time       `json:"on"`
	Event   string          `json:"event,omitempty"` // what happened: tick, report, ensure, …
	From    Phase           `json:"from,omitempty"`
	To      Phase           `json:"to,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Cause   string          `json:"cause,omitempty"`   // ID of the cause
	Attempt string          `json:"attempt,omitempty"` // ID of the attempt
	Action  string          `json:"action,omitempty"`
	Outcome string          `json:"outcome,omitempty"`
	Detail  string          `json:"detail,omitempty"` // for a person, one line
	State   json.RawMessage `json:"state,omitempty"`  // the whole State after this entry
}

// Ledger is what happened to one target: a file of JSON lines that is only
// ever appended to, and one older generation of it. An entry that Append has
// acknowledged survives a killed process and a loss of power.
//
// Each line ends with a checksum, so that half a sector or a flipped bit is a
// damaged line and never a wrong state. One Ledger at a time may have a
// target's file open; it is safe for concurrent use. Nothing personal belongs
// into an entry that an operator should not see.
type Ledger struct {
	path string // the newest generation
	open func(path string) (ledgerFile, error)
	max  int64 // from this size on the file is rotated

	mu       sync.Mutex // guards what follows, and the files
	file     ledgerFile // nil: it has to be opened again
	size     int64      // of the whole lines in file
	rotateAt int64
	dirty    bool   // there may be bytes after size
	bare     bool   // file has no state yet: last goes first
	last     Entry  // the newest
	lastLine []byte // as it is in the file; empty: there is none
	seq      uint64 // the highest given
	damaged  int
	closed   bool
}

// ledgerFile is what a Ledger needs of the file that it appends to.
type ledgerFile interface {
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Last is the newest entry; false where there is none yet.
func (l *Ledger) Last() (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, len(l.lastLine) > 0
}

// Damaged is how many lines could not be read when the ledger was opened, and
// were skipped. A line that a crash cut off is none of them: it was never
// acknowledged.
func (l *Ledger) Damaged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.damaged
}

// Append writes e, with the next Seq, and returns it as it was written once it
// is on the disk. Control characters in its texts become spaces, and a long
// Detail is cut. Where that fails, the ledger is as if Append had not been
// called, and can be tried again; the error names the file and what to do.
func (l *Ledger) Append(e Entry) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Entry{}, fmt.Errorf("write the ledger %s: %w", l.path, os.ErrClosed)
	}
	e = plainEntry(e)
	e.Seq = l.seq + 1
	line, e, err := encodeEntry(e)
	if err != nil {
		return Entry{}, fmt.Errorf("write the ledger %s: %w", l.path, err)
	}
	if err = l.ready(); err == nil {
		err = l.makeRoom(int64(len(line)))
	}
	if err == nil {
		err = l.write(line)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("write the ledger %s (free space on its disk, or make it writable): %w", l.path, err)
	}
	l.last, l.lastLine, l.seq = e, line, e.Seq
	return e, nil
}

// Close closes the file. The second call does nothing. Last and Tail go on
// working.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.shut()
}

// ready opens the file where it is not open, and cuts off what a failed write
// left.
func (l *Ledger) ready() error {
	if l.file == nil {
		f, err := l.open(l.path)
		if err != nil {
			return err
		}
		if err := ownerfile.SyncDir(filepath.Dir(l.path)); err != nil { // it may be new
			return errors.Join(err, f.Close())
		}
		l.file = f
	}
	if !l.dirty {
		return nil
	}
	if err := errors.Join(l.file.Truncate(l.size), l.file.Sync()); err != nil {
		return err
	}
	l.dirty = false
	return nil
}

// write appends line in one write, and flushes it. In a new file the newest
// entry of the older one comes first, so that each file has a state.
func (l *Ledger) write(line []byte) error {
	data := line
	if l.bare {
		data = append(append([]byte(nil), l.lastLine...), line...)
	}
	l.dirty = true
	_, err := l.file.WriteAt(data, l.size)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		_ = l.ready() // now, or before the next write
		return err
	}
	l.dirty, l.bare = false, false
	l.size += int64(len(data))
	return nil
}

// makeRoom begins a new file where the present one is full. While that cannot
// be done (a virus scanner has the file open) the present one grows. A crash on
// the way leaves no new file, or an empty one, and the older one with all that
// was acknowledged.
func (l *Ledger) makeRoom(n int64) error {
	if l.size+n <= l.rotateAt || l.bare {
		return nil
	}
	if err := l.shut(); err != nil { // Windows renames no open file
		return err
	}
	err := os.Rename(l.path, older(l.path))
	if err != nil {
		l.rotateAt = l.size + n + rotateAgain
		return l.ready()
	}
	l.size, l.dirty, l.bare, l.rotateAt = 0, false, true, l.max
	return l.ready()
}

// shut closes the file, if it is open.
func (l *Ledger) shut() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}

// plainEntry is e with nothing in its texts that could break or forge a line on
// a terminal.
func plainEntry(e Entry) Entry {
	e.On = e.On.UTC()
	for _, s := range []*string{&e.Event, &e.Reason, &e.Cause, &e.Attempt, &e.Action, &e.Outcome, &e.Detail} {
		*s = plainText(*s)
	}
	e.From, e.To = Phase(plainText(string(e.From))), Phase(plainText(string(e.To)))
	if len(e.Detail) > maxDetail {
		e.Detail = strings.ToValidUTF8(e.Detail[:maxDetail], "") + "…"
	}
	return e
}

func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
