package mapiadapter

import (
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// phase leaves the phase where time or sight say so; see the design's table in
// docs/mapi.md.
func (m *machine) phase() {
	if !m.in.Sight.Known && m.s.Phase != Trigger {
		return // after a start, nothing is judged before something was seen
	}
	switch m.s.Phase {
	case Idle:
		m.idle()
	case Precheck:
		m.precheck()
	case Trigger:
		m.trigger()
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
		if m.newEvidence() || m.settled() {
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
		m.enter(Precheck, ReasonNone) // which says what it is that blocks us
	}
}

// blocked finds what stands between us and a trigger, in the design's order;
// "" is nothing.
func (m *machine) blocked() (Phase, Reason) {
	w := m.in.Sight
	switch {
	case m.s.Closings >= 2:
		return Suspended, ReasonUserClosed
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
	if s.causes(m.in, m.now); s.Pending != nil && !s.stands(*s.Pending, m.in, m.now) {
		s.Pending = nil
	}
	if s.Pending == nil && freshnessOf(*s, l, m.now) == Fresh {
		m.enter(Idle, ReasonNone)
		return
	}
	seen := !w.Agent || m.seenSince(s.Since) && m.now.Sub(w.On) < l.Precheck
	if late := stretch(s.Since, m.now) >= l.Precheck; !late && (!seen || !m.reachedSince(s.Since)) {
		return // a new look is on its way
	}
	if to, why := m.blocked(); to == Backoff {
		m.wait(why)
		return
	} else if to != "" {
		m.enter(to, why)
		return
	}
	switch why := m.asked(); {
	case s.Pending == nil:
		m.enter(Idle, ReasonNone)
	case !seen: // nothing is done on what was seen too long ago
		m.wait(ReasonNoAnswer)
	case why != ReasonNone:
		m.enter(NeedsUser, why)
	default:
		m.chooseAction()
	}
}

// asked is what a window has been asking a person for long enough.
func (m *machine) asked() Reason {
	if m.s.AskingSince.IsZero() || m.now.Sub(m.s.AskingSince) < m.in.Limits.Asking {
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

// trigger ends without an answer. An agent that went away is nobody's failure.
func (m *machine) trigger() {
	switch w := m.in.Sight; {
	case m.s.Attempt == nil: // not a state that we make
		m.lose(ReasonNoAnswer)
	case m.connected() && m.renewed(): // the answer was lost, the work was not
		m.proof(ProofEvidence)
	case stretch(m.s.Since, m.now) < m.in.Limits.Trigger:
	case w.Known && !w.Agent:
		m.wait(ReasonBlind)
	default:
		m.lose(ReasonNoAnswer)
	}
}

func (m *machine) observe() {
	s, l := &m.s, m.in.Limits
	if s.Attempt == nil { // not a state that we make
		m.enter(Idle, ReasonNone)
		return
	}
	connected := m.connected()
	if connected && m.renewed() {
		m.proof(ProofEvidence)
		return
	}
	if connected && s.canProbe(m.in) && s.ProbeAskedOn.Before(s.Attempt.On) {
		s.ProbeAskedOn = m.now
		m.do(Do{Kind: DoProbe})
	}
	if s.Attempt.Cause.Kind == CauseGone && connected && !s.needed(l, m.now) {
		m.enter(Idle, ReasonNoNewToken) // it runs again, and that was all
		return
	}
	if m.missing() {
		return
	}
	switch why := m.asked(); {
	case why != ReasonNone:
		m.enter(NeedsUser, why)
	case m.cutOff():
		m.enter(NeedsUser, ReasonSignIn)
	case stretch(s.Since, m.now) >= l.observe(*s.Attempt):
		m.unproved(connected)
	}
}

// connected reports whether Outlook is, by a look that came after the attempt
// began.
func (m *machine) connected() bool { return m.in.Sight.connected() && m.seenSince(m.s.Attempt.On) }

// renewed reports whether a token-cache file was written since the attempt
// began. Times of files may be kept to the second.
func (m *machine) renewed() bool {
	a, on := m.s.Attempt, m.in.Sight.CacheOn
	return !on.Equal(a.CacheOn) && !on.Before(a.On.Truncate(time.Second))
}

// cutOff reports whether Outlook has been disconnected for long enough since the
// attempt began, and not because of the network.
func (m *machine) cutOff() bool {
	since := m.s.CutOffSince
	if since.IsZero() || !m.reachedSince(since) {
		return false
	}
	return m.now.Sub(maxTime(since, m.s.Since)) >= m.in.Limits.Disconnected
}

// unproved ends an attempt whose time is over. It is a failure where Outlook was
// asked and could have renewed, or a consumer is refused all the same.
func (m *machine) unproved(connected bool) {
	s, w := &m.s, m.in.Sight
	switch {
	case !w.Agent:
		m.wait(ReasonBlind)
	case w.Obstacle != ReasonNone:
		m.wait(w.Obstacle)
	case connected && s.Failed:
		m.lose(ReasonNoNewToken)
	case connected && s.needed(m.in.Limits, m.now):
		m.putOff(ReasonNoNewToken)
	case connected:
		m.enter(Idle, ReasonNoNewToken)
	case !s.Attempt.Answered && s.Attempt.Action != ActionObserve:
		m.lose(ReasonNoAnswer)
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

// missing judges an Outlook that we started and that is not there any more.
func (m *machine) missing() bool {
	s, w := &m.s, m.in.Sight
	if s.OursOn.Before(s.Attempt.On) || w.Outlook != OutlookAbsent || !w.Agent || !m.seenSince(s.OursOn) {
		return false
	}
	young := stretch(s.OursOn, m.now) < m.in.Limits.HandOver
	brief := !s.Attempt.ExitOn.IsZero() && s.Attempt.ExitOn.Sub(s.OursOn) < m.in.Limits.HandOver
	switch {
	case w.New && (young || brief):
		m.enter(Unsupported, ReasonNewOutlook)
	case s.Attempt.Exit != nil && *s.Attempt.Exit != 0:
		m.lose(ReasonCrashed)
	case young:
		return false // new Outlook may still come up in its place
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

// putOff is the same for an attempt that came to nothing, each time for longer.
func (m *machine) putOff(why Reason) {
	m.s.Deferred++
	m.pauseFor(m.s.Failures+m.s.Deferred, why)
}

func (m *machine) pauseFor(step int, why Reason) {
	m.s.Retry = m.now.Add(m.in.Limits.backoff(step, m.in.Jitter))
	m.enter(Backoff, why)
}
