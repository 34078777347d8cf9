package mapiadapter

import "github.com/m365-token-broker/broker/internal/mapiadapter/desktop"

// event takes what happened into the state. Where a phase is left by it, it is
// left here; what follows from time and sight alone is in phases.go.
func (m *machine) event() {
	switch ev := m.in.Event; ev.Kind {
	case EventStarted:
		if m.s.Phase == Trigger {
			// Whether the agent got the work is not known, so it is not given again.
			m.enter(Observe, ReasonNone)
		}
	case EventEnsure:
		if m.s.Phase == Idle && (ev.Force || freshnessOf(m.s, m.in.Limits, m.now) != Fresh) {
			m.s.want(CauseEnsure, m.now)
		}
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
	}
}

// proof takes an event that proves the access.
func (m *machine) proof(kind ProofKind) {
	m.s.prove(kind, m.now, m.now, m.in.Limits)
	m.s.CacheMark = maxTime(m.s.CacheMark, m.in.Sight.CacheOn)
	switch m.s.Phase {
	case Precheck, Trigger, Observe, Backoff:
		m.enter(Idle, ReasonNone)
	case NeedsUser:
		m.enter(Precheck, ReasonNone)
	case Session0Broken:
		if kind == ProofConsumer {
			m.enter(Precheck, ReasonNone)
		}
	case Suspended:
		m.reopen()
	}
}

// reopen closes a circuit that failures had opened, on new evidence.
func (m *machine) reopen() {
	if m.s.Phase == Suspended && m.s.Reason == ReasonCircuit {
		m.s.Failures = m.in.Limits.Reopened
		m.enter(Precheck, ReasonNone)
	}
}

// reported is a consumer's error.
func (m *machine) reported(ev Event) {
	s := &m.s
	switch {
	case ev.Class == ClassOther, ev.Class == ClassLogon && s.ProbeFails == 0:
		s.HResult = ev.HResult
		return
	}
	s.fail(ev, m.now, m.in.Limits)
	if s.Phase != Idle || (!s.Reported.IsZero() && m.now.Sub(s.Reported) < m.in.Limits.Debounce) {
		return
	}
	s.Reported = m.now
	s.want(CauseReport, m.now)
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
	case ev.Class == ClassOther:
		s.ProbeOn = m.now
	case w.connected():
		s.ProbeOn, s.ProbeFails, s.ProbeUnusable = m.now, 0, true
	default:
		s.ProbeOn = m.now
		s.ProbeFails++
		if s.ProbeFails >= 2 && w.Obstacle == ReasonNone {
			s.fail(ev, m.now, m.in.Limits)
			if s.Phase == Idle {
				s.want(CauseProbe, m.now)
			}
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
	if m.s.Phase != Trigger {
		return
	}
	switch ev.Outcome {
	case Done:
		m.enter(Observe, ReasonNone)
	case Declined:
		m.wait(ReasonDeclined)
	case Refused:
		m.refused(ev.Refusal)
	default:
		m.lose(ReasonStartFailed)
	}
}

// refused is work that the agent found it must not do.
func (m *machine) refused(why string) {
	switch why {
	case desktop.RefusedRunning:
		m.enter(Observe, ReasonNone)
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
	switch m.s.Phase {
	case Idle, Precheck, Trigger, Observe:
		return
	}
	m.s.Failures, m.s.Refuted, m.s.Closings, m.s.Account = 0, 0, 0, false
	m.s.AgentStarts, m.s.ProbeUnusable = 0, false
	if freshnessOf(m.s, m.in.Limits, m.now) != Fresh {
		m.s.want(CausePerson, m.now)
	}
	m.enter(Precheck, ReasonNone)
}
