package mapiadapter

import (
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// machine is one step of a target's machine.
type machine struct {
	s   State
	in  Input
	now time.Time

	evidence bool // in this step it was seen that Office had renewed by itself
	steps    []Step
	dos      []Do
}

// maxHops bounds the transitions of one step; the longest chain there is has
// four (needs_user, precheck, trigger, observe).
const maxHops = 8

// Next is the machine: what becomes of a state with this input at now, which
// transitions that takes, and what is to be done. It is pure, and total: any
// state of the ledger and any input give an answer.
func Next(s State, in Input, now time.Time) (State, []Step, []Do) {
	m := machine{s: s.clone(), in: in, now: now.Round(0)} // the state is kept on disk, by the wall clock
	if !slices.Contains(Phases(), s.Phase) {
		m.s.Phase = Idle // of a broker that is newer than we
	}
	m.s.rebase(in.Limits, m.now)
	m.look()
	m.event()
	for range maxHops {
		before := len(m.steps)
		m.watch()
		m.phase()
		if len(m.steps) == before {
			break
		}
	}
	m.remind()
	return m.s, m.steps, m.dos
}

// enter changes the phase.
func (m *machine) enter(to Phase, why Reason) {
	step := Step{From: m.s.Phase, To: to, Reason: why}
	if m.s.Pending != nil {
		step.Cause, step.Kind = m.s.Pending.ID, m.s.Pending.Kind
	}
	if m.s.Attempt != nil {
		step.Cause, step.Kind = m.s.Attempt.Cause.ID, m.s.Attempt.Cause.Kind
		step.Attempt, step.Action = m.s.Attempt.ID, m.s.Attempt.Action
	}
	if to != Trigger && to != Observe {
		m.s.Attempt = nil
	}
	m.steps = append(m.steps, step)
	m.s.Phase, m.s.Reason, m.s.Since = to, why, m.now
	m.s.Settle, m.s.Mark, m.s.MarkBlind = time.Time{}, "", false
	m.s.Reminders, m.s.NextReminder = 0, time.Time{}
	switch to {
	case Precheck, Observe:
		m.do(Do{Kind: DoLook})
	case Unsupported, Session0Broken:
		m.s.Mark, m.s.MarkBlind = m.in.Sight.Mark, !m.in.Sight.Agent
	default:
	}
	if to != Precheck || step.From == Idle && step.Cause != "" {
		m.do(Do{Kind: DoTell, Step: step})
	}
}

func (m *machine) do(d Do) { m.dos = append(m.dos, d) }

// look notes what changed in the world.
func (m *machine) look() {
	w := m.in.Sight
	if !w.Known {
		return
	}
	running := w.Outlook != OutlookAbsent && w.Outlook != OutlookUnknown
	mark(&m.s.BlindSince, !w.Agent || w.Outlook == OutlookDeaf || w.Outlook == OutlookUnknown, m.now)
	mark(&m.s.AbsentSince, w.Agent && w.Outlook == OutlookAbsent, m.now)
	mark(&m.s.AskingSince, w.Agent && running && w.Asking != "", m.now)
	cutOff := w.Agent && w.Outlook == OutlookHere && w.Obstacle == ReasonNone && (w.Mode == modeDisconnected || w.Mode == modeCachedDisconnected)
	if mark(&m.s.CutOffSince, cutOff, m.now) {
		m.do(Do{Kind: DoLook}) // is it the network?
	}
	m.people()
	m.ours()
}

// people notices a logon, an unlock and a reconnect, and when each will have
// settled, where the phase waits for that.
func (m *machine) people() {
	w, l, seen := m.in.Sight, m.in.Limits, &m.s.Seen
	if w.Sessions == SessionsNone {
		*seen = Seen{}
		m.s.AgentLogon, m.s.AgentStarts = "", 0
		return
	}
	if w.Logon == "" {
		return
	}
	logon := seen.Logon != w.Logon
	person := logon || seen.Locked && !w.Locked || seen.State != string(w.State) && w.State == desktop.SessionActive
	*seen = Seen{Logon: w.Logon, State: string(w.State), Locked: w.Locked}
	switch m.s.Phase {
	case NeedsUser:
		if person {
			m.s.Settle = m.now.Add(l.SettlePerson)
		}
	case WaitSession, Suspended, Unsupported:
		if logon {
			m.s.Settle = m.now.Add(l.SettleLogon)
		}
	default: // waits for nobody
	}
}

// ours follows the Outlook that we started, for as long as its end tells what a
// person wants.
func (m *machine) ours() {
	s, w, l := &m.s, m.in.Sight, m.in.Limits
	if s.OursPID == 0 {
		return
	}
	for _, e := range w.Ended {
		if e.PID != s.OursPID {
			continue
		}
		if s.Attempt != nil && s.Attempt.PID == e.PID {
			s.Attempt.Exit, s.Attempt.ExitOn = &e.ExitCode, e.On
		}
		switch lived := e.On.Sub(s.OursOn); {
		case e.ExitCode != 0, w.New && lived < l.HandOver:
		case m.now.Sub(s.OursOn) < l.HandOver:
			return // new Outlook may still come up in its place
		case lived < l.Closing:
			s.Closings++
		default:
			s.Closings = 0
		}
		s.OursPID = 0
		return
	}
	if stretch(s.OursOn, m.now) >= l.Closing {
		s.OursPID, s.Closings = 0, 0
	}
}

// watch takes a renewal that came by itself for the proof it is. The newest time
// of a file may also go back, where the clock did or a file is gone.
func (m *machine) watch() {
	s, w := &m.s, m.in.Sight
	if !w.Known || !w.connected() || w.CacheOn.IsZero() || w.CacheOn.Equal(s.CacheMark) {
		return
	}
	on := minTime(w.CacheOn, m.now)
	switch {
	case s.Phase == Trigger, s.Phase == Observe: // proof of an attempt is newer than the attempt
		return
	case s.Phase == Session0Broken: // what Outlook renews has been refuted
		return
	case s.Failed && !on.After(s.LastFailure), !on.After(s.LastProof), on.Before(s.LastTrigger.Truncate(time.Second)): // nothing new
	case !s.needed(m.in.Limits, m.now) && on.Sub(s.LastProof) < m.in.Limits.WatchProof:
		return
	default:
		m.evidence = true
		s.prove(ProofEvidence, on, m.now, m.in.Limits)
	}
	s.CacheMark = w.CacheOn
}

// seenSince reports whether the agent looked after t. A time in the future is of
// a look before the clock was set back.
func (m *machine) seenSince(t time.Time) bool {
	return m.in.Sight.On.After(t) && !m.in.Sight.On.After(m.now)
}

// reachedSince is the same of network and clock; nobody looking is enough.
func (m *machine) reachedSince(t time.Time) bool {
	on := m.in.Sight.ReachOn
	return on.IsZero() || on.After(t) && !on.After(m.now)
}

// remind tells people again of what waits for them.
func (m *machine) remind() {
	l, s := m.in.Limits, &m.s
	var schedule []time.Duration
	switch s.Phase {
	case NeedsUser, WaitSession, WaitAgent:
		schedule = l.Reminders
	case Suspended, Unsupported, Session0Broken:
	default:
		return
	}
	next := func() time.Time {
		if n := max(s.Reminders, 0); n < len(schedule) {
			return s.Since.Add(schedule[n])
		}
		return m.now.Add(l.Daily)
	}
	if s.NextReminder.IsZero() {
		s.NextReminder = next()
		return
	}
	if m.now.Before(s.NextReminder) {
		return
	}
	for !m.now.Before(s.NextReminder) { // several may have passed while no broker ran: they are one
		s.Reminders++
		s.NextReminder = next()
	}
	m.do(Do{Kind: DoTell, Remind: s.Reminders})
}
