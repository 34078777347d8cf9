// Package extendedmapi opens the default mailbox of an Outlook profile by
// Extended MAPI, reads one property from the server, and closes all again. It
// is what `broker mapi probe` does, in a process of its own: MAPI can hang, and
// it cannot be unloaded.
//
// Nothing is written, no box is shown, and no DLL of another bitness is ever
// loaded. MAPI's own router (mapi32.dll) is left out: it answers a bitness that
// does not fit with a modal box.
//
// The sequence and the search for the DLL are plain code that every system
// tests; the calls themselves are in mapi_windows.go.
package extendedmapi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// maxProfile is the longest name of a profile, in UTF-16 units (MAPILogonEx).
const maxProfile = 64

// Request is what to open.
type Request struct {
	Profile string // of the account that this process runs as
	Mode    mapiprobe.Mode
	Limit   time.Duration // how long MAPI may take; zero: mapiprobe.OwnLimit
}

// Open opens the profile's default mailbox. Where MAPI does not come back within
// the limit, the result says at which step, and MAPI's thread is left behind:
// the process must end then. An error is a request that cannot be carried out,
// ctx's end, or a *desktop.Refusal where there is no MAPI by nature.
func Open(ctx context.Context, req Request) (mapiprobe.Result, error) {
	if err := check(req); err != nil {
		return mapiprobe.Result{}, err
	}
	if runtime.GOOS != "windows" {
		return mapiprobe.Result{}, &desktop.Refusal{Reason: desktop.RefusedPlatform, Detail: "Extended MAPI exists on Windows only."}
	}
	if req.Limit == 0 {
		req.Limit = mapiprobe.OwnLimit
	}
	return open(ctx, req, load)
}

func check(req Request) error {
	switch {
	case req.Profile == "":
		return errors.New("the profile has no name")
	case len(utf16.Encode([]rune(req.Profile))) > maxProfile:
		return fmt.Errorf("the profile's name is longer than %d characters", maxProfile)
	case req.Mode != mapiprobe.Cached && req.Mode != mapiprobe.Online:
		return fmt.Errorf("the mode %q is neither %s nor %s", req.Mode, mapiprobe.Cached, mapiprobe.Online)
	}
	for _, r := range req.Profile {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return errors.New("the profile's name has a character that no profile can have")
		}
	}
	return nil
}

// library is MAPI before it is loaded: it finds MAPI, and says which bitness it
// has where that does not fit.
type library func() (subsystem, desktop.Bitness, uint32)

// open runs the attempt on a thread of its own, which COM then belongs to, and
// waits for it.
func open(ctx context.Context, req Request, load library) (mapiprobe.Result, error) {
	began := time.Now()
	limited, stop := context.WithTimeout(ctx, req.Limit)
	defer stop()
	a := &attempt{ended: make(chan struct{})}
	go func() {
		defer close(a.ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine, and its COM with it
		a.run(req, load)
	}()
	select {
	case <-a.ended:
	case <-limited.Done():
	}
	found, known := a.result()
	if !known {
		if err := ctx.Err(); err != nil {
			return mapiprobe.Result{}, err
		}
		found = withResult(found, mapiprobe.HResultNoAnswer)
	}
	found.Took, found.Bitness = time.Since(began), mapiprobe.Own()
	return found, nil
}

// attempt is one opening. Its result counts as soon as it is known: that MAPI
// then hangs while it closes changes nothing about it.
type attempt struct {
	ended chan struct{}

	mu    sync.Mutex // guards what follows
	found mapiprobe.Result
	known bool
}

func (a *attempt) result() (mapiprobe.Result, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.found, a.known
}

func (a *attempt) at(step mapiprobe.Step) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found.Step = step
}

// done notes the result of the step, and reports whether it is the last.
func (a *attempt) done(hr uint32, last bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if mapiprobe.Classify(hr) == mapiprobe.ClassOK && !last {
		return false
	}
	a.found, a.known = withResult(a.found, hr), true
	return true
}

// withResult is what was found so far, with hr as the result of its step.
func withResult(found mapiprobe.Result, hr uint32) mapiprobe.Result {
	r := mapiprobe.NewResult(found.Step, hr)
	r.MAPI = found.MAPI
	return r
}

func (a *attempt) run(req Request, load library) {
	a.at(mapiprobe.StepLoad)
	m, bitness, hr := load()
	a.mu.Lock()
	a.found.MAPI = bitness
	a.mu.Unlock()
	if a.done(hr, false) {
		return
	}
	a.at(mapiprobe.StepInitialize)
	if a.done(m.initialize(), false) {
		return
	}
	defer m.uninitialize()
	a.at(mapiprobe.StepLogon)
	s, hr := m.logon(req.Profile)
	if a.done(hr, false) {
		return
	}
	defer s.logoff()
	a.at(mapiprobe.StepStores)
	entry, hr := s.defaultStore()
	if a.done(hr, false) {
		return
	}
	a.at(mapiprobe.StepOpen)
	mailbox, hr := s.openStore(entry, storeFlags(req.Mode))
	if a.done(hr, false) {
		return
	}
	defer mailbox.release()
	a.at(mapiprobe.StepRead)
	a.done(mailbox.read(entryFlags(req.Mode)), true)
}

// subsystem is MAPI in this process. Every uint32 is an HRESULT.
type subsystem interface {
	initialize() uint32
	logon(profile string) (session, uint32)
	uninitialize()
}

// session is one logon.
type session interface {
	// defaultStore is the entry identifier of the profile's default store.
	defaultStore() ([]byte, uint32)
	openStore(entry []byte, flags uint32) (store, uint32)
	logoff()
}

// store is an open mailbox.
type store interface {
	// read reads one property of the root folder, with the flags of OpenEntry.
	read(flags uint32) uint32
	release()
}
