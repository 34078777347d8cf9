package mapiadapter

import (
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// event takes what happened into the state. Where a phase is left by it, it is
// left here; what follows from time and sight alone is in phases.go.
func (m *machine) event() {
	switch ev := m.in.Event; ev.Kind {
	case EventStarted:
		m.started()
	case EventEnsure:
		m.ensure(ev.Force)
	case EventReportOK:
		m.proof(ProofConsumer)
	case EventReportBad:
		m.reported(ev)
	case EventProbe:
		m.probed(ev)
	case EventResult:
		m.result(ev)
	case EventPause:
		if m.s.Phase != Suspended || m.s.Reason != ReasonPaused {
			m.s.Pending = nil
			m.enter(Suspended, ReasonPaused)
		}
	case EventResume:
		m.resume()
	default: // a tick is a look, and nothing else
	}
}

// ensure is a consumer that asks for access. Where only nobody looks, that is a
// reason to look, and none to renew.
func (m *machine) ensure(force bool) {
	switch {
	case m.s.Phase != Idle:
	case force, m.s.needed(m.in.Limits, m.now):
		m.s.want(CauseEnsure, m.now)
		m.s.Pending.Force = m.s.Pending.Force || force
	case freshnessOf(m.s, m.in.Limits, m.now) != Fresh:
		m.enter(Precheck, ReasonNone)
	}
}

// started begins with a state of the ledger. What lasted when it was written may
// have been interrupted since.
func (m *machine) started() {
	m.s.mend(m.in.Limits, m.now)
	m.s.AbsentSince, m.s.AskingSince, m.s.CutOffSince = time.Time{}, time.Time{}, time.Time{}
	if m.s.Phase == Trigger {
		// Whether the agent got the work is not known, so it is not given again.
		m.enter(Observe, ReasonNone)
	}
}

// proof takes an event that proves the access. Where the service's own logon is
// broken, only the service can prove anything.
func (m *machine) proof(kind ProofKind) {
	if m.s.Phase == Session0Broken && kind != ProofConsumer {
		return
	}
	m.s.prove(kind, m.now, m.now, m.in.Limits)
	if on := m.in.Sight.CacheOn; !on.IsZero() {
		m.s.CacheMark = on
	}
	switch m.s.Phase {
	case Precheck, Trigger, Observe, Backoff:
		m.enter(Idle, ReasonNone)
	case NeedsUser:
		m.enter(Precheck, ReasonNone)
	case Session0Broken:
		m.enter(Precheck, ReasonNone)
	case Suspended:
		m.reopen()
	default: // noted, and that is all
	}
}

// reopen closes a circuit that failures had opened, on new evidence.
func (m *machine) reopen() {
	if m.s.Phase == Suspended && m.s.Reason == ReasonCircuit {
		m.s.Failures = m.in.Limits.Reopened
		m.enter(Precheck, ReasonNone)
	}
}

// reported is a consumer's error. What follows from it is idle's, which makes a
// cause of it as long as it stands.
func (m *machine) reported(ev Event) {
	if ev.Class == ClassOther || ev.Class == ClassLogon && m.s.ProbeFails == 0 {
		m.s.HResult = ev.HResult
		return
	}
	m.s.fail(ev, m.now, m.in.Limits)
}

// probed is the answer of a probe. In the service's logon it counts as what the
// consumer would have said.
func (m *machine) probed(ev Event) {
	s, w := &m.s, m.in.Sight
	switch {
	case ev.Service && ev.OK:
		m.proof(ProofConsumer)
	case ev.Service:
		m.reported(ev)
	case ev.OK:
		s.ProbeOn, s.ProbeFails = m.now, 0
		m.proof(ProofProbe)
	case ev.Class == ClassOther, w.Obstacle != ReasonNone:
		s.ProbeOn = m.now
	case w.connected():
		s.ProbeOn, s.ProbeFails, s.ProbeUnusable = m.now, 0, true
	default:
		s.ProbeOn = m.now
		if s.ProbeFails++; s.ProbeFails >= 2 {
			s.fail(ev, m.now, m.in.Limits)
		}
	}
}

// result is what became of the work of the attempt in flight.
func (m *machine) result(ev Event) {
	a := m.s.Attempt
	if a == nil || a.ID != ev.Attempt || a.Answered {
		return
	}
	a.Answered = true
	if ev.Outcome == Done && a.Action == ActionStart {
		a.PID, m.s.OursPID, m.s.OursOn = ev.PID, ev.PID, m.now
	}
	switch ev.Outcome {
	case Done:
		m.underWay()
	case Declined:
		m.putOff(ReasonDeclined)
	case Refused:
		m.refused(ev.Refusal)
	default:
		m.failed(ev.Refusal)
	}
}

// failed is work that did not work out. What was never begun is not counted.
func (m *machine) failed(why string) {
	if why == FailedLate || why == FailedWithdrawn {
		m.wait(ReasonNoAnswer)
		return
	}
	m.lose(ReasonStartFailed)
}

// underWay goes on to wait for proof; after a restart that has begun already.
func (m *machine) underWay() {
	if m.s.Phase == Trigger {
		m.enter(Observe, ReasonNone)
	}
}

// refused is work that the agent found it must not do.
func (m *machine) refused(why string) {
	switch why {
	case desktop.RefusedRunning:
		m.underWay()
	case desktop.RefusedProfile:
		m.enter(NeedsUser, ReasonWrongProfile)
	case desktop.RefusedNoOutlook:
		m.enter(Unsupported, ReasonNoOutlook)
	case desktop.RefusedNewOutlook:
		m.enter(Unsupported, ReasonNewOutlook)
	case desktop.RefusedNoProfile:
		m.enter(Unsupported, ReasonNoProfile)
	case desktop.RefusedElevated, desktop.RefusedService:
		m.enter(Unsupported, ReasonElevated)
	case desktop.RefusedPlatform:
		m.enter(Unsupported, ReasonPlatform)
	default:
		m.lose(ReasonStartFailed)
	}
}

// resume is an operator's word: paused, or having seen to what was wrong.
func (m *machine) resume() {
	if m.s.Phase == Idle || m.s.Phase.running() {
		return
	}
	m.s.Failures, m.s.Deferred, m.s.Refuted, m.s.Closings, m.s.Account = 0, 0, 0, 0, false
	m.s.AgentStarts, m.s.ProbeUnusable = 0, false
	m.afresh()
}
