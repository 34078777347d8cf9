package signin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Authority is what a sign-in needs of the authority. Errors are *token.Error.
type Authority interface {
	DeviceCode(ctx context.Context, app token.App, scopes token.Scopes) (token.DeviceCode, error)
	Browser(ctx context.Context, app token.App, scopes token.Scopes, loginHint string, open func(url string) error) (token.Grant, error)
}

// Keep makes a grant durable: it checks that the grant belongs to account ("" is
// any), stores it, reads it back and gives the account's name. Only its nil
// error makes a sign-in a success.
type Keep func(ctx context.Context, account string, grant token.Grant) (name string, err error)

// Config is what a Desk is made with.
type Config struct {
	Authority Authority
	Keep      Keep
	Changed   func(View)   // told of every start and end, outside of locks; may be nil
	Log       *slog.Logger // nil means none
}

// Request is one wish to sign in.
type Request struct {
	Account   string // name of the account, "" for whoever signs in
	App       token.App
	Scopes    token.Scopes
	Flow      token.Flow
	LoginHint string // user name to put into the browser's form; may be empty
}

// Limits of a Desk.
const (
	startTimeout   = 10 * time.Second // to get a code or a URL
	browserTimeout = 10 * time.Minute // for the person in the browser
	keepTimeout    = 30 * time.Second // for the store
	keptFor        = 15 * time.Minute // how long an ended sign-in can be looked at
	maxEnded       = 256
	maxPending     = 64
)

// Desk runs sign-ins. One account has at most one pending sign-in. A Desk is
// safe for concurrent use; Stop, or the end of Run, ends its goroutines.
type Desk struct {
	cfg Config
	wg  sync.WaitGroup

	mu       sync.Mutex // guards what follows and every session; never held over I/O
	stopped  bool
	sessions map[string]*session // by ID
	pending  map[string]*session // by lower-case account
	ended    []*session          // oldest first
}

// New makes a Desk.
func New(cfg Config) *Desk {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Desk{cfg: cfg, sessions: make(map[string]*session), pending: make(map[string]*session)}
}

// Run waits for ctx to end, then stops the desk. It is the form in which a
// long-running program holds a Desk.
func (d *Desk) Run(ctx context.Context) error {
	<-ctx.Done()
	d.Stop()
	return nil
}

// Stop cancels every pending sign-in, refuses new ones and waits until all
// goroutines are gone. A sign-in that the person has finished is still stored.
func (d *Desk) Stop() {
	d.mu.Lock()
	d.stopped = true
	var views []View
	for _, s := range d.pending {
		if d.end(s, StateCancelled, token.NewError(token.KindCancelled, opSignIn, "The broker was stopped before the sign-in was finished; start the sign-in again.")) {
			views = s.appendShown(views)
		}
		s.cancel()
	}
	d.mu.Unlock()
	for _, v := range views {
		d.tell(v)
	}
	d.wg.Wait()
}

// Start begins a sign-in and returns when the person can act: there is a code or
// a URL. Where the account has a pending sign-in it returns that one, with
// created false. The sign-in goes on when ctx ends. It fails within 10 s where
// the authority refuses or cannot be reached.
func (d *Desk) Start(ctx context.Context, req Request) (v View, created bool, err error) {
	if req.Flow != token.FlowDevice && req.Flow != token.FlowBrowser {
		return View{}, false, token.NewError(token.KindInvalidRequest, opSignIn, "flow is neither device nor browser.")
	}
	s, created, err := d.enter(ctx, req)
	if err != nil {
		return View{}, false, err
	}
	select {
	case <-s.ready:
	case <-ctx.Done():
		e := *token.AsError(ctx.Err())
		e.Op = opSignIn
		return View{}, false, &e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.refused != nil {
		e := *s.refused // a copy: two callers may have waited for it
		return View{}, false, &e
	}
	return s.view(), created, nil
}

type byKey struct{}

// StartedBy tells Start who wants the sign-in, for View.By.
func StartedBy(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, byKey{}, name)
}

func startedBy(ctx context.Context) string {
	name, _ := ctx.Value(byKey{}).(string)
	return name
}

