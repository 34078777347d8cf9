package ownerfile

import (
	"bufio"
	"errors"
	"io"
)

// Lines calls visit with each whole line of r, newline included, which visit may
// not keep; one of more than limit bytes comes as nil. It ends early where visit
// returns false. end is where the last line that was visited ends, and torn how
// many bytes follow the last newline of r: what a crash cut off.
func Lines(r io.Reader, limit int, visit func(line []byte) bool) (end, torn int64, err error) {
	lines := bufio.NewReaderSize(r, limit)
	var length int64
	for {
		part, err := lines.ReadSlice('\n')
		length += int64(len(part))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return end, length, nil
		case err != nil:
			return end, 0, err
		}
		if length > int64(len(part)) {
			part = nil
		}
		end, length = end+length, 0
		if !visit(part) {
			return end, 0, nil
		}
	}
}
