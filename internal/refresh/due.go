// Package refresh decides when each access token is renewed. The rule is a pure
// function of times (Due, Hold); the Scheduler is the loop that asks it.
package refresh

import (
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	// idleLimit: a token nobody asked for in this time is not renewed.
	idleLimit = 24 * time.Hour
	// share of the lifetime after which a token without refresh_in is renewed.
	share = 0.75
	// least: refresh_in is never taken for less than this part of the lifetime.
	least = 10
	// spread of the jitter, as a share of the time from issue to renewal.
	spread = 0.10
)

// Due is when the token is to be renewed in the background; ok is false where
// it is not, as nobody asks for it or only a person can help. The time may lie
// in the past.
func Due(r token.Renewal) (due time.Time, ok bool) {
	if r.Dead || r.LastAsked.IsZero() || r.LastAsked.Add(idleLimit).Before(r.ObtainedOn) {
		return time.Time{}, false
	}
	age := time.Duration(float64(r.ExpiresOn.Sub(r.ObtainedOn)) * share)
	if told := r.RefreshOn.Sub(r.ObtainedOn); !r.RefreshOn.IsZero() && told > 0 && r.RefreshOn.Before(r.ExpiresOn) {
		age = max(told, r.ExpiresOn.Sub(r.ObtainedOn)/least)
	}
	due = r.ObtainedOn.Add(age + time.Duration(float64(age)*spread*r.Jitter))
	if last := r.ExpiresOn.Add(-r.ExpiresOn.Sub(r.ObtainedOn) / 20); due.After(last) {
		due = last
	}
	if r.Failed || due.Before(r.HoldUntil) {
		due = r.HoldUntil // a failure is mended as soon as we may, even if the token was not due yet
	}
	if due.Sub(r.LastAsked) > idleLimit {
		return time.Time{}, false
	}
	return due, true
}

// The times for which a failure is remembered. The model is MSAL.NET's throttle
// (Microsoft identity platform, "Throttling: client and server").
const (
	holdSignIn      = 2 * time.Minute
	holdPolicy      = 15 * time.Minute
	holdServerError = time.Minute
	holdLoop        = 5 * time.Minute
	holdMax         = time.Hour
	holdNetwork     = 5 * time.Second
)

// loopDetected is AADSTS50196, the one number that is acted upon: Entra saw the
// same request too often.
const loopDetected = 50196

// Hold is how long no upstream request is made after err, the failures-th
// failure in a row (from 1). Zero means that the next caller may try at once.
func Hold(err *token.Error, failures int) time.Duration {
	switch err.Kind {
	case token.KindSignInRequired:
		return holdSignIn
	case token.KindPolicyBlocked:
		return holdPolicy
	case token.KindThrottled:
		if err.AADSTS == loopDetected {
			return bounded(err.RetryAfter, holdLoop)
		}
		return told(err.RetryAfter, holdServerError)
	case token.KindUnavailable:
		if err.Status >= 500 || err.RetryAfter > 0 {
			return told(err.RetryAfter, holdServerError)
		}
		return growing(failures)
	case token.KindTimeout, token.KindInvalid, token.KindInternal, token.KindStore:
		return growing(failures)
	case token.KindConfiguration:
		return holdServerError
	default:
		return 0
	}
}

// told is what the server asked for, else the usual time.
func told(retryAfter, usual time.Duration) time.Duration {
	if retryAfter <= 0 {
		return usual
	}
	return min(retryAfter, holdMax)
}

// bounded is what the server asked for, but within [least, holdMax].
func bounded(retryAfter, least time.Duration) time.Duration {
	return min(max(retryAfter, least), holdMax)
}

// growing doubles from 5 seconds to a minute: a network that comes back is
// noticed soon, one that stays away is not hammered.
func growing(failures int) time.Duration {
	d := holdNetwork
	for range min(max(failures-1, 0), 8) {
		d *= 2
	}
	return min(d, holdServerError)
}
