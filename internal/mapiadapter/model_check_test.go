package mapiadapter

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// edge is a transition.
type edge struct{ from, to Phase }

// table is the design's table of states: every way from one phase to another.
func table() map[edge]bool {
	all := map[edge]bool{}
	add := func(from Phase, to ...Phase) {
		for _, p := range to {
			all[edge{from, p}] = true
		}
	}
	add(Idle, Precheck, Suspended)
	add(Precheck, Idle, Trigger, Backoff, NeedsUser, WaitSession, WaitAgent, Unsupported, Session0Broken, Suspended)
	add(Trigger, Observe, Idle, Backoff, NeedsUser, Unsupported, Suspended)
	add(Observe, Idle, Backoff, NeedsUser, Unsupported, Suspended)
	add(NeedsUser, Precheck, Suspended)
	add(WaitSession, Precheck, Suspended)
	add(WaitAgent, Precheck, WaitSession, NeedsUser, Suspended)
	add(Backoff, Precheck, Idle, Suspended)
	add(Suspended, Precheck, Suspended) // an open circuit is paused
	add(Unsupported, Precheck, Suspended)
	add(Session0Broken, Precheck, Suspended)
	return all
}

// bookkeeper knows, without the machine, what must never happen.
type bookkeeper struct {
	table    map[edge]bool
	seen     map[edge]int
	reach    bool
	cause    uint64 // the highest that triggered
	attempt  uint64
	starts   []bookedStart
	attempts int
}

// bookedStart is a start of Outlook: in true time, and by a wall clock that may
// have been set back since.
type bookedStart struct {
	real time.Duration
	wall time.Time
}

// taken is one step of the machine.
type taken struct {
	before, after State
	in            Input
	now           time.Time
	steps         []Step
	dos           []Do
}

// check holds one step against the design's nevers.
func (m *model) check(k *taken) error {
	for _, c := range [...]func(*taken) error{m.checkSteps, m.checkActs, m.checkBudget, m.checkPeople, m.checkState} {
		if err := c(k); err != nil {
			return err
		}
	}
	return nil
}

// checkSteps: the transitions are those of the table, so that a failed attempt
// leads to backoff, needs_user, unsupported or suspended (6), and they end.
func (m *model) checkSteps(k *taken) error {
	at := k.before.Phase
	for _, s := range k.steps {
		e := edge{s.From, s.To}
		switch {
		case s.From != at:
			return fmt.Errorf("a step from %s while in %s", s.From, at)
		case !m.book.table[e]:
			return fmt.Errorf("no way leads from %s to %s", s.From, s.To)
		}
		m.book.seen[e]++
		at = s.To
	}
	switch {
	case at != k.after.Phase:
		return fmt.Errorf("the steps end in %s, the state in %s", at, k.after.Phase)
	case len(k.steps) >= maxHops:
		return fmt.Errorf("%d transitions in one step", len(k.steps))
	}
	return nil
}

// checkActs: nothing is done to Outlook but for one attempt with a cause of its
// own (5), decided in this step, on a fresh look that showed no Outlook (2).
func (m *model) checkActs(k *taken) error {
	before, after, in := &k.before, &k.after, &k.in
	acts := 0
	for _, d := range k.dos {
		if d.Kind != DoStart && d.Kind != DoSend {
			continue
		}
		acts++
		last := k.steps[len(k.steps)-1]
		switch {
		case last.To != Trigger || last.From != Precheck || after.Attempt == nil || after.Attempt.ID != d.Attempt:
			return fmt.Errorf("%s in %s", d.Kind, after.Phase)
		case !in.Sight.Known, !in.Sight.Agent, in.Sight.Sessions == SessionsNone, in.Sight.Obstacle != ReasonNone, in.Sight.Broken != ReasonNone:
			return fmt.Errorf("%s in a world that is not fit for it: %+v", d.Kind, in.Sight)
		case d.Kind == DoStart && in.Sight.Outlook != OutlookAbsent, d.Kind == DoSend && in.Sight.Outlook != OutlookHere:
			return fmt.Errorf("%s while Outlook is %s", d.Kind, in.Sight.Outlook)
		case k.now.Sub(in.Sight.On) > in.Limits.Precheck || in.Sight.On.After(k.now):
			return fmt.Errorf("%s on a look of %s ago", d.Kind, k.now.Sub(in.Sight.On))
		case in.Target.Policy == NotifyOnly:
			return fmt.Errorf("%s under notify_only", d.Kind)
		}
	}
	if acts > 1 {
		return fmt.Errorf("%d actions in one step", acts)
	}
	if (after.Attempt != nil) != (after.Phase == Trigger || after.Phase == Observe) {
		return fmt.Errorf("in %s with the attempt %v", after.Phase, after.Attempt)
	}
	if after.Attempt == nil || before.Attempt != nil && before.Attempt.ID == after.Attempt.ID {
		return nil
	}
	if before.Attempt != nil {
		return fmt.Errorf("the attempt %s began while %s was in flight", after.Attempt.ID, before.Attempt.ID)
	}
	m.book.attempts++
	return m.newAttempt(*after.Attempt)
}

