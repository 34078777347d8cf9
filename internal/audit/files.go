package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// The names in the log's directory. A file that is full is renamed to the number
// of its first line, so that names in order are lines in order.
const (
	currentName = "audit.jsonl"
	headName    = "head.json"
	fullBegin   = "audit-"
	fullEnd     = ".jsonl"
	tornBegin   = "torn-"
	tornEnd     = ".txt"
	seqDigits   = 12
)

func fullName(first uint64) string {
	return fmt.Sprintf("%s%0*d%s", fullBegin, seqDigits, first, fullEnd)
}

func tornName(next uint64) string {
	return fmt.Sprintf("%s%0*d%s", tornBegin, seqDigits, next, tornEnd)
}

// numbered is the number in a name between begin and end.
func numbered(name, begin, end string) (uint64, bool) {
	name, ok := strings.CutPrefix(name, begin)
	if ok {
		name, ok = strings.CutSuffix(name, end)
	}
	if !ok || len(name) < seqDigits || strings.Trim(name, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 64)
	return n, err == nil
}

// listed are the names in a directory that belong to a log.
type listed struct {
	full    []string // oldest first
	torn    []string // oldest first
	current bool
	left    []string // of a killed writer of the head
}

// files are all that hold lines, oldest first.
func (l listed) files() []string {
	all := slices.Clone(l.full)
	if l.current {
		all = append(all, currentName)
	}
	return all
}

func list(dir string) (listed, error) { return listIn(os.DirFS(dir)) }

func listIn(dir fs.FS) (listed, error) {
	var l listed
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return l, err
	}
	number := func(begin, end string) func(a, b string) int {
		return func(a, b string) int {
			x, _ := numbered(a, begin, end)
			y, _ := numbered(b, begin, end)
			return int(min(1, max(-1, int64(x-y))))
		}
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && name != currentName {
			continue
		}
		if _, ok := numbered(name, fullBegin, fullEnd); ok {
			l.full = append(l.full, name)
		} else if _, ok := numbered(name, tornBegin, tornEnd); ok {
			l.torn = append(l.torn, name)
		} else if of, ok := ownerfile.Leftover(name); ok && (of == headName || strings.HasPrefix(of, tornBegin)) {
			l.left = append(l.left, name)
		}
		l.current = l.current || name == currentName
	}
	slices.SortFunc(l.full, number(fullBegin, fullEnd))
	slices.SortFunc(l.torn, number(tornBegin, tornEnd))
	return l, nil
}

// head is the newest line that was known to be on the disk, as head.json has it.
type head struct {
	Seq  uint64 `json:"seq"`  // zero: there is no line yet
	Hash string `json:"hash"` // of that line
	// Offset is where that line ends in the file it was in.
	Offset int64 `json:"offset"`
}

var errNoHead = errors.New("the file head.json, which names the last line, is missing")

// readHead reads head.json.
func readHead(dir fs.FS) (head, error) {
	var h head
	b, err := fs.ReadFile(dir, headName)
	if errors.Is(err, fs.ErrNotExist) {
		return h, errNoHead
	}
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil || len(h.Hash) != hashLen || h.Offset < 0 {
		return head{}, errors.New("the file head.json, which names the last line, cannot be read as what it is")
	}
	return h, nil
}

func writeHead(dir string, h head) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return ownerfile.Write(filepath.Join(dir, headName), append(b, '\n'))
}

// readLines is ownerfile.Lines for a log, with lines as decode takes them: without
// the newline.
func readLines(r io.Reader, visit func(line []byte) bool) (end, torn int64, err error) {
	return ownerfile.Lines(r, maxLine, func(line []byte) bool { return visit(bytes.TrimSuffix(line, []byte("\n"))) })
}

// lineBefore is the whole line that ends, with its newline, at end.
func lineBefore(f io.ReaderAt, end int64) ([]byte, error) {
	begin := max(0, end-maxLine)
	b := make([]byte, end-begin)
	if _, err := f.ReadAt(b, begin); err != nil {
		return nil, err
	}
	line, ok := bytes.CutSuffix(b, []byte("\n"))
	if !ok {
		return nil, errors.New("no line ends there")
	}
	return line[bytes.LastIndexByte(line, '\n')+1:], nil
}

// firstLine is the first line of a file.
func firstLine(path string) (Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return Line{}, err
	}
	var l Line
	bad := io.ErrUnexpectedEOF
	_, _, err = readLines(f, func(line []byte) bool {
		l, bad = decode(line)
		return false
	})
	return l, errors.Join(err, bad, f.Close())
}
