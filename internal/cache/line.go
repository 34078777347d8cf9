package cache

import (
	"context"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// line is one account's queue of redemptions: one is in the air at a time, as
// the refresh token is shared and the next redemption needs the rotated one.
type line struct {
	mu         sync.Mutex // guards what follows, and the marked fields of its slots; never held over I/O
	waiting    []*flight
	running    bool
	inFlight   map[flightKey]*flight
	trouble    trouble // what holds for every resource of the account
	generation int     // grows with reset: an older flight's result is not published
}

// flightKey tells redemptions apart that may share one result.
type flightKey struct {
	resource string
	claims   string
}

// flight is one redemption and those who wait for it.
type flight struct {
	slot       *slot
	claims     string
	generation int
	redeem     func() (token.Token, error) // with its own context
	done       chan struct{}               // closed when the fields below are set
	entry      *Entry
	err        *token.Error
}

func newLine() *line { return &line{inFlight: map[flightKey]*flight{}} }

// reset drops the tokens and remembered failures of the line's slots, and
// stands the flights that were started before it apart.
func (l *line) reset(slots []*slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	l.trouble = trouble{}
	l.inFlight = map[flightKey]*flight{}
	for _, s := range slots {
		s.trouble, s.claims, s.challenge.trouble = trouble{}, "", trouble{}
		s.publish(nil)
	}
}

// await joins or starts the account's refresh and waits for it.
func (c *Cache) await(ctx context.Context, req token.Request) (Answer, error) {
	s := c.slot(req.Key)
	f, e, err := c.join(ctx, s, req)
	if e != nil {
		e.markAsked(time.Now())
		return Answer{Entry: e, FromCache: true}, nil
	}
	if err != nil {
		return c.fallback(s, req, err)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return Answer{}, token.AsError(ctx.Err())
	}
	if f.err != nil {
		return c.fallback(s, req, f.err)
	}
	f.entry.markAsked(time.Now())
	return Answer{Entry: f.entry}, nil
}

// fallback serves the token in hand where a renewal failed and the token is
// still valid. A caller with a claims challenge was refused with that token, so
// it gets the error; so does one that forced the renewal, where only a person
// can mend the failure or it forces too often.
func (c *Cache) fallback(s *slot, req token.Request, err *token.Error) (Answer, error) {
	now := time.Now()
	s.asked.Store(now.Unix())
	useless := req.Claims != "" || (req.Force && (err.Kind.UserAction() != "none" || err.Kind == token.KindRateLimited))
	if e := s.entry.Load(); e != nil && !useless && e.left(now) > 0 {
		return Answer{Entry: e, FromCache: true, Warning: err}, nil
	}
	return Answer{}, err
}

// join finds the flight that serves req or starts one. It gives an entry where
// one that is good enough arrived in the meantime, and an error where no
// upstream request may be made now.
func (c *Cache) join(ctx context.Context, s *slot, req token.Request) (*flight, *Entry, *token.Error) {
	now := time.Now()
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := s.entry.Load(); e != nil && e.satisfies(now, req, s.claims) {
		return nil, e, nil
	}
	if f := l.inFlight[flightKey{s.key.Resource, req.Claims}]; f != nil {
		return f, nil, nil
	}
	if err := firstError(l.trouble.at(now), s.trouble.at(now), s.challenge.at(req.Claims, now)); err != nil {
		return nil, nil, err
	}
	if err := s.pastCache(req, now); err != nil {
		return nil, nil, err
	}
	f, err := c.start(ctx, s, req)
	return f, nil, err
}

// pastCache holds redemptions that a caller forces to a rate of their own.
func (s *slot) pastCache(req token.Request, now time.Time) *token.Error {
	switch {
	case req.Claims != "" && !s.challenge.limit.AllowN(now, 1):
		return &token.Error{Kind: token.KindRateLimited, RetryAfter: forceEvery, Detail: "Claims challenges for this token came too often; present the challenge again later."}
	case req.Claims == "" && req.Force && !s.forced.AllowN(now, 1):
		return &token.Error{Kind: token.KindRateLimited, RetryAfter: forceEvery, Detail: "This token was renewed by force too often; ask again later, or without force."}
	}
	return nil
}

// board joins or starts the background refresh of a slot.
func (c *Cache) board(ctx context.Context, s *slot) (*flight, *token.Error) {
	now := time.Now()
	s.line.mu.Lock()
	defer s.line.mu.Unlock()
	if f := s.line.inFlight[flightKey{resource: s.key.Resource}]; f != nil {
		return f, nil
	}
	if err := firstError(s.line.trouble.at(now), s.trouble.at(now)); err != nil {
		return nil, err
	}
	return c.start(ctx, s, token.Request{Key: s.key})
}

// start queues a redemption and sees that the line is drained. The caller holds
// the line's lock.
func (c *Cache) start(ctx context.Context, s *slot, req token.Request) (*flight, *token.Error) {
	l := s.line
	if !l.running && !c.fly(l) {
		return nil, &token.Error{Kind: token.KindUnavailable, RetryAfter: time.Second, Detail: "The broker is stopping; ask again when it is back."}
	}
	f := &flight{slot: s, claims: req.Claims, generation: l.generation, done: make(chan struct{}), redeem: c.redemption(ctx, req)}
	l.inFlight[flightKey{s.key.Resource, req.Claims}] = f
	l.waiting = append(l.waiting, f)
	return f, nil
}

// fly starts to drain a line, unless the cache is closed.
func (c *Cache) fly(l *line) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	l.running = true
	c.flights.Go(func() { c.drain(l) })
	return true
}

