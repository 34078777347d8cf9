package cache

import (
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	// usualMargin is the time to expiry below which a token is renewed before it
	// is handed out; for short-lived tokens it is a tenth of the lifetime.
	usualMargin = 2 * time.Minute
	// young: a token that has just been redeemed is the best there is, whatever
	// a caller wished for.
	young = time.Minute
)

// left is the time to expiry by the wall clock or by the monotonic clock,
// whichever is less: the wall clock sees the machine's sleep, the monotonic one
// is not deceived by a clock that is set back.
func (e *Entry) left(now time.Time) time.Duration {
	wall := e.expires.Sub(now)
	return min(wall, e.lifetime-now.Sub(e.received))
}

// serves reports whether the token may be handed out without a renewal.
func (e *Entry) serves(now time.Time, minValidity time.Duration) bool {
	return e.left(now) > e.needed(minValidity)
}

// needed is the time to expiry that a caller's wish comes to. A wish for more
// than four fifths of what the authority gives comes to that, so that it does not
// cost one redemption per call.
func (e *Entry) needed(minValidity time.Duration) time.Duration {
	margin := min(usualMargin, e.lifetime/10)
	return max(min(minValidity, e.lifetime*4/5), margin)
}

// satisfies reports whether the entry answers req after all, as seen by a caller
// that is about to start a redemption.
func (e *Entry) satisfies(now time.Time, req token.Request, claims string) bool {
	fresh := now.Sub(e.received) < young && e.left(now) > e.needed(0)
	if req.Claims != "" {
		return fresh && claims == req.Claims
	}
	if req.Force {
		return false
	}
	return fresh || e.serves(now, req.MinValidity)
}
