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

// View is what may be shown of an account; it holds no secret.
type View struct {
	Name           string
	Username       string
	Tenant         string
	ClientID       string
	State          State
	Problem        *token.Error // why the state is not ok; nil otherwise
	Since          time.Time    // when the state began
	NextTry        time.Time    // when the broker tries again by itself; zero: not by itself
	Flow           token.Flow
	SignedInOn     time.Time
	LastRefresh    time.Time // last successful redemption; zero: none since start
	RefreshTokenOn time.Time // when the current refresh token arrived
	PredictedEnd   time.Time // when it ends if it is never used again
	Persisted      bool      // the current refresh token is in the store
	Resources      []ResourceView
}

// ResourceView is what may be shown of one cached token.
type ResourceView struct {
	Name      string
	ExpiresOn time.Time
	RefreshOn time.Time // when the broker renews it
	LastAsked time.Time
	Problem   *token.Error // last failed renewal; nil after a good one
}
