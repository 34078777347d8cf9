package lifecycle

import (
	"context"
	"fmt"
	"time"
)

// clockTolerance is what the two clocks may differ in one interval. Slewing by
// NTP is some milliseconds; everything the broker decides is in minutes.
const clockTolerance = 5 * time.Second

// WatchClock calls wake when the computer slept or its clock was set, until ctx
// ends. Timers do not notice either: one for 50 minutes fires after 50 minutes
// of waking time, when the token has long expired. wake is called from
// WatchClock's goroutine and should return soon; reason is for the log.
//
// The trick: every time.Now holds two readings, of the wall clock and of a
// monotonic one. While the computer sleeps the wall clock goes on, and the
// monotonic clock of Linux and macOS stands still; setting the clock moves only
// the wall clock. So both show as a difference between the two. The monotonic
// clock of Windows goes on in sleep: there the tick itself comes far too late.
func WatchClock(ctx context.Context, every time.Duration, wake func(reason string)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		wall, monotonic := now.Round(0).Sub(last.Round(0)), now.Sub(last)
		if reason := clockJump(wall, monotonic, every); reason != "" {
			wake(reason)
		}
		last = now
	}
}

// clockJump says what happened between two ticks, in the time that passed on
// each clock; "" is nothing.
func clockJump(wall, monotonic, every time.Duration) string {
	switch drift := wall - monotonic; {
	case drift > clockTolerance:
		return fmt.Sprintf("the computer slept, or its clock was set forward, by %v", drift.Round(time.Second))
	case drift < -clockTolerance:
		return fmt.Sprintf("the clock was set back by %v", (-drift).Round(time.Second))
	case monotonic > every+clockTolerance:
		return fmt.Sprintf("the computer slept or stood still for %v", (monotonic - every).Round(time.Second))
	}
	return ""
}
