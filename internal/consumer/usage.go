package consumer

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// usage is what is counted of one consumer. It lives on when the configuration
// is replaced.
type usage struct {
	requests atomic.Int64
	refusals atomic.Int64
	lastUsed atomic.Int64 // Unix seconds; zero: never
	refusal  atomic.Pointer[refusal]
	served   atomic.Pointer[token.Key] // the token that it was last answered with
	program  atomic.Pointer[string]    // path of the program that last called, where it was looked at

	// The limiter of the consumer's rate, and what it is tied to; guarded by
	// Registry.mu.
	rate    config.Rate
	limiter *rate.Limiter
	tie     *tie
}

// refusal is the last thing that was refused.
type refusal struct {
	on     time.Time
	reason string
}

func (u *usage) use(now time.Time) {
	u.requests.Add(1)
	if s := now.Unix(); u.lastUsed.Load() != s {
		u.lastUsed.Store(s)
	}
}

func (u *usage) refused(now time.Time, reason string) {
	u.refusals.Add(1)
	u.refusal.Store(&refusal{on: now, reason: reason})
}

// serve and calledBy copy what they keep, so that nothing is allocated where it
// is known already.
func (u *usage) serve(k token.Key) {
	if last := u.served.Load(); last == nil || *last != k {
		kept := k
		u.served.Store(&kept)
	}
}

func (u *usage) calledBy(program string) {
	if last := u.program.Load(); last == nil || *last != program {
		kept := program
		u.program.Store(&kept)
	}
}

// tieFor keeps the tie while it stays the same, so that a reload does not ask
// anew about every connection that is open.
func (u *usage) tieFor(s Spec) *tie {
	if t := newTie(s); !t.equal(u.tie) {
		u.tie = t
	}
	return u.tie
}

// limiterFor keeps the limiter while the rate stays the same, so that a reload
// does not hand out a fresh burst.
func (u *usage) limiterFor(r config.Rate) *rate.Limiter {
	if u.rate == r {
		return u.limiter
	}
	u.rate, u.limiter = r, nil
	if !r.IsZero() {
		u.limiter = rate.NewLimiter(rate.Limit(float64(r.Count)/r.Per.Seconds()), max(1, r.Burst))
	}
	return u.limiter
}
