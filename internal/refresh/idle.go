package refresh

import (
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Idle is a signed-in account that ends if nobody uses it: Entra ID gives a new
// refresh token at each redemption, and lets one that is unused for 90 days die.
type Idle struct {
	Key    token.Key // what to redeem it for
	UsedOn time.Time // when it was last seen to work
	Jitter float64   // -1 to 1, fixed for the account, so that many do not fall due together
}

const (
	// keepEvery, with its jitter, uses every sign-in at least once a week.
	keepEvery = 6 * 24 * time.Hour
	// keepRetry is the pause after a try. There is no hurry, but a machine may be on
	// for a short time each day.
	keepRetry = time.Hour
	// keepSettle is how long the schedule runs before it uses anything: a command
	// that lives for a moment uses nothing, and a broker that was off for long waits
	// for its network.
	keepSettle = 3 * time.Minute
	keepSpread = 2 * time.Minute // of keepSettle, by the jitter
)

// KeepAlive is when an idle sign-in is to be used next, for a schedule that runs
// since began and last tried at tried (zero: not yet). The time may lie in the
// past.
func KeepAlive(i Idle, began, tried time.Time) time.Time {
	due := i.UsedOn.Add(keepEvery + time.Duration(float64(keepEvery)*spread*i.Jitter))
	if settled := began.Add(keepSettle + time.Duration(float64(keepSpread)*i.Jitter)); due.Before(settled) {
		due = settled
	}
	if again := tried.Add(keepRetry); !tried.IsZero() && due.Before(again) {
		due = again
	}
	return due
}
