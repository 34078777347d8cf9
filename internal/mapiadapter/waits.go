package mapiadapter

import "time"

// settled reports whether a logon, an unlock or a reconnect has settled, once.
func (m *machine) settled() bool {
	if m.s.Settle.IsZero() || m.now.Before(m.s.Settle) {
		return false
	}
	m.s.Settle = time.Time{}
	return true
}

// newEvidence reports whether Office renewed by itself since the phase began.
func (m *machine) newEvidence() bool { return m.evidence && m.s.LastProof.After(m.s.Since) }

// needsUser ends when somebody did something. What it leads to is checked again
// from the beginning.
func (m *machine) needsUser() {
	w, s, l := m.in.Sight, &m.s, m.in.Limits
	seen := w.Agent && m.seenSince(s.Since) // what led here was not in the look before
	acted := m.settled() || m.newEvidence()
	switch s.Reason {
	case ReasonAgent:
		acted = acted || w.Agent
	case ReasonWrongProfile, ReasonOtherSession:
		acted = acted || seen && (w.Outlook == OutlookHere || w.Outlook == OutlookAbsent)
	case ReasonOpenOutlook:
		acted = acted || seen && w.Outlook == OutlookHere
	case ReasonSignIn, ReasonDialog: // answered, or gone together with Outlook
		gone := !s.AbsentSince.IsZero() && m.now.Sub(s.AbsentSince) >= l.Gone
		acted = acted || seen && (gone || w.connected() && s.AskingSince.IsZero())
	default: // the account's: nothing of that is to be seen
	}
	if !acted {
		return
	}
	s.Account = false
	m.afresh()
}

// afresh goes back to the beginning after somebody did something.
func (m *machine) afresh() {
	if m.s.needed(m.in.Limits, m.now) {
		m.s.want(CausePerson, m.now)
	}
	m.enter(Precheck, ReasonNone)
}

// waitSession ends when the account has been logged on for a while.
func (m *machine) waitSession() {
	switch w := m.in.Sight; {
	case w.Sessions == SessionsNone:
		m.s.Settle = time.Time{}
	case w.Sessions == SessionsUnknown && !w.Agent:
	case m.s.Settle.IsZero():
		m.s.Settle = m.now.Add(m.in.Limits.SettleLogon)
	case m.settled():
		m.enter(Precheck, ReasonNone)
	}
}

// waitAgent ends when the agent says hello. Where we can, we start it, a few
// times for each logon.
func (m *machine) waitAgent() {
	s, w, l := &m.s, m.in.Sight, m.in.Limits
	if w.Logon != "" && w.Logon != s.AgentLogon {
		s.AgentLogon, s.AgentStarts, s.AgentStartOn = w.Logon, 0, time.Time{}
	}
	tooSoon := !s.AgentStartOn.IsZero() && m.now.Sub(s.AgentStartOn) < l.AgentEvery
	switch {
	case w.Agent:
		m.enter(Precheck, ReasonNone)
	case w.Sessions == SessionsNone:
		m.enter(WaitSession, ReasonNone)
	case !m.in.StartAgent, w.Sessions != SessionsSome, tooSoon:
	case s.AgentStarts >= l.AgentTries:
		m.enter(NeedsUser, ReasonAgent)
	default:
		s.AgentStarts++
		s.AgentStartOn = m.now
		m.do(Do{Kind: DoStartAgent})
	}
}

// backoff ends with its time, or when access came back without us.
func (m *machine) backoff() {
	needed := m.s.needed(m.in.Limits, m.now)
	switch {
	case m.evidence && !needed:
		m.enter(Idle, ReasonNone)
	case m.now.Before(m.s.Retry):
	default:
		if needed {
			m.s.want(CauseRetry, m.now)
		}
		m.enter(Precheck, ReasonNone)
	}
}

// stuck looks whether what cannot work has changed: another installation, or
// other settings. What the facts do not show is also tried again after a new
// logon, or with a new agent where it was the agent's; new Outlook that took
// over, when classic Outlook runs.
func (m *machine) stuck() {
	w, s := m.in.Sight, &m.s
	if s.Phase == Session0Broken {
		m.session0()
		return
	}
	if w.Broken == s.Reason {
		s.Mark, s.MarkBlind = w.Mark, !w.Agent
		return
	}
	again := w.Mark != s.Mark && (w.Agent || s.MarkBlind)
	switch {
	case !w.Agent:
	case s.Reason == ReasonNewOutlook:
		again = again || m.seenSince(s.Since) && w.Outlook == OutlookHere
	case s.Reason == ReasonElevated && !w.AgentOn.Before(s.LastTrigger) && !w.AgentOn.After(m.now): // not the one that refused
		again = true
	default:
		again = again || m.settled()
	}
	if again {
		m.afresh()
	}
}

// session0 waits for another installation; what a service sees of it is not to
// be seen from a session.
func (m *machine) session0() {
	w, s := m.in.Sight, &m.s
	switch {
	case !w.Agent || w.Mark == s.Mark:
	case s.MarkBlind:
		s.Mark, s.MarkBlind = w.Mark, false
	default:
		s.Refuted = 0
		m.afresh()
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
