package signin

import (
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// State is where a sign-in stands. A sign-in starts pending and ends in exactly
// one of the others, which it never leaves.
type State string

// The states of a sign-in, as the API spells them.
const (
	StatePending   State = "pending"   // waits for the person
	StateSucceeded State = "succeeded" // the sign-in is stored durably
	StateDeclined  State = "declined"  // the person said no
	StateExpired   State = "expired"   // nobody finished it in time
	StateFailed    State = "failed"    // Problem says why
	StateCancelled State = "cancelled" // Cancel or the broker's end
)

// Final reports whether the state is one that a sign-in never leaves.
func (s State) Final() bool { return s != StatePending }

// View is one sign-in as it was at one moment. It is a copy: changing it
// changes nothing. It holds no secret but the user code, which a person needs
// and which is worth nothing once the sign-in has left pending (it is then
// empty).
type View struct {
	ID    string // unguessable, 128 random bits in base64url
	State State
	Flow  token.Flow

	// UserCode is what the person types at VerificationURI. Empty for the
	// browser flow and in every final state.
	UserCode string
	// VerificationURI is the page to open: any device's for the device flow,
	// only this machine's for the browser flow. Empty in every final state.
	VerificationURI string
	// Message is one sentence for the person: what to do, or what became of it.
	Message string
	// ExpiresOn is when a pending sign-in gives up.
	ExpiresOn time.Time
	// Interval is how often a caller that does not use Wait should look.
	Interval time.Duration

	// Account is the account as it was asked for ("" where any account may
	// sign in), and the account's name once the sign-in has succeeded.
	Account string
	// By is who began it, as StartedBy said; "" where nobody did.
	By string
	// Problem says why a sign-in ended in any other state than succeeded, and,
	// while it is pending, what stands in the way at the moment (nil: nothing).
	Problem *token.Error
}
