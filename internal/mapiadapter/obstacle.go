package mapiadapter

import "time"

// Obstacle is what the next renewal would end in, as things are now.
type Obstacle struct {
	Phase   Phase // empty: nothing is known to be in the way
	Reason  Reason
	Message string // what is in the way, in one sentence
	Action  string // the one thing that a person must do; empty: nothing
}

// obstacleOf looks ahead: a renewal that is not due yet would end in what its
// precheck finds. Network and clock are left out, as they may be well again by
// then. A phase in which nothing would be done anyway says itself what is wrong.
func obstacleOf(in Input, s State, p place, now time.Time) Obstacle {
	if !in.Sight.Known || s.Phase != Idle && s.Phase != Backoff {
		return Obstacle{}
	}
	in.Sight.Obstacle = ReasonNone
	m := machine{s: s, in: in, now: now}
	phase, why := m.blocked()
	if phase == "" {
		phase, why = m.occupied()
	}
	if phase == "" {
		return Obstacle{}
	}
	o := Obstacle{Phase: phase, Reason: why}
	o.Message, o.Action = sentencesOf(View{Phase: phase, Reason: why}, p)
	return o
}

// occupied finds what an Outlook that runs has in the way of a trigger.
func (m *machine) occupied() (Phase, Reason) {
	if why := m.asked(); why != ReasonNone {
		return NeedsUser, why
	}
	switch m.in.Sight.Outlook {
	case OutlookOther:
		return NeedsUser, ReasonWrongProfile
	case OutlookElse:
		return NeedsUser, ReasonOtherSession
	default:
		return "", ReasonNone
	}
}
