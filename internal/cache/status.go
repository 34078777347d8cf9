package cache

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Status is what may be known of one key; it holds no secret.
type Status struct {
	Renewal token.Renewal
	Problem *token.Error // the last failed renewal; nil after a good one
}

// Statuses lists every key that has a token or was asked for.
func (c *Cache) Statuses() []Status {
	snap := *c.current.Load()
	out := make([]Status, 0, len(snap))
	for _, s := range snap {
		if st, ok := s.status(); ok {
			out = append(out, st)
		}
	}
	return out
}

// Renewals is what the refresh schedule looks at: every key with a token.
func (c *Cache) Renewals() []token.Renewal {
	snap := *c.current.Load()
	out := make([]token.Renewal, 0, len(snap))
	for _, s := range snap {
		if st, ok := s.status(); ok && !st.Renewal.ExpiresOn.IsZero() {
			out = append(out, st.Renewal)
		}
	}
	return out
}

// Refresh redeems a key in the background, through the same flight as the
// callers'. It makes no request while a failure is remembered.
func (c *Cache) Refresh(ctx context.Context, k token.Key) error {
	f, err := c.board(ctx, c.slot(k))
	if err != nil {
		return err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return token.AsError(ctx.Err())
	}
	if f.err != nil {
		return f.err
	}
	return nil
}

// jitterSeed makes the jitter of a token differ between processes.
var jitterSeed = maphash.MakeSeed()

// jitterOf is a number from -1 to 1 that is fixed for one token.
func jitterOf(etag string) float64 {
	return float64(maphash.String(jitterSeed, etag)>>11)/(1<<52) - 1
}

// status reads a slot; ok is false where there is nothing to tell.
func (s *slot) status() (st Status, ok bool) {
	e := s.entry.Load()
	st.Renewal.Key = s.key
	if a := s.asked.Load(); a != 0 {
		st.Renewal.LastAsked = time.Unix(a, 0)
	}
	if e != nil {
		st.Renewal.ObtainedOn, st.Renewal.ExpiresOn, st.Renewal.RefreshOn = e.tok.ObtainedOn, e.tok.ExpiresOn, e.tok.RefreshOn
		st.Renewal.Jitter = e.jitter
	}
	s.line.mu.Lock()
	defer s.line.mu.Unlock()
	for _, t := range []*trouble{&s.line.trouble, &s.trouble} {
		if t.err == nil {
			continue
		}
		st.Problem, st.Renewal.Failed = t.err, true
		st.Renewal.Dead = st.Renewal.Dead || t.err.Kind.UserAction() != "none"
		if t.until.After(st.Renewal.HoldUntil) {
			st.Renewal.HoldUntil = t.until
		}
	}
	return st, e != nil || !st.Renewal.LastAsked.IsZero()
}
