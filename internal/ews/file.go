package ews

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

const (
	// FileName is the file of the counts in the state directory.
	FileName = "ews-usage.json"
	// asideName is what a file becomes that cannot be read.
	asideName = FileName + ".damaged"
	// fileVersion is the form of the file. A file of another version is like a
	// damaged one.
	fileVersion = 1
	// maxFile bounds what is read of the file, in bytes: four times what all
	// consumers with all operations take.
	maxFile = 8 << 20
	// maxCalls bounds a count in the file, so that sums stay numbers.
	maxCalls = 1 << 53
)

// stored is the file.
type stored struct {
	Version   int                               `json:"version"`
	Since     time.Time                         `json:"since"`
	Consumers map[string]map[string]storedTally `json:"consumers"`
}

type storedTally struct {
	Calls int64     `json:"calls"`
	Last  time.Time `json:"last"`
}

// Open reads the counts of the state directory dir. It never fails: a file that
// cannot be read is a warning, counting begins anew, and the first save moves it
// aside. Nothing is written before Save, Run or Reset.
func Open(ctx context.Context, dir string, log *slog.Logger) *Usage {
	u := &Usage{
		path: filepath.Join(dir, FileName), log: log, index: map[string]int{},
		since: now(), consumers: map[string]*tally{},
	}
	for i, r := range table {
		u.index[r.Operation] = i
	}
	u.index[Other] = len(table)
	s, err := read(u.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		u.dirty.Store(true) // when counting began is worth keeping
	case err != nil:
		u.damaged.Store(true)
		u.dirty.Store(true)
		log.WarnContext(ctx, "the counts of Exchange Web Services cannot be read; counting begins anew, and the file is moved aside",
			slog.String("aside", asideName), slog.Any("error", err))
	default:
		u.fill(s)
	}
	return u
}

// read reads and checks the file. The error is that of the file system, or says
// what is wrong with the content.
func read(path string) (stored, error) {
	data, err := ownerfile.Read(path, maxFile)
	if err != nil {
		return stored{}, err
	}
	return decode(data)
}

// decode is the file's content, checked. No error holds any of it.
func decode(data []byte) (stored, error) {
	var s stored
	if json.Unmarshal(data, &s) != nil {
		return stored{}, errors.New("it is not the JSON that it should be")
	}
	if s.Version != fileVersion {
		return stored{}, fmt.Errorf("it is of version %d, and this program knows version %d", s.Version, fileVersion)
	}
	if s.Since.IsZero() {
		return stored{}, errors.New("it does not say when counting began")
	}
	for _, operations := range s.Consumers {
		for _, t := range operations {
			if t.Calls < 0 || t.Calls > maxCalls {
				return stored{}, errors.New("it holds a count that cannot be")
			}
		}
	}
	return s, nil
}

// fill takes the counts of a file. An operation that this version does not know
// becomes Other.
func (u *Usage) fill(s stored) {
	u.since = s.Since.UTC()
	for name, operations := range s.Consumers {
		t := u.make(name)
		for operation, n := range operations {
			c := &t[u.operation(operation)]
			c.calls.Add(n.Calls)
			c.last.Store(max(c.last.Load(), n.Last.UnixMilli()))
		}
	}
}

// Save writes the counts if the file does not hold them all yet. Nobody who counts
// waits for it. The error is that of the file system.
func (u *Usage) Save() error {
	u.saving.Lock()
	defer u.saving.Unlock()
	if !u.dirty.Swap(false) {
		return nil
	}
	err := u.write()
	if err != nil {
		u.dirty.Store(true)
		return fmt.Errorf("keep the counts of Exchange Web Services: %w", err)
	}
	return nil
}

func (u *Usage) write() error {
	if u.damaged.Load() {
		err := os.Rename(u.path, filepath.Join(filepath.Dir(u.path), asideName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		u.damaged.Store(false)
	}
	report := u.Report()
	s := stored{Version: fileVersion, Since: report.Since, Consumers: map[string]map[string]storedTally{}}
	for _, c := range report.Consumers {
		operations := map[string]storedTally{}
		for _, t := range c.Operations {
			operations[t.Operation] = storedTally{Calls: t.Calls, Last: t.Last.Truncate(time.Second)}
		}
		s.Consumers[c.Name] = operations
	}
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	return ownerfile.Write(u.path, append(data, '\n'))
}
