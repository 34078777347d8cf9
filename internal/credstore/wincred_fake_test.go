package credstore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// tornMode is what a crash leaves of the credential it hit.
type tornMode int

const (
	tornNothing  tornMode = iota // the call did nothing
	tornHalf                     // the first half of the new value
	tornEmpty                    // a credential without a value
	tornZeroed                   // the right length, the second half zero
	tornVanished                 // no credential any more
	tornDone                     // the call was done, its answer was not seen
	tornModes
)

var errCrashed = errors.New("the machine is down")

// fakeCredentials is Credential Manager in memory. It can crash at any write or
// delete, and it notices when it is used by two at once, which the real one
// does not survive.
type fakeCredentials struct {
	values  map[string][]byte // by lower-case target
	names   map[string]string // as it was written
	crashAt int               // the write or delete, counted from 1, that crashes; 0 never
	mode    tornMode
	count   int   // writes and deletes since the last boot
	down    bool  // after the crash
	fail    error // instead of any answer
	inUse   atomic.Int32
	t       testing.TB
}

func newFakeCredentials(t testing.TB) *fakeCredentials {
	return &fakeCredentials{values: map[string][]byte{}, names: map[string]string{}, t: t}
}

// boot arms the fake for another run: the values stay.
func (f *fakeCredentials) boot(crashAt int, mode tornMode) {
	f.crashAt, f.mode, f.count, f.down = crashAt, mode, 0, false
}

// fork is a copy that goes its own way.
func (f *fakeCredentials) fork() *fakeCredentials {
	return &fakeCredentials{values: maps.Clone(f.values), names: maps.Clone(f.names), t: f.t}
}

// enter is the start of every call.
func (f *fakeCredentials) enter() error {
	if f.inUse.Add(1) != 1 {
		f.t.Error("Credential Manager is used by two at once")
	}
	if f.down {
		return errCrashed
	}
	return f.fail
}

func (f *fakeCredentials) leave() { f.inUse.Add(-1) }

func (f *fakeCredentials) put(target string, blob []byte) {
	f.values[strings.ToLower(target)], f.names[strings.ToLower(target)] = bytes.Clone(blob), target
}

func (f *fakeCredentials) drop(target string) {
	delete(f.values, strings.ToLower(target))
	delete(f.names, strings.ToLower(target))
}

// crashes reports whether this write or delete is the one, and leaves what it leaves.
func (f *fakeCredentials) crashes(target string, blob []byte, done func()) bool {
	f.count++
	if f.count != f.crashAt {
		return false
	}
	f.down = true
	switch f.mode {
	case tornNothing, tornModes:
	case tornHalf:
		f.put(target, blob[:len(blob)/2])
	case tornEmpty:
		f.put(target, nil)
	case tornZeroed:
		zeroed := make([]byte, len(blob))
		copy(zeroed, blob[:len(blob)/2])
		f.put(target, zeroed)
	case tornVanished:
		f.drop(target)
	case tornDone:
		done()
	}
	return true
}

func (f *fakeCredentials) Write(target string, blob []byte) error {
	defer f.leave()
	if err := f.enter(); err != nil {
		return err
	}
	if len(blob) > 2560 || len(target) > 245 || strings.Contains(target, `\`) {
		f.t.Errorf("a credential of %d bytes with the name %q", len(blob), target)
	}
	if f.crashes(target, blob, func() { f.put(target, blob) }) {
		return errCrashed
	}
	f.put(target, blob)
	return nil
}

func (f *fakeCredentials) Read(target string) ([]byte, error) {
	defer f.leave()
	if err := f.enter(); err != nil {
		return nil, err
	}
	blob, ok := f.values[strings.ToLower(target)]
	if !ok {
		return nil, errCredNotFound
	}
	return bytes.Clone(blob), nil
}

func (f *fakeCredentials) Delete(target string) error {
	defer f.leave()
	if err := f.enter(); err != nil {
		return err
	}
	old, ok := f.values[strings.ToLower(target)]
	if f.crashes(target, old, func() { f.drop(target) }) {
		return errCrashed
	}
	if !ok {
		return errCredNotFound
	}
	f.drop(target)
	return nil
}

func (f *fakeCredentials) List(prefix string) ([]string, error) {
	defer f.leave()
	if err := f.enter(); err != nil {
		return nil, err
	}
	var targets []string
	for low, name := range f.names {
		if strings.HasPrefix(low, strings.ToLower(prefix)) {
			targets = append(targets, name)
		}
	}
	slices.Sort(targets)
	slices.Reverse(targets) // the first chunk last: no order is promised
	return targets, nil
}

// noLock stands for the named mutex where one process is all there is.
type noLock struct{ err error }

func (n noLock) lock(ctx context.Context) (func(), error) { return func() {}, n.err }

func fakeWincred(creds *fakeCredentials) *wincredStore {
	return newWincredStore(creds, noLock{}, targetPrefix, discard())
}
