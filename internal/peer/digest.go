package peer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// The bounds of Digests.
const (
	maxDigests = 256
	atOnce     = 2       // files that are read at a time
	chunk      = 1 << 20 // bytes between two looks at the context
	// settled is how old a change of a file must be, so that a second change cannot
	// have the same time: file systems count in steps of up to two seconds.
	settled = 3 * time.Second
)

// errChanging says that there is no one content to take the digest of.
var errChanging = errors.New("the program's file changes while it is read")

// Digests remembers the SHA-256 of programs' files, so that a file is read once
// and not for every connection. A file that was changed is another one. It is
// safe for concurrent use.
type Digests struct {
	reading chan struct{} // a place for each file that is being read
	mu      sync.Mutex
	known   map[named]string // at most maxDigests
}

// named is a file under the name that it runs by: not every file system of Windows
// has numbers that tell all its files apart.
type named struct {
	path string
	fileState
}

// NewDigests makes an empty memory.
func NewDigests() *Digests {
	return &Digests{reading: make(chan struct{}, atOnce), known: map[named]string{}}
}

// fileState is a file as it is now. A change of the content changes it.
type fileState struct {
	id      fileID
	size    int64
	written int64 // when the content was changed, ns since 1970
	changed int64 // when anything of it was, which its owner cannot set on Linux
}

// sum is the digest of a file that was opened for this, as lower-case hex. path is
// what the file is known by.
func (d *Digests) sum(ctx context.Context, path string, f *os.File) (string, error) {
	before, err := stateOf(f)
	if err != nil {
		return "", fmt.Errorf("look at the program's file: %w", err)
	}
	select {
	case d.reading <- struct{}{}:
		defer func() { <-d.reading }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if sum, ok := d.recall(named{path, before}); ok { // maybe since we waited
		return sum, nil
	}
	sum, err := digest(ctx, f)
	if err != nil {
		return "", fmt.Errorf("read the program's file: %w", err)
	}
	switch after, err := stateOf(f); {
	case err != nil:
		return "", fmt.Errorf("look at the program's file: %w", err)
	case after != before:
		return "", errChanging
	}
	if time.Since(time.Unix(0, max(before.written, before.changed))) > settled {
		d.remember(named{path, before}, sum)
	}
	return sum, nil
}

func (d *Digests) recall(f named) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum, ok := d.known[f]
	return sum, ok
}

// remember keeps a digest. So many programs never call one broker; where they do,
// they are all read anew.
func (d *Digests) remember(f named, sum string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxDigests {
		clear(d.known)
	}
	d.known[f] = sum
}

// digest reads f to its end, in constant memory.
func digest(ctx context.Context, f io.Reader) (string, error) {
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		switch _, err := io.CopyN(h, f, chunk); {
		case errors.Is(err, io.EOF):
			return hex.EncodeToString(h.Sum(nil)), nil
		case err != nil:
			return "", err
		}
	}
}