// newAttempt: IDs only grow, so none comes twice, across restarts too.
func (m *model) newAttempt(a Attempt) error {
	cause, err := strconv.ParseUint(strings.TrimPrefix(a.Cause.ID, "c"), 10, 64)
	attempt, err2 := strconv.ParseUint(strings.TrimPrefix(a.ID, "a"), 10, 64)
	if err != nil || err2 != nil || cause <= m.book.cause || attempt <= m.book.attempt {
		return fmt.Errorf("the attempt %s of the cause %s, after a%d of c%d", a.ID, a.Cause.ID, m.book.attempt, m.book.cause)
	}
	m.book.cause, m.book.attempt = cause, attempt
	return nil
}

// checkBudget: never more starts than the budget (7), in true time where the
// clock was only ever set back, and by the wall clock in any case: a start is as
// old as the wall clock has moved on from its lowest reading since.
func (m *model) checkBudget(k *taken) error {
	now := k.now
	for i := range m.book.starts {
		if s := &m.book.starts[i]; now.Before(s.wall) {
			s.wall = now
		}
	}
	for _, d := range k.dos {
		if d.Kind != DoStart {
			continue
		}
		for _, a := range k.in.Limits.Budget {
			real, wall := 1, 1
			for _, s := range m.book.starts {
				if m.real-s.real < a.In {
					real++
				}
				if now.Sub(s.wall) < a.In {
					wall++
				}
			}
			if wall > a.Number || real > a.Number && !m.forward {
				return fmt.Errorf("%d starts in %s by the wall clock, %d in true time; %d are allowed", wall, a.In, real, a.Number)
			}
		}
		m.book.starts = append(m.book.starts, bookedStart{m.real, now})
		if n := len(m.book.starts); n > 12 {
			m.book.starts = append(m.book.starts[:0], m.book.starts[n-12:]...)
		}
	}
	return nil
}

// checkPeople: what a person decided is undone by people only.
func (m *model) checkPeople(k *taken) error {
	before, after := &k.before, &k.after
	if len(k.steps) == 0 || before.Phase != Suspended || before.Reason == ReasonCircuit {
		return nil
	}
	if kind := k.in.Event.Kind; kind != EventResume && (kind != EventPause || after.Reason != ReasonPaused) {
		return fmt.Errorf("%s(%s) was left on %s", before.Phase, before.Reason, kind)
	}
	return nil
}

// checkState: the state is one that can be gone on from.
func (m *model) checkState(k *taken) error {
	after, l, now := &k.after, k.in.Limits, k.now
	switch wake := Wake(*after, l, now); {
	case !wake.After(now), wake.Sub(now) > l.Look:
		return fmt.Errorf("woken in %s", wake.Sub(now))
	case after.Phase == Backoff && after.Retry.Sub(now) > 24*hour:
		return fmt.Errorf("a backoff of %s", after.Retry.Sub(now))
	case (after.Phase == Backoff || after.Phase == NeedsUser || after.Phase == Unsupported || after.Phase == Suspended) && after.Reason == ReasonNone:
		return fmt.Errorf("in %s for no reason", after.Phase)
	case NextCheck(*after, l, now).Before(now):
		return fmt.Errorf("the next check was %s ago", now.Sub(NextCheck(*after, l, now)))
	}
	return nil
}

// checkStill: the same again, at the same time, leads nowhere.
func (m *model) checkStill(in Input, after State) error {
	in.Event = Event{Kind: EventTick}
	if _, steps, _ := Next(after, in, m.wall()); len(steps) > 0 {
		return fmt.Errorf("nothing happened, and %s became %s", after.Phase, steps[len(steps)-1].To)
	}
	return nil
}

// checkLoss: losing the agent, COM or the probe makes no cause, no attempt and
// no action (8). What is seen of Outlook's own renewal is left out on both sides,
// as not seeing proof is no loss of it.
func (m *model) checkLoss(before State, in Input) error {
	now := m.wall()
	in.Target.Probe = false
	in.Sight.CacheOn, in.Sight.Mode, in.Sight.Ended = time.Time{}, 0, nil
	with, _, _ := Next(before, in, now)

	deaf, gone := in, in
	deaf.Sight.Outlook = OutlookDeaf
	gone.Sight = Sight{Known: in.Sight.Known, Obstacle: in.Sight.Obstacle, Sessions: in.Sight.Sessions, Mark: "config", ReachOn: in.Sight.ReachOn}
	for name, less := range map[string]Input{"COM": deaf, "the agent": gone} {
		if name == "COM" && in.Sight.Outlook != OutlookHere {
			continue
		}
		without, _, dos := Next(before, less, now)
		for _, d := range dos {
			if d.Kind == DoStart || d.Kind == DoSend {
				return fmt.Errorf("losing %s: %s", name, d.Kind)
			}
		}
		if name == "the agent" && without.Attempt != nil && before.Attempt == nil {
			return fmt.Errorf("losing %s: an attempt", name)
		}
		// A refusal is a cause by itself, whenever it is come to.
		if without.Serial > before.Serial && with.Serial == before.Serial && !without.Failed {
			return fmt.Errorf("losing %s: a cause: %+v", name, without.Pending)
		}
	}
	return nil
}
