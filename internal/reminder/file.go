package reminder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// FileName is the file in the state directory that says what people were told.
const FileName = "reminders.json"

const (
	fileVersion = 1
	maxFile     = 1 << 20 // bytes that are read of the file
)

// stored is the file.
type stored struct {
	Version  int             `json:"version"`
	Accounts map[string]told `json:"accounts"` // by hash
}

func pathIn(dir string) string { return filepath.Join(dir, FileName) }

// load reads what was told. A file that cannot be read is replaced with the next
// news; the worst is that people hear of something twice.
func (r *Reminder) load(ctx context.Context) map[string]told {
	s, err := read(r.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.cfg.Log.WarnContext(ctx, "it cannot be read what people were told of the accounts; telling begins anew",
			slog.String("file", FileName), slog.Any("error", err))
	}
	if err != nil || s.Accounts == nil {
		return map[string]told{}
	}
	return s.Accounts
}

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
	for _, t := range s.Accounts {
		switch t.Need {
		case SignIn, Admin, Ending:
		default:
			return stored{}, errors.New("it holds a need that there is not")
		}
		if t.Repeat < 0 {
			return stored{}, errors.New("it holds a count that cannot be")
		}
	}
	return s, nil
}

// save writes down what was told, where that has changed. A disk that is full
// keeps nobody from being told, and is warned of once.
func (r *Reminder) save(ctx context.Context) {
	if !r.dirty {
		return
	}
	data, err := json.MarshalIndent(stored{fileVersion, r.told}, "", " ")
	if err == nil {
		err = ownerfile.Write(r.path, append(data, '\n'))
	}
	if err != nil && !r.failed {
		r.cfg.Log.WarnContext(ctx, "it cannot be written down what people were told of the accounts; after a restart they may hear it again",
			slog.String("file", FileName), slog.Any("error", err))
	}
	r.failed = err != nil
	r.dirty = r.failed
}
