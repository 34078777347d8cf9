package mapiadapter

import (
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// phase leaves the phase where time or sight say so; see the design's table in
// docs/mapi.md.
func (m *machine) phase() {
	if !m.in.Sight.Known && m.s.Phase != Trigger && m.s.Phase != Observe {
		return // after a start, nothing is judged before something was seen
	}
	switch m.s.Phase {
	case Idle:
		m.idle()
	case Precheck:
		m.precheck()
	case Trigger:
		if stretch(m.s.Since, m.now) >= m.in.Limits.Trigger {
			m.lose(ReasonNoAnswer)
		}
	case Observe:
		m.observe()
	case NeedsUser:
		m.needsUser()
	case WaitSession:
		m.waitSession()
	case WaitAgent:
		m.waitAgent()
	case Backoff:
		m.backoff()
	case Suspended:
		if m.evidence || m.settled() {
			m.reopen()
		}
	case Unsupported, Session0Broken:
		m.stuck()
	}
}

func (m *machine) idle() {
	s := &m.s
	if s.Closings >= 2 {
		m.enter(Suspended, ReasonUserClosed)
		return
	}
	s.causes(m.in, m.now)
	if s.Pending == nil && s.askProbe(m.in, m.now) {
		s.ProbeAskedOn = m.now
		m.do(Do{Kind: DoProbe})
	}
	unknown := freshnessOf(*s, m.in.Limits, m.now) == Unknown
	if blocked, _ := m.blocked(); s.Pending != nil || unknown && blocked != "" {
		m.enter(Precheck, ReasonNone)
	}
}

// blocked finds what stands between us and a trigger, in the design's order;
// "" is nothing.
func (m *machine) blocked() (Phase, Reason) {
	w := m.in.Sight
	switch {
	case w.Obstacle != ReasonNone:
		return Backoff, w.Obstacle
	case w.Broken != ReasonNone:
		return Unsupported, w.Broken
	case m.s.Refuted >= m.in.Limits.RefutedMax:
		return Session0Broken, ReasonServiceContext
	case m.s.Account:
		return NeedsUser, ReasonAccount
	case w.Sessions == SessionsNone:
		return WaitSession, ReasonNone
	case !w.Agent:
		return WaitAgent, ReasonNone
	}
	return "", ReasonNone
}

func (m *machine) precheck() {
	s, w, l := &m.s, m.in.Sight, m.in.Limits
	if w.Agent && !w.On.After(s.Since) && stretch(s.Since, m.now) < l.Precheck {
		return // a new look is on its way
	}
	if to, why := m.blocked(); to == Backoff {
		m.wait(why)
		return
	} else if to != "" {
		m.enter(to, why)
		return
	}
	if s.Pending == nil || (freshnessOf(*s, l, m.now) == Fresh && !s.Pending.evenFresh()) {
		s.Pending = nil
		m.enter(Idle, ReasonNone)
		return
	}
	if why := m.asked(); why != ReasonNone {
		m.enter(NeedsUser, why)
		return
	}
	m.chooseAction()
}

// evenFresh reports whether the cause stands although access is fresh.
func (c *Cause) evenFresh() bool { return c.Kind == CauseEnsure || c.Kind == CauseGone }

// asked is what a window has been asking a person for long enough.
func (m *machine) asked() Reason {
	if m.s.AskingSince.IsZero() || stretch(m.s.AskingSince, m.now) < m.in.Limits.Asking {
		return ReasonNone
	}
	if m.in.Sight.Asking == desktop.AskingSignIn {
		return ReasonSignIn
	}
	return ReasonDialog
}

// chooseAction ends the precheck: all is well, and there is a cause.
func (m *machine) chooseAction() {
	var action ActionKind
	switch m.in.Sight.Outlook {
	case OutlookOther:
		m.enter(NeedsUser, ReasonWrongProfile)
		return
	case OutlookElse:
		m.enter(NeedsUser, ReasonOtherSession)
		return
	case OutlookHere:
		action = ActionSend
	case OutlookAbsent:
		action = ActionStart
	default:
		action = ActionObserve
	}
	if m.in.Target.Policy == NotifyOnly {
		if action == ActionStart {
			m.enter(NeedsUser, ReasonOpenOutlook)
			return
		}
		action = ActionObserve
	}
	if free := m.in.Limits.nextTrigger(m.s, m.now, action == ActionStart); free.After(m.now) {
		m.s.Retry = free
		m.enter(Backoff, ReasonBudget)
		return
	}
	m.begin(action)
}

// begin makes the attempt. Its start is spent before anybody is told to start
// anything: the ledger has it first.
func (m *machine) begin(action ActionKind) {
	s, w := &m.s, m.in.Sight
	s.Serial++
	s.Attempt = &Attempt{
		ID: serial("a", s.Serial), Cause: *s.Pending, Action: action, On: m.now, CacheOn: w.CacheOn,
		LogonNew: !w.LogonOn.IsZero() && m.now.Sub(w.LogonOn) < m.in.Limits.NewLogon,
	}
	s.Pending, s.LastTrigger, s.OursPID = nil, m.now, 0
	m.enter(Trigger, ReasonNone)
	switch action {
	case ActionStart:
		m.in.Limits.spend(s, m.now)
		m.do(Do{Kind: DoStart, Attempt: s.Attempt.ID, Ask: w.InUse && m.in.Target.Notice})
	case ActionSend:
		m.do(Do{Kind: DoSend, Attempt: s.Attempt.ID})
	case ActionObserve:
		m.enter(Observe, ReasonNone)
	}
}

func (m *machine) observe() {
	s, w, l := &m.s, m.in.Sight, m.in.Limits
	if s.Attempt == nil { // not a state that we make
		m.enter(Idle, ReasonNone)
		return
	}
	if w.connected() && w.On.After(s.Attempt.On) && w.CacheOn.After(s.Attempt.CacheOn) && !w.CacheOn.Before(s.Attempt.On.Truncate(time.Second)) {
		m.proof(ProofEvidence)
		return
	}
	if w.connected() && s.canProbe(m.in) && s.ProbeAskedOn.Before(s.Attempt.On) {
		s.ProbeAskedOn = m.now
		m.do(Do{Kind: DoProbe})
	}
	if s.OursOn.After(s.Attempt.On) || s.OursOn.Equal(s.Attempt.On) {
		if m.gone() {
			return
		}
	}
	switch why := m.asked(); {
	case why != ReasonNone:
		m.enter(NeedsUser, why)
	case stretch(s.CutOffSince, m.now) >= l.Disconnected && !s.CutOffSince.IsZero():
		m.enter(NeedsUser, ReasonSignIn)
	case stretch(s.Since, m.now) < l.observe(*s.Attempt):
	case !w.Agent:
		m.wait(ReasonBlind)
	case w.connected():
		m.wait(ReasonNoNewToken)
	default:
		m.lose(ReasonNoProof)
	}
}

func (l Limits) observe(a Attempt) time.Duration {
	if a.LogonNew {
		return l.ObserveLogon
	}
	return l.Observe
}

// gone judges an Outlook that we started and that is not there any more.
func (m *machine) gone() bool {
	s, w, l := &m.s, m.in.Sight, m.in.Limits
	young := stretch(s.OursOn, m.now) < l.HandOver
	switch {
	case w.Outlook != OutlookAbsent || !w.Agent || !w.On.After(s.OursOn):
		return false
	case w.New && young:
		m.enter(Unsupported, ReasonNewOutlook)
	case s.Attempt.Exit != nil && *s.Attempt.Exit != 0:
		m.lose(ReasonCrashed)
	case young:
		return false
	case s.Closings >= 2:
		m.enter(Suspended, ReasonUserClosed)
	default:
		m.lose(ReasonClosed)
	}
	return true
}

// lose ends an attempt that failed; enough of them in a row open the circuit.
func (m *machine) lose(why Reason) {
	m.s.Failures++
	if m.s.Failures >= m.in.Limits.Circuit {
		m.enter(Suspended, ReasonCircuit)
		return
	}
	m.pauseFor(m.s.Failures, why)
}

// wait puts off what is nobody's failure, and is not counted as one.
func (m *machine) wait(why Reason) { m.pauseFor(m.s.Failures+1, why) }

func (m *machine) pauseFor(step int, why Reason) {
	m.s.Retry = m.now.Add(m.in.Limits.backoff(step, m.in.Jitter))
	m.enter(Backoff, why)
}
