package reminder

import "time"

// told is what people were told of one account. The zero value is nothing. It is
// kept in the file, so its names stay.
type told struct {
	Need   Need          `json:"need"`
	Since  time.Time     `json:"since"`                      // when the need was first seen
	Reason string        `json:"reason,omitzero"`            // as a stable word
	SaidOn time.Time     `json:"said_on,omitzero"`           // when people were first told; zero: not yet
	Repeat int           `json:"repeat,omitzero"`            // reminders so far
	Next   time.Time     `json:"next,omitzero"`              // when the next one is due
	From   time.Time     `json:"from,omitzero"`              // of Ending: which end it is, see End.From
	Ahead  time.Duration `json:"ahead_nanoseconds,omitzero"` // of Ending: the last warning was so long before
}

func (t told) said() bool { return !t.SaidOn.IsZero() }

const (
	hour = time.Hour
	day  = 24 * hour
)

// How long a need must last before people hear of it.
const (
	settleSignIn = 2 * time.Minute  // somebody may be signing in again already
	settleNew    = 10 * time.Minute // an account that was just configured has never been signed in
	settleAdmin  = 20 * time.Minute // the next try is after 15 minutes: a glitch is over by then
	settleIdle   = 30 * time.Minute // a broker that was off for months uses the sign-in within minutes
)

// The rhythm of reminders, after people were first told: that of Outlook targets,
// and in the end once a week.
const (
	dailyFor = 14 // reminders, after the first ones
	weekly   = 7 * day
)

// firstReminders are due so long after people were first told.
func firstReminders(n Need) []time.Duration {
	if n == SignIn {
		return []time.Duration{30 * time.Minute, 2 * hour, 6 * hour}
	}
	return nil // nothing that needs an administrator is mended within hours
}

// ReasonNotSignedIn is the reason of an account that was never signed in here.
const ReasonNotSignedIn = "not_signed_in"

// step is the rule: what was told of the account from now on, and whether that is
// news for people, a first time, a reminder or an end.
func step(a Account, t told, now time.Time) (after told, news bool) {
	t = t.by(now)
	need, ahead := a.need(t, now)
	switch {
	case need == Unknown:
		return t, false
	case need == Nothing && t.said() && !a.GoodOn.After(t.Since):
		return t, false // a prediction is gone, and nothing has shown yet that it was wrong
	case need == Nothing:
		return told{}, t.said()
	case t.Need != need, need == Ending && !t.From.Equal(a.End.From):
		t = told{Need: need, Since: now}
		if need == Ending {
			t.Reason, t.From = a.End.Reason, a.End.From.UTC()
		}
	}
	if need == a.Need {
		t.Reason = a.Reason
	}
	switch {
	case a.Busy:
		return t, false
	case !t.said():
		if now.Before(t.Since.Add(a.settle(need))) {
			return t, false
		}
		t.SaidOn, t.Ahead = now, ahead
		t.Next = next(t, now)
		return t, true
	case need == Ending:
		if ahead >= t.Ahead {
			return t, false
		}
		t.Ahead = ahead
		t.Repeat++
		return t, true
	case now.Before(t.Next):
		return t, false
	}
	t.Repeat++
	t.Next = next(t, now) // several may have passed while no broker ran: they are one
	return t, true
}

// by is what was told as if no clock had been ahead of now.
func (t told) by(now time.Time) told {
	if t.Since.After(now) {
		t.Since = now
	}
	if t.SaidOn.After(now) {
		t.SaidOn = now
	}
	if t.Next.After(now.Add(weekly)) {
		t.Next = next(t, now)
	}
	return t
}

// need is what the account needs, as far as is known: where it was seen to need
// somebody, nothing less than a success ends that. A broker that has just started
// has seen nothing yet.
func (a Account) need(t told, now time.Time) (n Need, ahead time.Duration) {
	urgent := func(n Need) bool { return n == SignIn || n == Admin }
	switch {
	case urgent(a.Need):
		return a.Need, 0
	case urgent(t.Need) && t.said() && a.Need == Unknown:
		return Unknown, 0
	case urgent(t.Need) && t.said() && !a.GoodOn.After(t.Since):
		return t.Need, 0
	}
	if ahead, near := a.End.near(now); near {
		return Ending, ahead
	}
	return a.Need, 0
}

// settle is how long a need must have been there.
func (a Account) settle(n Need) time.Duration {
	switch {
	case n == Admin:
		return settleAdmin
	case n == SignIn && a.Reason == ReasonNotSignedIn:
		return settleNew
	case n == Ending && a.End.Every == 0:
		return settleIdle
	default:
		return settleSignIn
	}
}

// next is when the next reminder is due. Of an end there is none: it has times of
// its own.
func next(t told, now time.Time) time.Time {
	first := firstReminders(t.Need)
	switch {
	case t.Need == Ending:
		return time.Time{}
	case t.Repeat >= len(first)+dailyFor:
		return now.Add(weekly)
	}
	for _, after := range first {
		if due := t.SaidOn.Add(after); due.After(now) {
			return due
		}
	}
	return now.Add(day)
}

// Near reports whether people should know of the end by now.
func (e End) Near(now time.Time) bool { _, near := e.near(now); return near }

// near is the last warning that is due by now.
func (e End) near(now time.Time) (ahead time.Duration, near bool) {
	if e.On.IsZero() {
		return 0, false
	}
	for _, w := range e.warnings() {
		if e.On.Sub(now) <= w {
			ahead, near = w, true
		}
	}
	return ahead, near
}

// warnings are how long before the end people are told, the longest first: 7, 3
// and 1 days, but never before 80 % of the time are over. Where that leaves none,
// there is one at 80 %, unless it would come less than an hour before the end:
// nobody can live by that.
func (e End) warnings() []time.Duration {
	most := e.On.Sub(e.From) / 5
	var all []time.Duration
	for _, w := range []time.Duration{7 * day, 3 * day, day} {
		if w <= most {
			all = append(all, w)
		}
	}
	if len(all) == 0 && most >= hour {
		all = append(all, most)
	}
	return all
}