func firstError(errs ...*token.Error) *token.Error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// redemption is the upstream call of req on a context of its own: it keeps the
// values of the caller who started it (the trace), but neither its deadline nor
// its cancellation.
func (c *Cache) redemption(ctx context.Context, req token.Request) func() (token.Token, error) {
	own := context.WithoutCancel(ctx)
	return func() (token.Token, error) {
		ctx, cancel := context.WithTimeout(own, c.cfg.Timeout)
		defer cancel()
		var tok token.Token
		err := c.cfg.Guard(func() (err error) {
			tok, err = c.cfg.Source.Token(ctx, req)
			return err
		})
		return tok, err
	}
}

// drain flies the line's flights one after the other until none waits.
func (c *Cache) drain(l *line) {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.running = false
			l.mu.Unlock()
			return
		}
		f := l.waiting[0]
		l.waiting = l.waiting[1:]
		trouble := l.trouble.at(time.Now())
		l.mu.Unlock()

		if trouble != nil { // the flight before met it, and this one would too
			c.divert(l, f, trouble)
			continue
		}
		tok, err := f.redeem()
		c.land(l, f, tok, err)
	}
}

// divert ends a flight without an upstream request.
func (c *Cache) divert(l *line, f *flight, err *token.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(f.done)
	f.err = err
	if f.generation == l.generation {
		delete(l.inFlight, flightKey{f.slot.key.Resource, f.claims})
	}
}

// land publishes a flight's result and releases who waits for it.
func (c *Cache) land(l *line, f *flight, tok token.Token, err error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(f.done)
	current := f.generation == l.generation
	if current {
		delete(l.inFlight, flightKey{resource: f.slot.key.Resource, claims: f.claims})
	}
	if err != nil {
		f.err = token.AsError(err)
		if current {
			c.remember(l, f, now)
			c.cfg.Published()
			// Who waited is told the same Retry-After as who asks next.
			if e := firstError(f.slot.trouble.at(now), l.trouble.at(now)); e != nil {
				f.err = e
			}
		}
		return
	}
	f.entry = newEntry(f.slot.key, tok, &f.slot.asked)
	if !current {
		return
	}
	l.trouble, f.slot.trouble = trouble{}, trouble{}
	f.slot.claims = f.claims
	f.slot.publish(f.entry)
	c.cfg.Published()
}

// remember keeps a failure where it belongs: with the account where the refresh
// token or the authority is at fault, else with the one resource. What a claims
// challenge met says nothing of requests without it, unless the authority itself
// is in trouble: a consumer must not be able to stop the others' renewals.
func (c *Cache) remember(l *line, f *flight, now time.Time) {
	if f.claims != "" && !f.err.Kind.Retryable() {
		f.slot.challenge.note(f.claims, f.err, now, c.cfg.Hold)
		return
	}
	f.slot.trouble.note(f.err, now, c.cfg.Hold)
	if f.err.AccountWide() {
		l.trouble.note(f.err, now, c.cfg.Hold)
	}
}
