package mapiadapter

import "time"

// times are all moments of the state that lie in our own time. Those of files
// (CacheMark, Attempt.CacheOn) are not among them.
func (s *State) times() []*time.Time {
	all := []*time.Time{
		&s.Since, &s.LastProof, &s.LastFailure, &s.BlindSince, &s.ProbeAskedOn, &s.ProbeOn, &s.Retry, &s.LastTrigger, &s.Reported,
		&s.OursOn, &s.AbsentSince, &s.AskingSince, &s.CutOffSince, &s.Settle, &s.AgentStartOn, &s.NextReminder, &s.Latest,
	}
	for i := range s.Starts {
		all = append(all, &s.Starts[i])
	}
	if s.Attempt != nil {
		all = append(all, &s.Attempt.On)
	}
	return all
}

// rebase keeps time from going back. Where the clock was set back, every moment
// of the state goes back with it, so that what has passed since stays what it
// was: no budget is refilled, and no wait lasts until the clock catches up.
func (s *State) rebase(now time.Time) {
	if back := s.Latest.Sub(now); back > 0 {
		for _, t := range s.times() {
			if !t.IsZero() {
				*t = t.Add(-back)
			}
		}
	}
	s.Latest = now
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
// has ended.
func mark(t *time.Time, on bool, now time.Time) {
	switch {
	case !on:
		*t = time.Time{}
	case t.IsZero():
		*t = now
	}
}
