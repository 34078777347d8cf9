package mapiadapter

import (
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

func TestClockSetBack(t *testing.T) {
	const far = 1000 * hour
	t.Run("the budget is not refilled", func(t *testing.T) {
		for _, back := range []time.Duration{minute, 9 * minute, hour, 5 * hour, 30 * hour, far} {
			y := checkingStory(t)
			starter(y, 4*hour) // 4 in 6 h
			y.now = y.now.Add(-back)
			y.tick()
			if left := y.in.Limits.startsLeft(y.s, y.now); left != 0 {
				t.Errorf("back by %s: %d starts are left", back, left)
			}
			if wait := y.in.Limits.nextStart(y.s, y.now).Sub(y.now); wait > 6*hour {
				t.Errorf("back by %s: the next start is %s away", back, wait)
			}
		}
	})
	t.Run("nor by a clock that was forward for a while", func(t *testing.T) {
		y := checkingStory(t)
		starter(y, 4*hour)
		real := y.now
		y.now = y.now.Add(10 * minute) // still all four
		y.tick()
		y.now = real.Add(far)
		y.tick()
		y.now = real.Add(20 * minute)
		y.tick()
		if left := y.in.Limits.startsLeft(y.s, y.now); left != 0 {
			t.Errorf("%d starts are left", left)
		}
	})
	t.Run("no wait lasts until the clock catches up", func(t *testing.T) {
		y := startingStory(t).answers(Failed, "").after(2 * minute)
		y.now = y.now.Add(-far)
		y.tick().is(Backoff, ReasonStartFailed).retriesIn(3 * minute)
		y.after(3*minute).is(Precheck, ReasonNone)

		y = startingStory(t).after(minute)
		y.now = y.now.Add(-far)
		y.tick().is(Trigger, ReasonNone).after(30*second).is(Backoff, ReasonNoAnswer)

		y = observingStory(t).until(4*minute, 5*second)
		y.now = y.now.Add(-far)
		y.tick().is(Observe, ReasonNone).after(minute).is(Backoff, ReasonNoProof)

		y = freshStory(t).after(9 * hour)
		y.now = y.now.Add(-far)
		y.tick().is(Idle, ReasonNone).freshness(Fresh).after(36*minute).is(Precheck, ReasonNone)

		y = checkingStory(t).sees(nobody).sees(agentBack("L2")).after(minute)
		y.now = y.now.Add(-far)
		y.tick().after(30*second).is(Precheck, ReasonNone)

		y = checkingStory(t).sees(nobody).after(20 * minute)
		y.now = y.now.Add(-far)
		y.tick().after(10 * minute).did(DoTell)
	})
	t.Run("also where it was set back while no broker ran", func(t *testing.T) {
		y := startingStory(t).answers(Failed, "")
		y.restarts(-far).tick().retriesIn(5 * minute)
		y = freshStory(t).restarts(-far).tick().freshness(Fresh).after(10*hour).is(Precheck, ReasonNone)
		if y.s.LastProof.After(y.now) {
			t.Error("a proof of the future")
		}
	})
	t.Run("proof is seen all the same", func(t *testing.T) {
		y := observingStory(t).after(20 * second)
		y.in.Sight.CacheOn = y.now.Add(-hour)
		y.now = y.now.Add(-10 * minute)
		y.tick().renews().is(Idle, ReasonNone).freshness(Fresh)
	})
	t.Run("a renewal of Outlook's own, too", func(t *testing.T) {
		y := freshStory(t).sees(connected).after(5 * hour)
		y.sees(written(y.now)).now = y.now.Add(-2 * hour)
		y.tick().after(hour).sees(written(y.now))
		if !y.s.LastProof.Equal(y.now) {
			t.Errorf("last proof %s", y.s.LastProof)
		}
	})
}

func TestClockSetForward(t *testing.T) {
	y := checkingStory(t).sees(deaf, asking(desktop.AskingSignIn)).after(20*second).is(NeedsUser, ReasonSignIn)
	y.tells = nil
	y.after(5000*hour).is(NeedsUser, ReasonSignIn)
	if len(y.tells) != 1 {
		t.Errorf("%d reminders", len(y.tells))
	}
	y = freshStory(t).after(5000*hour).is(Precheck, ReasonNone).cause(CauseAge)
	y.now = y.now.Add(-5000 * hour)
	y.tick().looks().is(Trigger, ReasonNone) // old by now, as far as we know
}

// A ledger may have been copied from another machine, or written by a clock that
// was wrong: after a start, nothing of it lies in the future for long.
func TestStateOfTheFuture(t *testing.T) {
	later := noon.Add(5000 * hour)
	y := newStory(t)
	for _, m := range append(y.s.past(), y.s.spent()...) {
		*m = later
	}
	y.s.Starts = []time.Time{later, later}
	y.s.Phase, y.s.Retry, y.s.Settle, y.s.NextReminder, y.s.Lifetime = Backoff, later, later, later, 5000*hour
	y.step(Event{Kind: EventStarted})
	for _, m := range append(y.s.past(), y.s.spent()...) {
		if m.After(y.now) {
			t.Errorf("a moment of %s", m)
		}
	}
	if wait := y.s.Retry.Sub(y.now); wait > 24*hour {
		t.Errorf("the next attempt is in %s", wait)
	}
	if y.s.Lifetime > 26*hour {
		t.Errorf("a lifetime of %s", y.s.Lifetime)
	}
}

// Every moment of the state is one that a clock set back takes along, or one of
// those that must not be.
func TestEveryMomentIsKnownToTheClock(t *testing.T) {
	y := observingStory(t).ends(0)
	y.s.Pending = &Cause{}
	known := map[*time.Time]bool{&y.s.Retry: true, &y.s.Settle: true, &y.s.NextReminder: true, &y.s.Latest: true, &y.s.CacheMark: true, &y.s.Attempt.CacheOn: true}
	for _, m := range append(y.s.past(), y.s.spent()...) {
		known[m] = true
	}
	if got := moments(&y.s); got != len(known) {
		t.Errorf("the state has %d moments, the clock knows %d", got, len(known))
	}
}
