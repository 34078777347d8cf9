package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/m365-token-broker/broker/internal/token"
)

// Limits of one key's redemptions that a caller forces past the cache.
const (
	forceEvery = 20 * time.Second
	forceBurst = 3
)

// slot is the place of one key. Readers only load entry.
type slot struct {
	key   token.Key
	line  *line
	entry atomic.Pointer[Entry]
	asked atomic.Int64

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed when another entry is published

	// Guarded by line.mu.
	trouble   trouble
	forced    *rate.Limiter
	challenge challenge
	claims    string // claims that the current entry was redeemed with
}

func newSlot(k token.Key, l *line) *slot {
	return &slot{key: k, line: l, changed: make(chan struct{}), forced: newLimit(), challenge: challenge{limit: newLimit()}}
}

func newLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(forceEvery), forceBurst) }

// challenge is the last claims challenge that could not be met.
type challenge struct {
	limit   *rate.Limiter
	claims  string
	trouble trouble
}

// at is the remembered error for a caller with the same challenge.
func (c *challenge) at(claims string, now time.Time) *token.Error {
	if claims == "" || claims != c.claims {
		return nil
	}
	return c.trouble.at(now)
}

func (c *challenge) note(claims string, err *token.Error, now time.Time, hold func(*token.Error, int) time.Duration) {
	c.claims, c.trouble = claims, trouble{}
	c.trouble.note(err, now, hold)
}

// publish makes e the current entry and wakes who waits for a change.
func (s *slot) publish(e *Entry) {
	s.entry.Store(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// watch is the current entry and a channel that closes when it is replaced.
func (s *slot) watch() (*Entry, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry.Load(), s.changed
}

// trouble is a failure that is remembered, so that a lasting condition does not
// cost one upstream request per caller.
type trouble struct {
	err      *token.Error
	failures int
	until    time.Time
}

// at is the remembered error for a caller at this time; nil when it is over.
func (t *trouble) at(now time.Time) *token.Error {
	if t.err == nil || !now.Before(t.until) {
		return nil
	}
	e := *t.err
	if e.Kind.Retryable() {
		e.RetryAfter = max(t.until.Sub(now), time.Second)
	}
	return &e
}

// note remembers err for the time that hold says.
func (t *trouble) note(err *token.Error, now time.Time, hold func(*token.Error, int) time.Duration) {
	t.failures++
	t.err = err
	t.until = now.Round(0).Add(hold(err, t.failures)) // by the wall clock: a machine's sleep counts
}
