// Package account is the book of the accounts that are signed in on this
// machine: one record per account, the writer that keeps each in the secret
// store, and what is known of its health.
package account

import (
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// State is the health of an account.
type State string

// The states of the public contract.
const (
	StateOK             State = "ok"               // the last redemption went well
	StateDegraded       State = "degraded"         // tokens are served, but renewing them fails
	StateSignInRequired State = "sign_in_required" // a person must sign in
)

// End says why a sign-in ends, or has ended.
type End string

// The ends of a sign-in that have a name.
const (
	EndIdle        End = "idle"              // nobody used it for 90 days
	EndFrequency   End = "sign_in_frequency" // a policy demands a new one after a time
	EndRevoked     End = "revoked"           // a new password, or an administrator's act
	EndNotSignedIn End = "not_signed_in"     // there is none on this machine
	EndOther       End = "other"
)

// EndOf is why a sign-in has ended. The number picks a word for people and decides
// nothing.
func EndOf(err *token.Error) End {
	switch err.AADSTS {
	case codeFrequency:
		return EndFrequency
	case 700082, 70008:
		return EndIdle
	case 50173, 50132, 50133:
		return EndRevoked
	}
	return EndOther
}

// View is what may be shown of an account; it holds no secret.
type View struct {
	Name           string
	Username       string
	Tenant         string
	ClientID       string
	State          State
	Problem        *token.Error // why the state is not ok; nil otherwise
	ProblemOn      time.Time    // when it was last met; zero: there is no sign-in
	Since          time.Time    // when the state began
	NextTry        time.Time    // when the broker tries again by itself; zero: not by itself
	Flow           token.Flow
	SignedInOn     time.Time
	LastRefresh    time.Time // last successful redemption; zero: none since start
	RefreshTokenOn time.Time // when the current refresh token arrived
	GoodOn         time.Time // when it was last seen to work: the sign-in, or a redemption
	PredictedEnd   time.Time // when the sign-in ends by itself; zero: it has ended, or there is none
	PredictedWhy   End       // EndIdle, which using it puts off, or EndFrequency
	Frequency      Frequency
	Persisted      bool // the current refresh token is in the store
	Resources      []ResourceView
}

// Frequency is how often the tenant asks for a new sign-in, as far as it was
// learned.
type Frequency struct {
	Every time.Duration // zero: nothing was learned
	Times int           // how many sign-ins it was learned from
}

// ResourceView is what may be shown of one cached token.
type ResourceView struct {
	Name      string
	ExpiresOn time.Time
	RefreshOn time.Time // when the broker renews it
	LastAsked time.Time
	Problem   *token.Error // last failed renewal; nil after a good one
}
