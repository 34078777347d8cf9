package mapiadapter

import (
	"math"
	"slices"
	"time"
)

// startsLeft is how many starts of Outlook the budget still allows now.
func (l Limits) startsLeft(s State, now time.Time) int {
	left := math.MaxInt
	for _, a := range l.Budget {
		left = min(left, a.Number-a.used(s.Starts, now))
	}
	return max(left, 0)
}

// used counts the starts within the allowance's time.
func (a Allowance) used(starts []time.Time, now time.Time) int {
	n := 0
	for _, t := range starts {
		if now.Sub(t) < a.In {
			n++
		}
	}
	return n
}

// nextStart is when the budget allows the next start: now, or later.
func (l Limits) nextStart(s State, now time.Time) time.Time {
	at := now
	for _, a := range l.Budget {
		if used := a.used(s.Starts, now); used >= a.Number {
			// The start that makes room is the oldest one that is one too many.
			within := slices.DeleteFunc(slices.Clone(s.Starts), func(t time.Time) bool { return now.Sub(t) >= a.In })
			slices.SortFunc(within, time.Time.Compare)
			if free := within[used-a.Number].Add(a.In); free.After(at) {
				at = free
			}
		}
	}
	return at
}

// nextTrigger is when anything may be done to Outlook again: starts have the
// budget, and what is no start keeps its shortest distance.
func (l Limits) nextTrigger(s State, now time.Time, start bool) time.Time {
	at := now
	if start {
		at = l.nextStart(s, now)
	}
	if len(l.Budget) > 0 && !s.LastTrigger.IsZero() {
		if free := s.LastTrigger.Add(l.Budget[0].In); free.After(at) {
			at = free
		}
	}
	return at
}

// spend takes one start out of the budget. As many are kept as the largest
// allowance counts, by number and not by age: a clock that was set forward for a
// while must not make us forget any.
func (l Limits) spend(s *State, now time.Time) {
	keep := 0
	for _, a := range l.Budget {
		keep = max(keep, a.Number)
	}
	s.Starts = append(s.Starts, now)
	if n := len(s.Starts); n > keep {
		s.Starts = slices.Clone(s.Starts[n-keep:])
	}
}

// backoff is how long to wait after the n-th failure in a row (from 1).
func (l Limits) backoff(n int, jitter float64) time.Duration {
	d := l.BackoffFirst
	for i := 1; i < n && d < l.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, l.BackoffMax)
	return min(d+time.Duration(l.BackoffJitter*jitter*float64(d)), l.BackoffMax)
}
