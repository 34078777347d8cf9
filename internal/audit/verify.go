package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// FaultKind says what is wrong with a log.
type FaultKind string

// What Verify finds. The words stand in the output of broker audit verify.
const (
	FaultChanged   FaultKind = "changed"   // a line is not as it was written, or was put in
	FaultRemoved   FaultKind = "removed"   // lines are missing
	FaultReordered FaultKind = "reordered" // a line stands in the wrong place, or twice
	FaultCut       FaultKind = "cut"       // the end is missing
	FaultHead      FaultKind = "head"      // head.json is missing or no use, so that the end may be
	FaultReported  FaultKind = "reported"  // the broker found the log damaged when it opened it, and said so
)

// Place is where a line stands.
type Place struct {
	File string `json:"file"` // without its directory
	Line int    `json:"line"` // from 1
}

// Finding is the first thing that is wrong.
type Finding struct {
	Kind FaultKind `json:"kind"`
	Place
	Seq  uint64 `json:"seq,omitempty"` // the first line that it is about, where that is known
	Text string `json:"text"`          // one sentence
}

// Mark names a line, so that it can be found again.
type Mark struct {
	Seq  uint64    `json:"seq"`
	Hash string    `json:"hash"`
	Time time.Time `json:"time,omitzero"`
}

// Report is what Verify found.
type Report struct {
	Files int      `json:"files"`
	Lines int      `json:"lines"` // as far as they were read: to the end, unless there is a fault
	First Mark     `json:"first"`
	Last  Mark     `json:"last"`
	Fault *Finding `json:"fault,omitempty"` // nil: the log is whole

	// What is no tampering, and worth knowing.
	Lost   int64 `json:"lost"`   // lines that the broker could not write, and said so
	Torn   int   `json:"torn"`   // crashes that cut off a line, which the broker said when it started again
	Open   int64 `json:"open"`   // bytes of a line at the end that is being written, or that a crash cut off
	Pruned bool  `json:"pruned"` // the oldest files were removed, as they are when there are too many
}

// ErrNoLog is that there are no files of a log in the directory.
var ErrNoLog = errors.New("there is no audit log")

// verifyTries is how often Verify begins anew because the broker has rotated its
// files meanwhile.
const verifyTries = 3

// Verify reads a whole log and reports the first thing that is wrong with it.
// Where noted is given, that line must be in the log. It takes no lock: a broker
// may write meanwhile. An error is that files could not be read, or ErrNoLog.
func Verify(dir string, noted *Mark) (Report, error) { return verifyIn(os.DirFS(dir), noted) }

func verifyIn(dir fs.FS, noted *Mark) (Report, error) {
	for try := 1; ; try++ {
		before, err := listIn(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return Report{}, ErrNoLog
		}
		if err != nil {
			return Report{}, err
		}
		c := &checker{noted: noted}
		err = c.all(dir, before)
		if err == nil && c.report.Fault == nil {
			return c.report, nil
		}
		after, failed := listIn(dir)
		if failed != nil {
			return c.report, failed
		}
		if try == verifyTries || slices.Equal(before.files(), after.files()) {
			return c.report, err
		}
	}
}

// checker goes along the chain.
type checker struct {
	report Report
	head   head
	noted  *Mark
	last   Line   // the line before; Seq zero: none
	first  Place  // of the first line
	prev   string // what the first line is chained to
	begins uint64 // of the newest audit.pruned
	start  string
	gap    *Finding // lines are missing here; they may come later
	failed bool     // the fault is found: the rest is looked at for missing lines only
	sawIt  bool     // the noted line
}

func (c *checker) all(dir fs.FS, l listed) error {
	files := l.files()
	h, noHead := readHead(dir) // before the lines: it is never ahead of them
	if len(files) == 0 && noHead != nil {
		return ErrNoLog
	}
	c.head = h
	c.report.Files = len(files)
	for i, name := range files {
		f, err := dir.Open(name)
		if err != nil {
			return err
		}
		place := Place{File: name}
		_, torn, err := readLines(f, func(line []byte) bool {
			place.Line++
			c.line(place, line)
			return true
		})
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		place.Line++
		switch {
		case torn > 0 && i == len(files)-1:
			c.report.Open = torn
		case torn > 0:
			c.found(Finding{Kind: FaultChanged, Place: place, Text: "The line does not end, and others follow it."})
		}
		if i == len(files)-1 {
			c.end(place, noHead)
		}
	}
	if len(files) == 0 {
		c.end(Place{File: currentName, Line: 1}, noHead)
	}
	return nil
}

// found keeps the first fault.
func (c *checker) found(f Finding) {
	if !c.failed {
		c.failed, c.report.Fault = true, &f
	}
}

