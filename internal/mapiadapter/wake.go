package mapiadapter

import "time"

// Wake is when the machine is to take its next step at the latest, even where
// nothing happens: after now, so that no caller spins, and no later than the
// next thing that time alone brings about.
func Wake(s State, l Limits, now time.Time) time.Time {
	wake := now.Add(l.Look)
	if s.Phase.running() {
		wake = now.Add(l.LookBusy)
	}
	at := func(begin time.Time, after time.Duration) {
		if t := begin.Add(after); !begin.IsZero() && t.After(now) && t.Before(wake) {
			wake = t
		}
	}
	at(s.Retry, 0)
	at(s.Settle, 0)
	at(s.NextReminder, 0)
	at(s.OursOn, l.HandOver)
	at(s.OursOn, l.Closing)
	at(s.AskingSince, l.Asking)
	at(s.AbsentSince, l.Gone)
	at(s.CutOffSince, l.Disconnected)
	switch s.Phase {
	case Idle:
		at(s.LastProof, l.dueOn(s).Sub(s.LastProof))
		at(s.Reported, l.Debounce)
		at(s.ProbeOn, l.ProbeAgain)
		at(s.ProbeOn, l.ProbeEvery)
		at(s.ProbeAskedOn, l.ProbeTime)
		at(s.ProbeAskedOn, l.ProbeEvery)
	case Precheck:
		at(s.Since, l.Precheck)
	case Trigger:
		at(s.Since, l.Trigger)
	case Observe:
		at(s.Since, l.Disconnected)
		if s.Attempt != nil {
			at(s.Since, l.observe(*s.Attempt))
		}
	case WaitAgent:
		at(s.AgentStartOn, l.AgentEvery)
	default:
	}
	return wake
}

// NextCheck is when a target will next be looked at for a reason, or something
// done for it, without anybody's help: for people, where Wake is for the runner.
func NextCheck(s State, l Limits, now time.Time) time.Time {
	switch due := l.dueOn(s); {
	case s.Phase == Idle && !s.needed(l, now):
		return due
	case s.Phase == Backoff && s.Retry.After(now):
		return s.Retry
	default:
		return Wake(s, l, now)
	}
}
