package mapiadapter

import "time"

// past are the moments of the state that have been, in our own time. Those of
// files (CacheMark, Attempt.CacheOn) are not among them, nor those that the
// budget counts by.
func (s *State) past() []*time.Time {
	all := []*time.Time{
		&s.Since, &s.LastProof, &s.LastFailure, &s.BlindSince, &s.ProbeAskedOn, &s.ProbeOn, &s.Reported,
		&s.OursOn, &s.AbsentSince, &s.AskingSince, &s.CutOffSince, &s.AgentStartOn,
	}
	if s.Pending != nil {
		all = append(all, &s.Pending.On)
	}
	if s.Attempt != nil {
		all = append(all, &s.Attempt.On, &s.Attempt.Cause.On, &s.Attempt.ExitOn)
	}
	return all
}

// spent are the moments that the budget counts by.
func (s *State) spent() []*time.Time {
	all := []*time.Time{&s.LastTrigger}
	for i := range s.Starts {
		all = append(all, &s.Starts[i])
	}
	return all
}

// rebase keeps time from going back. Where the clock was set back, the state's
// moments go back with it, so that what has passed since stays what it was, and
// no wait lasts until the clock catches up.
//
// The budget's moments only go back to now: whether the clock is wrong now, or
// was wrong before, cannot be told, and this is the stricter of the two. A clock
// that was set forward and back again must not make a start look old.
func (s *State) rebase(l Limits, now time.Time) {
	if back := s.Latest.Sub(now); back > 0 {
		for _, t := range append(s.past(), &s.Retry, &s.Settle, &s.NextReminder) {
			if !t.IsZero() {
				*t = t.Add(-back)
			}
		}
		s.mend(l, now)
	}
	s.Latest = now
}

// mend takes out of a state what no machine makes: moments in the future, waits
// longer than any we have. A ledger may hold them that was copied from another
// machine, or written while the clock was wrong.
func (s *State) mend(l Limits, now time.Time) {
	for _, t := range append(s.past(), s.spent()...) {
		*t = minTime(*t, now)
	}
	longest := l.BackoffMax
	for _, a := range l.Budget {
		longest = max(longest, a.In)
	}
	s.Retry = minTime(s.Retry, now.Add(longest))
	s.Settle = minTime(s.Settle, now.Add(max(l.SettleLogon, l.SettlePerson)))
	s.NextReminder = minTime(s.NextReminder, now.Add(l.Daily))
	s.Lifetime = min(max(s.Lifetime, 0), l.LifetimeMax)
}

// clone is a copy that shares nothing with s.
func (s State) clone() State {
	s.Starts = append([]time.Time(nil), s.Starts...)
	if s.Pending != nil {
		c := *s.Pending
		s.Pending = &c
	}
	if s.Attempt != nil {
		a := *s.Attempt
		s.Attempt = &a
	}
	return s
}

// stretch is from, up to now; zero where from is not set.
func stretch(from, now time.Time) time.Duration {
	if from.IsZero() {
		return 0
	}
	return now.Sub(from)
}

// mark sets t to now where what it stands for has begun, and clears it where it
// has ended. It reports whether it has just begun.
func mark(t *time.Time, on bool, now time.Time) bool {
	switch {
	case !on:
		*t = time.Time{}
	case t.IsZero():
		*t = now
		return true
	}
	return false
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
