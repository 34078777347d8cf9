package mapiadapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// OpenLedger opens the ledger of a target in dir, and makes both where they are
// missing, for their owner alone. A last line that a crash cut off is removed;
// damaged lines stay where they are and are counted, see Ledger.Damaged. It
// refuses, with an *ownerfile.AccessError, what others can reach.
func OpenLedger(dir, target string) (*Ledger, error) {
	return openLedger(dir, target, maxLedger)
}

func openLedger(dir, target string, limit int64) (*Ledger, error) {
	name := target + ".jsonl"
	// IsLocal is false of Windows' devices: "nul.jsonl" would take every entry and keep none.
	if !config.ValidName(target) || !filepath.IsLocal(name) {
		return nil, fmt.Errorf("open the ledger of %q: no file can have this name; give the target another one", target)
	}
	l := &Ledger{path: filepath.Join(dir, name), open: openLedgerFile, max: limit, rotateAt: limit}
	if err := errors.Join(os.MkdirAll(dir, 0o700), ownerfile.ProtectDir(dir)); err != nil {
		return nil, fmt.Errorf("open the ledger %s: %w", l.path, err)
	}
	err := l.begin(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger %s: %w", l.path, err), l.shut())
	}
	return l, nil
}

// begin reads what there is, the older generation first, and makes the file
// ready for the first Append.
func (l *Ledger) begin(dir string) error {
	info, err := os.Stat(dir)
	if err == nil {
		err = ownerfile.Check(dir, info)
	}
	if err != nil {
		return err
	}
	if _, _, err := l.read(older(l.path)); err != nil {
		return err
	}
	var whole int
	if whole, l.size, err = l.read(l.path); err != nil {
		return err
	}
	l.bare = whole == 0 && len(l.lastLine) > 0
	l.dirty = true // cuts off a torn line, where there is one
	return l.ready()
}

// read takes in one generation: its newest entry becomes the last. It returns
// how many whole entries it has and where its last line ends. A file that is
// not there has none.
func (l *Ledger) read(path string) (whole int, end int64, err error) {
	f, err := openOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	end, _, err = ownerfile.Lines(f, maxLine, func(line []byte) bool {
		e, ok := decodeEntry(line)
		if !ok {
			l.damaged++
			return true
		}
		whole++
		l.last, l.lastLine, l.seq = e, slices.Clone(line), max(l.seq, e.Seq)
		return true
	})
	return whole, end, errors.Join(err, f.Close())
}

// Tail is the newest n entries, the newest last, from both generations. What
// is damaged is left out.
func (l *Ledger) Tail(n int) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n <= 0 {
		return nil, nil
	}
	var tail []Entry
	var before uint64 // Seq of the entry before: a new file begins with a copy of it
	for _, path := range []string{older(l.path), l.path} {
		f, err := openOwn(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the ledger %s: %w", path, err)
		}
		var whole io.Reader = f
		if path == l.path {
			whole = io.LimitReader(f, l.size) // what follows failed and could not be cut off yet
		}
		_, _, err = ownerfile.Lines(whole, maxLine, func(line []byte) bool {
			if e, ok := decodeEntry(line); ok && e.Seq != before {
				before = e.Seq
				tail = append(tail, e)
			}
			if len(tail) >= 2*n {
				tail = append(tail[:0], tail[len(tail)-n:]...)
			}
			return true
		})
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read the ledger %s: %w", path, err)
		}
	}
	return tail[max(0, len(tail)-n):], nil
}

// older is where the older generation of the file path is.
func older(path string) string { return path + ".1" }

// openLedgerFile opens path for Append.
func openLedgerFile(path string) (ledgerFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openOwn opens a file of ours for reading.
func openOwn(path string) (*os.File, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file; move it away", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = ownerfile.Check(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// A line is the entry as a JSON object, with the checksum (CRC-32C, in hex) of
// that object as one more member at its end.
const (
	sumBegin = `,"sum":"`
	sumEnd   = `"}` + "\n"
	sumLen   = len(sumBegin) + 8 + len(sumEnd)
)

// encodeEntry gives e's line, and e as it will be read from that.
func encodeEntry(e Entry) ([]byte, Entry, error) {
	object, err := json.Marshal(e)
	if err != nil {
		return nil, Entry{}, err
	}
	line := fmt.Appendf(object[:len(object)-1:len(object)-1], "%s%08x%s", sumBegin, checksum(object), sumEnd)
	if len(line) > maxLine {
		return nil, Entry{}, fmt.Errorf("an entry of %d bytes: %d are the limit", len(line), maxLine)
	}
	e, ok := decodeEntry(line)
	if !ok {
		return nil, Entry{}, errors.New("the entry could not be read again")
	}
	return line, e, nil
}

// decodeEntry reads a line with its newline; false where it is damaged, or too
// long, which is nil.
func decodeEntry(line []byte) (Entry, bool) {
	cut := len(line) - sumLen
	if cut < 1 || string(line[cut:cut+len(sumBegin)]) != sumBegin || string(line[len(line)-len(sumEnd):]) != sumEnd {
		return Entry{}, false
	}
	hex := line[cut+len(sumBegin) : len(line)-len(sumEnd)]
	sum, err := strconv.ParseUint(string(hex), 16, 32)
	object := append(slices.Clone(line[:cut]), '}')
	if err != nil || uint32(sum) != checksum(object) {
		return Entry{}, false
	}
	var e Entry
	if err := json.Unmarshal(object, &e); err != nil || e.Seq == 0 {
		return Entry{}, false
	}
	return e, true
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
