package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// LogFile is a log on the disk, for a program without a terminal. When it is
// full it gets the ending .1, the one before .2, and so on; the oldest goes. It
// is opened at the first Write, and safe for concurrent use by one process.
type LogFile struct {
	Path string // in a directory that is its owner's alone; made where it is missing
	Max  int64  // bytes; zero: DefaultLogMax
	Keep int    // old files; zero: DefaultLogKeep

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64 // since the last try to turn the file over
}

// How much a log keeps: 10 MiB in the file and in each of five old ones.
const (
	DefaultLogMax  = 10 << 20
	DefaultLogKeep = 5
)

// Write implements io.Writer: one call is one or more whole lines.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	if limit := l.limit(); l.size > 0 && l.size+int64(len(p)) > limit {
		if err := l.turnOver(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *LogFile) limit() int64 {
	if l.Max > 0 {
		return l.Max
	}
	return DefaultLogMax
}

func (l *LogFile) open() error {
	if err := ownerfile.MakeDir(filepath.Dir(l.Path)); err != nil {
		return fmt.Errorf("make the directory of the log: %w", err)
	}
	file, err := os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.size = file, info.Size()
	return nil
}

// turnOver puts an empty file in the place of the full one. Where another
// program holds one of them, Windows does not rename it: then the file grows on.
func (l *LogFile) turnOver() error {
	err := l.file.Close()
	l.file = nil
	keep := l.Keep
	if keep <= 0 {
		keep = DefaultLogKeep
	}
	for i := keep; i > 0 && err == nil; i-- {
		from := l.Path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", l.Path, i-1)
		}
		if err = os.Rename(from, fmt.Sprintf("%s.%d", l.Path, i)); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if opened := l.open(); opened != nil {
		return opened
	}
	if err != nil {
		l.size = 0
	}
	return nil
}

// Close closes the file; a later Write opens it again.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// maxTail is how much of a log is looked at for its last lines.
const maxTail = 64 << 10

// Tail is the last n lines of a file; none where it cannot be read.
func Tail(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	if info, err := f.Stat(); err == nil && info.Size() > maxTail {
		_, _ = f.Seek(-maxTail, io.SeekEnd)
	}
	data, _ := io.ReadAll(io.LimitReader(f, maxTail))
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-n):]
}
