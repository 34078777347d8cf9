package token

import "time"

// Renewal is what the refresh schedule needs to know of one cached token.
type Renewal struct {
	Key        Key
	ObtainedOn time.Time
	ExpiresOn  time.Time
	RefreshOn  time.Time // Entra's refresh_in; zero where it was not given
	LastAsked  time.Time // when a consumer last asked for it; zero: never
	HoldUntil  time.Time // no upstream request before this, after a failure
	Failed     bool      // the last try failed; HoldUntil says when the next one may be made
	Dead       bool      // the last try failed for a reason that only a person can mend
	Jitter     float64   // -1 to 1, fixed for this token, so that many do not fall due together
}
