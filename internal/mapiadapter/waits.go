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

// needsUser ends when somebody did something. What it leads to is checked again
// from the beginning.
func (m *machine) needsUser() {
	w := m.in.Sight
	acted := m.settled() || m.evidence
	switch m.s.Reason {
	case ReasonAgent:
		acted = acted || w.Agent
	case ReasonWrongProfile, ReasonOtherSession:
		acted = acted || w.Agent && (w.Outlook == OutlookHere || w.Outlook == OutlookAbsent)
	case ReasonOpenOutlook:
		acted = acted || w.Agent && w.Outlook == OutlookHere
	case ReasonSignIn, ReasonDialog:
		acted = acted || w.connected() && m.s.AskingSince.IsZero()
	}
	if !acted {
		return
	}
	m.s.Account = false
	if freshnessOf(m.s, m.in.Limits, m.now) != Fresh {
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
	fresh := freshnessOf(m.s, m.in.Limits, m.now) == Fresh
	switch {
	case m.evidence && fresh:
		m.enter(Idle, ReasonNone)
	case m.now.Before(m.s.Retry):
	default:
		if !fresh {
			m.s.want(CauseRetry, m.now)
		}
		m.enter(Precheck, ReasonNone)
	}
}

// stuck looks whether what cannot work has changed. What the facts cannot show
// (new Outlook that took over) waits for another installation, or for classic
// Outlook to run again.
func (m *machine) stuck() {
	w, s := m.in.Sight, &m.s
	changed := w.Mark != "" && w.Mark != s.Mark
	mended := w.Agent && w.Broken == ReasonNone && w.Outlook == OutlookHere
	if s.Phase == Session0Broken {
		return
	}
	if w.Broken == s.Reason || w.Mark == "" || !changed && !mended {
		return
	}
	if freshnessOf(*s, m.in.Limits, m.now) != Fresh {
		s.want(CausePerson, m.now)
	}
	m.enter(Precheck, ReasonNone)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
