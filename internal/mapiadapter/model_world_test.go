package mapiadapter

import (
	"strconv"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// model is a small world around one machine: a computer with an account, its
// session, an agent, Outlook, a person, a consumer, a network and a clock, and
// the broker with the state in its memory and the one on its disk.
type model struct {
	temper
	in  Input
	rnd uint64

	// Time.
	real      time.Duration // since the story began; it never jumps
	skew      time.Duration // of the wall clock
	forward   bool          // the clock was set forward at least once
	knownFrom time.Duration // when the broker has seen enough since its start

	// The computer.
	session  bool
	logon    int
	logonOn  time.Time
	state    desktop.SessionState
	locked   bool
	agent    bool
	elevated bool
	agentOn  time.Time
	outlook  Outlook
	pid      uint32
	mode     int
	ready    time.Duration // when a starting Outlook answers
	asking   desktop.Asking
	newRuns  bool
	ended    []desktop.Ended
	cacheOn  time.Time
	broken   Reason
	mark     int
	obstacle Reason
	validTo  time.Duration // the consumer's access

	// Between the two.
	sight   Sight // of the agent's last look
	works   []modelWork
	results []Event
	done    map[string]bool // what the agent did

	// The broker.
	s    State
	kept State // as the ledger has it
	last Event
	step taken
	book bookkeeper
}

// modelWork is an order on its way to the agent.
type modelWork struct {
	kind     DoKind
	attempt  string
	ask      bool
	notAfter time.Time
}

// temper is what this world is inclined to, in 256ths.
type temper struct {
	fails, declines, hangs, asks, cutsOff, handsOver, crashes, closes uint64 // of a start
	crosses                                                           uint64 // somebody is quicker than the agent
	renews, refuses, errs, probeFails                                 uint64 // of Outlook, the consumer and the probe
	loses, repeats, stale                                             uint64 // of the agent
	mends                                                             uint64 // how soon a world that is out of order is put right
	drifts                                                            bool   // the clock is set forward, too
}

func newModel(seed uint64) *model {
	m := &model{rnd: seed, session: true, agent: true, logon: 1, locked: true, state: desktop.SessionActive, outlook: OutlookAbsent}
	m.s = NewState(noon)
	m.kept = m.s
	m.logonOn = noon.Add(-hour)
	m.done = map[string]bool{}
	seldom := func() uint64 { return []uint64{0, 0, 8, 40, 128, 250}[m.dice(6)] }
	m.temper = temper{
		fails: seldom(), declines: seldom(), hangs: seldom(), asks: seldom(), cutsOff: seldom(), handsOver: seldom() / 4, crashes: seldom(), closes: seldom(),
		crosses: seldom(), renews: 256 - seldom(), refuses: seldom(), errs: seldom() / 8, probeFails: seldom(),
		loses: seldom() / 2, repeats: seldom(), stale: seldom(), mends: 250 - seldom(),
		drifts: m.dice(3) == 0,
	}
	m.in = Input{
		Limits: DefaultLimits(), StartAgent: m.dice(2) == 0,
		Target: Target{
			Name: "crm", Profile: "Outlook", Policy: []Policy{Nudge, Nudge, Supervise, NotifyOnly}[m.dice(4)],
			Probe: m.dice(2) == 0, Notice: m.dice(2) == 0,
		},
	}
	m.book.reach = m.dice(2) == 0
	m.look()
	return m
}

// dice is a number below n, of the present operation alone, so that a story
// without it is otherwise the same.
func (m *model) dice(n uint64) uint64 {
	m.rnd = mix(m.rnd)
	return (m.rnd >> 11) % n
}

func (m *model) chance(of256 uint64) bool { return m.dice(256) < of256 }

// mix is SplitMix64: cheap, and good enough to wander about.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (m *model) wall() time.Time { return noon.Add(m.real + m.skew) }

// look is the agent looking at the computer and telling the broker.
func (m *model) look() {
	now := m.wall()
	w := Sight{Known: m.real >= m.knownFrom || m.agent, Obstacle: m.obstacle, Sessions: SessionsNone, Mark: "config"}
	if m.book.reach {
		w.ReachOn = now
	}
	if m.session {
		w.Sessions = SessionsSome
	}
	if m.agent {
		w.On, w.Agent, w.AgentOn = now, true, m.agentOn
		w.Broken, w.Mark = m.broken, "mark "+strconv.Itoa(m.mark)
		w.Logon, w.LogonOn, w.State, w.Locked = strconv.Itoa(m.logon), m.logonOn, m.state, m.locked
		w.InUse = !m.locked
		w.Outlook, w.New, w.CacheOn, w.Asking, w.Ended = m.outlook, m.newRuns, m.cacheOn, m.asking, m.ended
		if m.outlook == OutlookHere || m.outlook == OutlookOther {
			w.Mode = m.mode
		}
	}
	m.sight = w
}

// lives lets the computer go on: the agent works, and Outlook starts up.
func (m *model) lives() {
	if m.outlook == OutlookDeaf && m.ready > 0 && m.real >= m.ready {
		m.startedUp()
	}
	if m.agent {
		for len(m.works) > 0 {
			w := m.works[0]
			m.works = m.works[1:]
			switch {
			case m.chance(m.loses):
			case m.chance(m.repeats):
				m.works = append(m.works, w)
				m.carryOut(w)
				return
			default:
				m.carryOut(w)
			}
		}
	}
}

// carryOut is the agent's part: each order once, none too late, and nothing that
// must never be done.
func (m *model) carryOut(w modelWork) {
	if m.done[w.attempt] || m.wall().After(w.notAfter) {
		return
	}
	m.done[w.attempt] = true
	ev := Event{Kind: EventResult, Attempt: w.attempt, Outcome: Done}
	switch {
	case m.elevated:
		ev.Outcome, ev.Refusal = Refused, desktop.RefusedElevated
	case w.kind == DoSend && (m.outlook == OutlookOther || m.chance(m.crosses)):
		m.outlook = OutlookOther
		ev.Outcome, ev.Refusal = Refused, desktop.RefusedProfile
	case w.kind == DoSend && m.outlook != OutlookHere, m.chance(m.fails):
		ev.Outcome = Failed
	case w.kind == DoSend:
		m.renew()
	case m.outlook != OutlookAbsent:
		ev.Outcome, ev.Refusal = Refused, desktop.RefusedRunning
	case m.broken == ReasonNewOutlook:
		ev.Outcome, ev.Refusal = Refused, desktop.RefusedNewOutlook
	case m.broken == ReasonNoProfile:
		ev.Outcome, ev.Refusal = Refused, desktop.RefusedNoProfile
	case m.broken != ReasonNone:
		ev.Outcome, ev.Refusal = Refused, desktop.RefusedNoOutlook
	case w.ask && m.chance(m.declines):
		ev.Outcome = Declined
	default:
		m.pid++
		ev.PID = m.pid
		m.outlook, m.mode, m.asking = OutlookDeaf, 0, ""
		m.ready = m.real + time.Duration(5+m.dice(30))*second
	}
	m.results = append(m.results, ev)
}

// startedUp is what becomes of an Outlook that was started.
func (m *model) startedUp() {
	m.ready = 0
	switch {
	case m.chance(m.hangs):
	case m.chance(m.handsOver):
		m.leaves(0)
		m.newRuns = true
	case m.chance(m.crashes):
		m.leaves(0xC0000005)
	case m.chance(m.closes):
		m.leaves(0)
	case m.chance(m.asks):
		m.asking = []desktop.Asking{desktop.AskingSignIn, desktop.AskingProfile, desktop.AskingDialog}[m.dice(3)]
	case m.chance(m.cutsOff):
		m.outlook, m.mode = OutlookHere, modeCachedDisconnected
	default:
		m.outlook, m.mode = OutlookHere, 700
		m.renew()
	}
}

func (m *model) leaves(code uint32) {
	if m.outlook == OutlookHere || m.outlook == OutlookDeaf {
		m.ended = append(m.ended, desktop.Ended{PID: m.pid, ExitCode: code, On: m.wall()})
		if len(m.ended) > 4 {
			m.ended = append([]desktop.Ended(nil), m.ended[1:]...)
		}
	}
	m.outlook, m.mode, m.asking, m.ready = OutlookAbsent, 0, "", 0
}

// renew is Office writing tokens, as far as it feels like it.
func (m *model) renew() {
	if m.obstacle == ReasonNone && m.mode == 700 && m.chance(m.renews) {
		m.cacheOn = m.wall()
		m.validTo = m.real + time.Duration(1+m.dice(26))*hour
	}
}

// turn changes something about the computer.
func (m *model) turn() {
	if m.chance(m.mends) {
		m.mend()
		return
	}
	switch m.dice(22) {
	case 0: // logoff, and all that ran there ends
		m.session, m.agent, m.outlook, m.mode, m.asking, m.newRuns, m.ended = false, false, OutlookAbsent, 0, "", false, nil
	case 1, 2:
		if !m.session {
			m.session, m.agent, m.locked, m.state = true, m.dice(2) == 0, false, desktop.SessionActive
			m.logon++
			m.logonOn = m.wall()
		}
	case 3:
		m.locked = !m.locked
	case 4:
		m.state = []desktop.SessionState{desktop.SessionActive, desktop.SessionDisconnected}[m.dice(2)]
	case 5:
		m.agent = false
	case 6, 7:
		m.newAgent()
	case 8:
		m.leaves(0)
	case 9:
		m.leaves(1)
	case 10, 11: // a person opens it
		if m.session && m.outlook == OutlookAbsent {
			m.outlook, m.mode = OutlookHere, 700
			m.pid += 1000
			m.renew()
		}
	case 12:
		m.outlook, m.mode = []Outlook{OutlookOther, OutlookElse, OutlookAbsent}[m.dice(3)], 700
	case 13:
		if m.outlook == OutlookHere {
			m.outlook = OutlookDeaf
		} else if m.outlook == OutlookDeaf && m.ready == 0 {
			m.outlook, m.mode = OutlookHere, 700
		}
	case 14:
		m.mode = []int{700, 700, modeDisconnected, modeCachedDisconnected, 200}[m.dice(5)]
	case 15:
		m.asking = []desktop.Asking{"", "", desktop.AskingSignIn, desktop.AskingDialog}[m.dice(4)]
	case 16:
		m.renew()
	case 17:
		m.newRuns = m.dice(2) == 0
	case 18:
		m.broken = []Reason{"", "", "", ReasonNoOutlook, ReasonNewOutlook, ReasonNoProfile}[m.dice(6)]
		m.mark++
	case 19:
		m.obstacle = []Reason{"", "", "", ReasonNetwork, ReasonClock}[m.dice(5)]
	case 20:
		m.elevated = m.dice(4) == 0
		m.newAgent()
	case 21:
		m.in.Target.Notice = !m.in.Target.Notice
	}
}

func (m *model) newAgent() {
	if m.session {
		m.agent, m.agentOn, m.ended = true, m.wall(), nil
	}
}

// consumer is what it tells us, the truth as a rule.
func (m *model) consumer() Event {
	if m.real < m.validTo && !m.chance(m.refuses) || m.chance(m.errs) {
		return Event{Kind: EventReportOK}
	}
	return Event{Kind: EventReportBad, HResult: 0x8004011D, Class: []Class{ClassAuth, ClassAuth, ClassAuth, ClassAuth, ClassAccount, ClassLogon, ClassOther}[m.dice(7)]}
}

func (m *model) probe() Event {
	ev := Event{Kind: EventProbe, Service: m.dice(8) == 0, OK: m.real < m.validTo && !m.chance(m.probeFails)}
	if !ev.OK {
		ev.HResult, ev.Class = 0x8004011D, []Class{ClassAuth, ClassAuth, ClassLogon, ClassOther}[m.dice(4)]
	}
	return ev
}

// settle makes the world good, and lets it stay so.
func (m *model) settle() {
	m.temper = temper{renews: 256}
	m.mend()
}

// mend puts right what is out of order: the account is logged on, the agent is
// well, no other profile runs, Outlook answers and is connected, and nothing is
// asked any more.
func (m *model) mend() {
	if !m.session {
		m.session, m.logonOn = true, m.wall()
		m.logon++
	}
	if !m.agent || m.elevated {
		m.elevated = false
		m.newAgent()
	}
	m.obstacle, m.newRuns, m.asking = ReasonNone, false, ""
	if m.broken != ReasonNone {
		m.broken = ReasonNone
		m.mark++
	}
	switch m.outlook {
	case OutlookHere:
		m.mode = 700
	case OutlookDeaf:
		if m.ready == 0 {
			m.outlook, m.mode = OutlookHere, 700
		}
	default:
		m.outlook = OutlookAbsent
	}
}