// line takes the next line.
func (c *checker) line(at Place, b []byte) {
	l, err := decode(b)
	if c.failed {
		c.late(l, err)
		return
	}
	c.report.Lines++
	if err != nil {
		c.found(Finding{Kind: FaultChanged, Place: at, Seq: c.last.Seq + 1, Text: "The line was changed or put in: " + err.Error() + "."})
		return
	}
	if c.last.Seq == 0 {
		c.report.First, c.first, c.prev = markOf(l), at, l.Prev
	} else {
		c.follows(at, l)
	}
	if c.failed {
		return
	}
	c.last, c.report.Last = l, markOf(l)
	c.known(at, l)
	switch l.Event {
	case Lost:
		c.report.Lost += l.Count
	case Torn:
		c.report.Torn++
	case Pruned:
		c.begins, c.start, c.report.Pruned = l.Begins, l.Start, true
	case Damaged:
		c.found(Finding{Kind: FaultReported, Place: at, Seq: l.Seq, Text: "The broker found the log damaged when it opened it: " + l.Detail})
	default:
	}
}

// follows holds a line against the one before.
func (c *checker) follows(at Place, l Line) {
	want := c.last.Seq + 1
	switch {
	case l.Seq < want:
		c.found(Finding{Kind: FaultReordered, Place: at, Seq: l.Seq, Text: fmt.Sprintf("Line %d stands after line %d: it was moved, or put in a second time.", l.Seq, c.last.Seq)})
	case l.Seq > want:
		text := fmt.Sprintf("Line %d is missing here.", want)
		if l.Seq > want+1 {
			text = fmt.Sprintf("The lines %d to %d are missing here.", want, l.Seq-1)
		}
		c.found(Finding{Kind: FaultRemoved, Place: at, Seq: want, Text: text})
		c.gap = c.report.Fault
	case l.Prev != c.last.Hash:
		c.found(Finding{Kind: FaultChanged, Place: at, Seq: l.Seq, Text: fmt.Sprintf("Line %d does not follow the line before it: one of the two was changed and given another hash.", l.Seq)})
	}
}

// known holds a line against the head and the noted one.
func (c *checker) known(at Place, l Line) {
	if l.Seq == c.head.Seq && l.Hash != c.head.Hash {
		c.found(Finding{Kind: FaultChanged, Place: at, Seq: l.Seq, Text: fmt.Sprintf("Line %d is not the one that head.json knows: the end of the log was written anew.", l.Seq)})
	}
	if c.noted == nil || l.Seq != c.noted.Seq {
		return
	}
	c.sawIt = true
	if l.Hash != c.noted.Hash {
		c.found(Finding{Kind: FaultChanged, Place: at, Seq: l.Seq, Text: fmt.Sprintf("Line %d is not the one that was noted: the log was written anew.", l.Seq)})
	}
}

// late looks for what is missing at the fault among the lines after it.
func (c *checker) late(l Line, err error) {
	if err == nil && c.gap != nil && l.Seq == c.gap.Seq {
		c.gap.Kind = FaultReordered
		c.gap.Text = fmt.Sprintf("Line %d should stand here, and comes later: lines were moved.", l.Seq)
		c.gap = nil
	}
}

// end is after the last line.
func (c *checker) end(at Place, noHead error) {
	first := c.report.First
	switch {
	case c.failed:
	case noHead != nil:
		c.found(Finding{Kind: FaultHead, Place: at, Text: sentence(noHead) + ": lines may be missing at the end."})
	case c.last.Seq < c.head.Seq:
		c.found(Finding{Kind: FaultCut, Place: at, Seq: c.last.Seq + 1, Text: fmt.Sprintf("The log ends with line %d, and head.json knows line %d: the end was cut off.", c.last.Seq, c.head.Seq)})
	case first.Seq > 1 && first.Seq > c.begins:
		c.found(Finding{Kind: FaultRemoved, Place: c.first, Seq: 1, Text: fmt.Sprintf("The log begins with line %d, and no line says that the ones before were removed because they were old.", first.Seq)})
	case first.Seq == 1 && c.prev != noHash, first.Seq > 1 && first.Seq == c.begins && c.start != "" && c.prev != c.start:
		c.found(Finding{Kind: FaultChanged, Place: c.first, Seq: first.Seq, Text: "The first line is not chained to what it should be."})
	case c.noted != nil && !c.sawIt && c.noted.Seq >= first.Seq:
		c.found(Finding{Kind: FaultCut, Place: at, Seq: c.noted.Seq, Text: fmt.Sprintf("Line %d, which was noted, is not there: the end was cut off.", c.noted.Seq)})
	case c.noted != nil && !c.sawIt:
		c.found(Finding{Kind: FaultRemoved, Place: c.first, Seq: c.noted.Seq, Text: fmt.Sprintf("Line %d, which was noted, is older than the log, which begins with line %d: it was removed because it was old.", c.noted.Seq, first.Seq)})
	}
}

func markOf(l Line) Mark { return Mark{Seq: l.Seq, Hash: l.Hash, Time: l.Time.Time} }
