package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// Files of the instance lock. The lock is on a file of its own because a locked
// region cannot be read on Windows.
const (
	lockFile = "broker.lock" // locked while a broker runs; never removed
	infoFile = "broker.json" // who holds it
)

// A command that looks for the holder takes the lock for a moment. A broker
// that starts in that moment tries again for this long.
const (
	lockPatience = 200 * time.Millisecond
	lockRetry    = 10 * time.Millisecond
)

// maxInfo bounds what is read from infoFile.
const maxInfo = 64 << 10

// Info says which broker uses a state directory.
type Info struct {
	PID       int       `json:"pid"`
	Listen    string    `json:"listen,omitempty"` // host:port; empty until the port is known
	StartedOn time.Time `json:"started_on"`
	Version   string    `json:"version,omitempty"`
}

// LockedError says that another broker uses the state directory.
type LockedError struct {
	Dir    string
	Holder Info // zero where the holder has not said who it is
}

// Error names the holder and the remedy.
func (e *LockedError) Error() string {
	holder := "another broker"
	if e.Holder.PID != 0 {
		holder = fmt.Sprintf("another broker (pid %d, since %s", e.Holder.PID, e.Holder.StartedOn.Local().Format("2006-01-02 15:04:05"))
		if e.Holder.Listen != "" {
			holder += ", on " + e.Holder.Listen
		}
		holder += ")"
	}
	return fmt.Sprintf("%s: %s uses this state directory; stop it or choose another --state-dir", e.Dir, holder)
}

// InstanceLock is the lock of a state directory. It ends with Release, or with
// the process however that ends. It is safe for concurrent use.
type InstanceLock struct {
	dir  string
	lock *flock.Flock

	mu   sync.Mutex // guards info and the writing of infoFile
	info Info
}

// Lock takes the instance lock of dir, which must exist. A zero PID or
// StartedOn in info is filled in. Where another process holds the lock, it
// returns a *LockedError after at most 200 ms.
func Lock(ctx context.Context, dir string, info Info) (*InstanceLock, error) {
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	if ok, err := lock.TryLockContext(ctx, lockRetry); !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			holder, _ := readInfo(dir)
			return nil, &LockedError{Dir: dir, Holder: holder}
		}
		return nil, fmt.Errorf("lock the state directory %s: %w; check that it is on a local disk and that you may write to it", dir, err)
	}
	sweep(dir)
	l := &InstanceLock{dir: dir, lock: lock, info: Info{PID: os.Getpid(), StartedOn: time.Now().UTC().Truncate(time.Second)}}
	if err := l.Update(info); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

// sweep removes what a broker that was killed in the middle of a write left
// behind of any of its files. Call it with the lock held: then nobody else writes
// here. What cannot be removed is tried again at the next start.
func sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if _, ok := ownerfile.Leftover(e.Name()); ok && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Update says anew who holds the lock, for example once the port is known.
// Fields of info that are zero keep what they were.
func (l *InstanceLock) Update(info Info) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.info
	if info.PID != 0 {
		next.PID = info.PID
	}
	if !info.StartedOn.IsZero() {
		next.StartedOn = info.StartedOn
	}
	if info.Listen != "" {
		next.Listen = info.Listen
	}
	if info.Version != "" {
		next.Version = info.Version
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := ownerfile.Write(filepath.Join(l.dir, infoFile), append(data, '\n')); err != nil {
		return err
	}
	l.info = next
	return nil
}

// Release frees the lock. The second call does nothing.
func (l *InstanceLock) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lock.Locked() {
		return nil
	}
	// First, while nobody else can have written it.
	err := ownerfile.Remove(filepath.Join(l.dir, infoFile))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.lock.Close())
}

// Holder finds the broker that uses dir. It is false where none does, also
// where one was killed and its info is still there: the lock is the truth.
// Info.Listen is empty while that broker is still starting.
func Holder(dir string) (Info, bool) {
	path := filepath.Join(dir, lockFile)
	if _, err := os.Stat(path); err != nil {
		return Info{}, false // do not create it
	}
	lock := flock.New(path, flock.SetPermissions(0o600))
	free, err := lock.TryRLock() // shared: two commands do not disturb one another
	if err != nil {
		return Info{}, false
	}
	if free {
		_ = lock.Close()
		return Info{}, false
	}
	info, _ := readInfo(dir)
	return info, true
}

func readInfo(dir string) (Info, error) {
	var info Info
	data, err := ownerfile.Read(filepath.Join(dir, infoFile), maxInfo)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(data, &info)
}
