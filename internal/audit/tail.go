package audit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lookEvery is how often Follow looks for new lines.
const lookEvery = 500 * time.Millisecond

// Tail gives the newest n lines that wanted takes, the newest last. A line that is
// none of ours is left out; Verify finds it. ErrNoLog: there are no files.
func Tail(dir string, n int, wanted func(Line) bool) ([]Line, error) {
	lines, _, err := tail(dir, n, wanted)
	return lines, err
}

// tail is Tail, and how far it came. A file that is renamed at this moment is
// looked for once more.
func tail(dir string, n int, wanted func(Line) bool) ([]Line, cursor, error) {
	lines, at, err := tailOnce(dir, n, wanted)
	if errors.Is(err, fs.ErrNotExist) {
		lines, at, err = tailOnce(dir, n, wanted)
	}
	return lines, at, err
}

func tailOnce(dir string, n int, wanted func(Line) bool) ([]Line, cursor, error) {
	var newest []Line
	at := cursor{}
	l, err := list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, at, ErrNoLog
	}
	if err != nil {
		return nil, at, err
	}
	files := l.files()
	if len(files) == 0 {
		return nil, at, ErrNoLog
	}
	for i := len(files) - 1; i >= 0 && len(newest) < n; i-- {
		var lines []Line
		in, err := at.of(dir, files[i])
		if err == nil {
			in, err = in.read(dir, files[i], func(l Line) error {
				if wanted(l) {
					lines = append(lines, l)
				}
				if over := len(lines) - (n - len(newest)); over > 0 {
					lines = lines[over:]
				}
				return nil
			})
		}
		if err != nil {
			return nil, at, err
		}
		if i == len(files)-1 {
			at = in
		}
		newest = append(lines, newest...)
	}
	return newest, at, nil
}

// Follow calls each with the newest n lines that wanted takes, and then with
// every further one as it is written, until ctx ends (nil) or each fails. It opens
// a file only to read it, so that the broker can rename it.
func Follow(ctx context.Context, dir string, n int, wanted func(Line) bool, each func(Line) error) error {
	newest, at, err := tail(dir, n, wanted)
	if err != nil && !errors.Is(err, ErrNoLog) {
		return err
	}
	for _, line := range newest {
		if err := each(line); err != nil {
			return err
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		at, err = at.onward(dir, func(l Line) error {
			if !wanted(l) {
				return nil
			}
			return each(l)
		})
		if err != nil {
			return err
		}
	}
}

// cursor is how far the log was read: in the file whose first line has this
// number, up to this offset. The file's name changes when it is full.
type cursor struct {
	first  uint64
	offset int64
}

// of is the beginning of a file, or where c stands in it.
func (c cursor) of(dir, name string) (cursor, error) {
	first, ok := numbered(name, fullBegin, fullEnd)
	if !ok {
		l, err := firstLine(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF) {
			return cursor{}, nil // not there at this moment, or still empty
		}
		first = max(l.Seq, 1)
	}
	if first == c.first {
		return c, nil
	}
	return cursor{first: first}, nil
}

// onward reads what was written since.
func (c cursor) onward(dir string, each func(Line) error) (cursor, error) {
	l, err := list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	passed := c.first == 0 // the file that c stands in
	for _, name := range l.files() {
		in, err := c.of(dir, name)
		switch {
		case err != nil, in.first == 0, in.first < c.first:
		case name == currentName && in.first > c.first && !passed:
			return c, nil // it is new, and what c stands in was renamed after the list was made
		default:
			passed = true
			c, err = in.read(dir, name, each)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // renamed meanwhile: the next look finds it
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// read goes through a file from c on, and gives where it came to.
func (c cursor) read(dir, name string, each func(Line) error) (cursor, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return c, err
	}
	if _, err := f.Seek(c.offset, io.SeekStart); err != nil {
		return c, errors.Join(err, f.Close())
	}
	var failed error
	end, _, err := readLines(f, func(line []byte) bool {
		if l, err := decode(line); err == nil {
			failed = each(l)
		}
		return failed == nil
	})
	c.offset += end
	return c, errors.Join(failed, err, f.Close())
}
