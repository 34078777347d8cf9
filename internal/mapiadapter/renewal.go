package mapiadapter

import "time"

// Renewal is one attempt that ended, with when each part of it began, for
// telemetry. A part that did not come is zero.
type Renewal struct {
	Target   Target
	Cause    CauseKind
	Attempt  string
	Action   ActionKind
	Precheck time.Time
	Trigger  time.Time
	Observe  time.Time
	Probe    time.Time // a probe was asked for while it lasted
	Probed   time.Time // and answered
	Ended    time.Time
	To       Phase  // what it led to
	Reason   Reason // why
	Proof    ProofKind
	HResult  uint32
	Sight    Sight // of the end
}

// renewal follows the attempt in flight.
type renewal struct {
	Renewal
	open bool
}

// resumed is the attempt that a state of the ledger has in flight.
func resumed(s State) renewal {
	if s.Attempt == nil {
		return renewal{}
	}
	a := s.Attempt
	n := renewal{open: true, Renewal: Renewal{Attempt: a.ID, Action: a.Action, Cause: a.Cause.Kind, Precheck: a.On, Trigger: a.On}}
	if s.Phase == Observe {
		n.Observe = s.Since
	}
	return n
}

// follow takes one transition, and reports whether it ended the attempt.
func (n *renewal) follow(s Step, now time.Time) (ended bool) {
	switch s.To {
	case Precheck:
		n.Renewal, n.open = Renewal{Precheck: now}, true
	case Trigger:
		n.Trigger, n.Attempt, n.Action, n.Cause = now, s.Attempt, s.Action, s.Kind
	case Observe:
		if n.Observe.IsZero() {
			n.Observe = now
		}
	default:
		n.To, n.Reason = s.To, s.Reason
		return n.open && s.From.running()
	}
	return false
}

// finish tells of an attempt that has ended.
func (r *runner) finish(next State, in Input, now time.Time) {
	n := &r.renewal
	n.Target, n.Ended, n.Sight, n.HResult = in.Target, now, in.Sight, next.HResult
	if n.To == Idle && n.Reason == ReasonNone {
		n.Proof = next.Proof
	}
	done := n.Renewal
	*n = renewal{}
	if r.a.cfg.Renewed != nil && !done.Trigger.IsZero() {
		r.a.cfg.Renewed(done)
	}
}