// enter finds the account's pending sign-in or makes one and lets it run.
func (d *Desk) enter(ctx context.Context, req Request) (*session, bool, error) {
	key := strings.ToLower(req.Account)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune()
	if s, ok := d.pending[key]; ok {
		return s, false, nil
	}
	switch {
	case d.stopped:
		return nil, false, token.NewError(token.KindUnavailable, opSignIn, "The broker is stopping; start the sign-in again when it is back.")
	case len(d.pending) >= maxPending:
		return nil, false, token.NewError(token.KindRateLimited, opSignIn, "Too many sign-ins are pending; finish or cancel some first.")
	}
	// The sign-in outlives the request, but keeps its values (the trace).
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &session{id: newID(), key: key, req: req, by: startedBy(ctx), cancel: cancel, state: StatePending, ready: make(chan struct{}), over: make(chan struct{})}
	d.sessions[s.id], d.pending[key] = s, s
	d.wg.Go(func() {
		defer cancel()
		d.run(own, s)
	})
	return s, true, nil
}

// SignIn is the sign-in as it is now. It fails with KindNotFound.
func (d *Desk) SignIn(id string) (View, error) {
	s, err := d.find(id)
	if err != nil {
		return View{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.view(), nil
}

// Wait returns when the sign-in leaves pending, or, with the sign-in as it is
// then, when ctx ends. It fails with KindNotFound.
func (d *Desk) Wait(ctx context.Context, id string) (View, error) {
	s, err := d.find(id)
	if err != nil {
		return View{}, err
	}
	select {
	case <-s.over:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.view(), nil
}

// Cancel ends a pending sign-in. One that has ended stays as it is, and one that
// the person has just finished is not taken back. It fails with KindNotFound.
func (d *Desk) Cancel(id string) (View, error) {
	s, err := d.find(id)
	if err != nil {
		return View{}, err
	}
	v, ended := d.finish(s, StateCancelled, token.NewError(token.KindCancelled, opSignIn, "The sign-in was cancelled; start it again when it is wanted."))
	if ended {
		s.cancel()
	}
	return v, nil
}

// Pending is the account's pending sign-in, if there is one.
func (d *Desk) Pending(account string) (View, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.pending[strings.ToLower(account)]
	if !ok || !s.shown() {
		return View{}, false
	}
	return s.view(), true
}

// Waiting is how many sign-ins wait for a person.
func (d *Desk) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, s := range d.pending {
		if s.shown() && !s.keeping {
			n++
		}
	}
	return n
}

// find looks a sign-in up. One that is still being started has no ID that
// anybody could know.
func (d *Desk) find(id string) (*session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune()
	s, ok := d.sessions[id]
	if !ok {
		return nil, token.NewError(token.KindNotFound, opSignIn, "There is no such sign-in; one that has ended is forgotten after 15 minutes. Start a new one.")
	}
	return s, nil
}

// finish is end with its lock and its news.
func (d *Desk) finish(s *session, state State, problem *token.Error) (View, bool) {
	d.mu.Lock()
	ended := d.end(s, state, problem)
	v := s.view()
	known := s.refused == nil
	d.mu.Unlock()
	if ended && known {
		d.tell(v)
	}
	return v, ended
}

// end moves s to a final state and reports whether it did: s may be there
// already, or past the point of return. Call it with mu held.
func (d *Desk) end(s *session, state State, problem *token.Error) bool {
	if s.state.Final() || (s.keeping && state == StateCancelled) {
		return false
	}
	s.state, s.problem, s.endedOn = state, problem, time.Now()
	delete(d.pending, s.key)
	if !s.shown() {
		s.refused = problem // Start gives the reason
		close(s.ready)
	}
	if s.refused != nil {
		delete(d.sessions, s.id) // nobody knows it
	} else {
		d.ended = append(d.ended, s)
	}
	close(s.over)
	d.prune()
	return true
}

// prune forgets what ended long ago. Call it with mu held.
func (d *Desk) prune() {
	drop := max(0, len(d.ended)-maxEnded)
	for drop < len(d.ended) && time.Since(d.ended[drop].endedOn) > keptFor {
		drop++
	}
	for _, s := range d.ended[:drop] {
		delete(d.sessions, s.id)
	}
	d.ended = slices.Delete(d.ended, 0, drop)
}

// tell passes a change on.
func (d *Desk) tell(v View) {
	if d.cfg.Changed != nil {
		d.cfg.Changed(v)
	}
}

// newID makes an unguessable ID: whoever knows it may watch the sign-in.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}
