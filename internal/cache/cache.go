// Package cache publishes the current access tokens and sees to it that there
// is one refresh per account at a time.
//
// Readers load an atomic snapshot: no lock, no I/O. A missing or expired token
// is redeemed once, on a context of its own that outlives the caller who
// started it, while every waiter obeys its own context. The refresh token is
// shared by the resources of an account, so the redemptions of one account
// queue up in its line.
package cache

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Config is what a Cache needs.
type Config struct {
	// Source redeems upstream. It is called once at a time per account.
	Source token.Source
	// Hold is how long no upstream request is made after the failures-th
	// failure in a row; see refresh.Hold.
	Hold func(err *token.Error, failures int) time.Duration
	// Published, where set, is called after a new token was published or a
	// failure remembered. It must not block.
	Published func()
	// Guard runs a redemption and turns a panic in it into an error; nil runs it
	// as it is.
	Guard func(run func() error) error
	// Timeout bounds one redemption; zero means 20 seconds.
	Timeout time.Duration
}

// defaultTimeout is Config.Timeout's default.
const defaultTimeout = 20 * time.Second

// snapshot is every known key. The map is never written to once published.
type snapshot map[token.Key]*slot

// Cache holds the current tokens. It is safe for concurrent use.
type Cache struct {
	cfg     Config
	current atomic.Pointer[snapshot]
	flights sync.WaitGroup

	mu     sync.Mutex       // guards what follows and the replacement of current; never held over I/O
	lines  map[string]*line // by account
	closed bool
}

// New makes an empty Cache.
func New(cfg Config) *Cache {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Guard == nil {
		cfg.Guard = func(run func() error) error { return run() }
	}
	if cfg.Published == nil {
		cfg.Published = func() {}
	}
	c := &Cache{cfg: cfg, lines: map[string]*line{}}
	c.current.Store(&snapshot{})
	return c
}

// Declare makes keys known ahead of their first use, in one step; without it a
// key is made known when it is first asked for, which copies the key list.
func (c *Cache) Declare(keys ...token.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.current.Load()
	next := make(snapshot, len(old)+len(keys))
	maps.Copy(next, old)
	for _, k := range keys {
		if next[k] != nil {
			continue
		}
		l := c.lines[k.Account]
		if l == nil {
			l = newLine()
			c.lines[k.Account] = l
		}
		next[k] = newSlot(k, l)
	}
	c.current.Store(&next)
}

// slot finds the key's place, making it known if it is new.
func (c *Cache) slot(k token.Key) *slot {
	if s := (*c.current.Load())[k]; s != nil {
		return s
	}
	c.Declare(k)
	return (*c.current.Load())[k]
}

// Token answers from the snapshot while the token there is good enough, and
// otherwise waits for the account's refresh. A token that is still valid is
// served when its renewal fails. Errors are of type *token.Error.
func (c *Cache) Token(ctx context.Context, req token.Request) (Answer, error) {
	now := time.Now()
	if s := (*c.current.Load())[req.Key]; s != nil && req.Claims == "" && !req.Force {
		if e := s.entry.Load(); e != nil && e.serves(now, req.MinValidity) {
			e.markAsked(now)
			return Answer{Entry: e, FromCache: true}, nil
		}
	}
	return c.await(ctx, req)
}

// Changed waits until the key's token is another than the one with this entity
// tag, and returns its entry; nil where the token was dropped (a sign-out). It
// ends with ctx.
func (c *Cache) Changed(ctx context.Context, k token.Key, etag string) (*Entry, error) {
	s := c.slot(k)
	for {
		e, changed := s.watch()
		if e == nil || e.etag != etag {
			return e, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, token.AsError(ctx.Err())
		}
	}
}

// Drop forgets the tokens, remembered failures and running refreshes of the keys
// that match: after a sign-out, a new sign-in, a change of scopes. What is in
// flight ends by itself; its result goes to those who wait for it and is not
// published.
func (c *Cache) Drop(match func(token.Key) bool) {
	byLine := map[*line][]*slot{}
	for k, s := range *c.current.Load() {
		if match(k) {
			byLine[s.line] = append(byLine[s.line], s)
		}
	}
	for l, slots := range byLine {
		l.reset(slots)
	}
}

// Close refuses new redemptions and waits for those in flight, so that no rotated
// refresh token is lost; it ends with ctx.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() { c.flights.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
