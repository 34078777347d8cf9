package mapiadapter

import (
	"slices"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// story tells what happens to one target, step by step: the world as the agent
// sees it stays as it is until the story changes it, and every step is a fresh
// look unless the story says otherwise.
type story struct {
	t     *testing.T
	s     State
	in    Input
	now   time.Time
	stale bool // the agent does not look any more

	steps []Step // of the last step
	dos   []Do
	all   []Step // of the whole story
	tells []Do
}

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// newStory begins with an account that logged on an hour ago and has locked its
// session, an agent there, and no Outlook. Nothing has been seen yet.
func newStory(t *testing.T) *story {
	t.Helper()
	return &story{
		t: t, now: noon, s: NewState(noon),
		in: Input{
			Target: Target{Name: "crm", Profile: "Outlook", Policy: Nudge, Notice: true},
			Limits: DefaultLimits(), StartAgent: true,
			Sight: Sight{
				Known: true, Sessions: SessionsSome, Agent: true, Mark: "A",
				Logon: "L1", LogonOn: noon.Add(-hour), State: desktop.SessionActive, Locked: true,
				Outlook: OutlookAbsent,
			},
		},
	}
}

// fresh is a story whose consumer has just said that it works.
func freshStory(t *testing.T) *story {
	t.Helper()
	return newStory(t).worked().is(Idle, ReasonNone)
}

// checkingStory has a consumer that was refused long after its last success.
func checkingStory(t *testing.T) *story {
	t.Helper()
	return freshStory(t).after(hour).refused().is(Precheck, ReasonNone)
}

// startingStory has told the agent to start Outlook.
func startingStory(t *testing.T) *story {
	t.Helper()
	return checkingStory(t).looks().is(Trigger, ReasonNone).did(DoStart)
}

// observingStory has an Outlook that was started a second ago and does not
// answer yet.
func observingStory(t *testing.T) *story {
	t.Helper()
	return startingStory(t).starts(7)
}

// sendingStory is asked to renew an Outlook that runs, connected.
func sendingStory(t *testing.T) *story {
	t.Helper()
	return freshStory(t).sees(connected).after(hour).refused().looks().is(Trigger, ReasonNone).did(DoSend)
}

// step takes one step of the machine, and checks what holds for each.
func (y *story) step(ev Event) *story {
	y.t.Helper()
	if y.in.Sight.Agent && !y.stale {
		y.in.Sight.On = y.now
	}
	y.in.Event = ev
	before := y.s
	y.s, y.steps, y.dos = Next(before, y.in, y.now)
	from := before.Phase
	for _, st := range y.steps {
		if st.From != from {
			y.t.Fatalf("a step from %s, the machine is in %s", st.From, from)
		}
		from = st.To
	}
	if from != y.s.Phase {
		y.t.Fatalf("the steps end in %s, the state is %s", from, y.s.Phase)
	}
	y.all = append(y.all, y.steps...)
	for _, d := range y.dos {
		if d.Kind == DoTell {
			y.tells = append(y.tells, d)
		}
	}
	return y
}

func (y *story) tick() *story { y.t.Helper(); return y.step(Event{Kind: EventTick}) }

// after lets time pass, and looks once at its end.
func (y *story) after(d time.Duration) *story {
	y.t.Helper()
	y.now = y.now.Add(d)
	return y.tick()
}

// until looks every so often, for so long.
func (y *story) until(d, every time.Duration) *story {
	y.t.Helper()
	for end := y.now.Add(d); y.now.Before(end); {
		y.after(min(every, end.Sub(y.now)))
	}
	return y
}

func (y *story) looks() *story { y.t.Helper(); return y.after(second) }

// sees changes the world, and looks.
func (y *story) sees(changes ...func(*Sight)) *story {
	y.t.Helper()
	for _, change := range changes {
		change(&y.in.Sight)
	}
	return y.tick()
}

func (y *story) worked() *story { y.t.Helper(); return y.step(Event{Kind: EventReportOK}) }

// refused is a consumer's MAPI_E_FAILONEPROVIDER.
func (y *story) refused() *story {
	y.t.Helper()
	return y.step(Event{Kind: EventReportBad, HResult: 0x8004011D, Class: ClassAuth})
}

func (y *story) ensures(force bool) *story {
	y.t.Helper()
	return y.step(Event{Kind: EventEnsure, Force: force})
}

func (y *story) resumes() *story { y.t.Helper(); return y.step(Event{Kind: EventResume}) }
func (y *story) pauses() *story  { y.t.Helper(); return y.step(Event{Kind: EventPause}) }

// restarts ends the broker and starts it again after d, with nothing seen yet.
func (y *story) restarts(d time.Duration) *story {
	y.t.Helper()
	y.now = y.now.Add(d)
	sight := y.in.Sight
	y.in.Sight = Sight{}
	y.s = reread(y.t, y.s)
	y.step(Event{Kind: EventStarted})
	y.in.Sight = sight
	return y
}

// probes is an answer of the probe in the agent's context.
func (y *story) probes(ok bool) *story {
	y.t.Helper()
	ev := Event{Kind: EventProbe, OK: ok}
	if !ok {
		ev.HResult, ev.Class = 0x8004011D, ClassAuth
	}
	return y.step(ev)
}

// answers is the agent's answer to the work of the attempt in flight.
func (y *story) answers(o Outcome, refusal string) *story {
	y.t.Helper()
	if y.s.Attempt == nil {
		y.t.Fatal("no attempt is in flight")
	}
	return y.step(Event{Kind: EventResult, Attempt: y.s.Attempt.ID, Outcome: o, Refusal: refusal, PID: 7})
}

// starts is the agent saying that it started Outlook, which does not answer yet.
func (y *story) starts(pid uint32) *story {
	y.t.Helper()
	y.in.Sight.Outlook = OutlookDeaf
	y.step(Event{Kind: EventResult, Attempt: y.s.Attempt.ID, Outcome: Done, PID: pid})
	return y.is(Observe, ReasonNone)
}

// renews is Outlook connected, and Office writing a token.
func (y *story) renews() *story {
	y.t.Helper()
	y.now = y.now.Add(second)
	return y.sees(connected, written(y.now))
}

// ends is the Outlook that we started ending, with this code.
func (y *story) ends(code uint32) *story {
	y.t.Helper()
	return y.sees(absent, func(w *Sight) {
		w.Ended = append(slices.Clone(w.Ended), desktop.Ended{PID: y.s.OursPID, ExitCode: code, On: y.now})
	})
}

// is checks where the machine stands.
func (y *story) is(phase Phase, why Reason) *story {
	y.t.Helper()
	if y.s.Phase != phase || y.s.Reason != why {
		y.t.Fatalf("%s: %s(%s), not %s(%s); on the way: %v", y.now.Format("15:04:05"), y.s.Phase, y.s.Reason, phase, why, y.all)
	}
	return y
}

func (y *story) freshness(want Freshness) *story {
	y.t.Helper()
	if got := freshnessOf(y.s, y.in.Limits, y.now); got != want {
		y.t.Fatalf("%s: freshness %s, not %s", y.now.Format("15:04:05"), got, want)
	}
	return y
}

// did checks that the last step wanted this done.
func (y *story) did(kind DoKind) *story {
	y.t.Helper()
	if !y.wants(kind) {
		y.t.Fatalf("the last step wanted %v, not %s", y.dos, kind)
	}
	return y
}

// didNot checks that it did not.
func (y *story) didNot(kinds ...DoKind) *story {
	y.t.Helper()
	for _, kind := range kinds {
		if y.wants(kind) {
			y.t.Fatalf("the last step wanted %s", kind)
		}
	}
	return y
}

func (y *story) wants(kind DoKind) bool {
	return slices.ContainsFunc(y.dos, func(d Do) bool { return d.Kind == kind })
}

// cause checks why the attempt in flight, or the next one, is made.
func (y *story) cause(want CauseKind) *story {
	y.t.Helper()
	c := y.s.Pending
	if y.s.Attempt != nil {
		c = &y.s.Attempt.Cause
	}
	if c == nil || c.Kind != want {
		y.t.Fatalf("the cause is %v, not %s", c, want)
	}
	return y
}

// retriesIn checks the length of the backoff.
func (y *story) retriesIn(want time.Duration) *story {
	y.t.Helper()
	if got := y.s.Retry.Sub(y.now); got != want {
		y.t.Fatalf("the next attempt is in %s, not in %s", got, want)
	}
	return y
}

// retries waits for the end of the backoff.
func (y *story) retries() *story {
	y.t.Helper()
	return y.after(y.s.Retry.Sub(y.now)).is(Precheck, ReasonNone)
}

func connected(w *Sight)    { w.Outlook, w.Mode, w.Asking = OutlookHere, 700, "" }
func disconnected(w *Sight) { w.Outlook, w.Mode = OutlookHere, modeCachedDisconnected }
func deaf(w *Sight)         { w.Outlook, w.Mode = OutlookDeaf, 0 }
func absent(w *Sight)       { w.Outlook, w.Mode, w.Asking = OutlookAbsent, 0, "" }
func otherProfile(w *Sight) { w.Outlook, w.Mode = OutlookOther, 700 }
func otherSession(w *Sight) { w.Outlook, w.Mode = OutlookElse, 0 }
func newOutlook(w *Sight)   { w.New = true }
func unlocked(w *Sight)     { w.Locked = false }
func locked(w *Sight)       { w.Locked = true }
func noNetwork(w *Sight)    { w.Obstacle = ReasonNetwork }
func network(w *Sight)      { w.Obstacle = ReasonNone }

func asking(what desktop.Asking) func(*Sight) { return func(w *Sight) { w.Asking = what } }
func broken(why Reason) func(*Sight)          { return func(w *Sight) { w.Broken = why } }
func marked(mark string) func(*Sight)         { return func(w *Sight) { w.Mark = mark } }
func written(on time.Time) func(*Sight)       { return func(w *Sight) { w.CacheOn = on } }

// noAgent is the agent gone: all that it saw is gone with it.
func noAgent(w *Sight) {
	*w = Sight{Known: true, Sessions: SessionsSome, Obstacle: w.Obstacle, Mark: "none"}
}

// nobody is the account logged off.
func nobody(w *Sight) {
	*w = Sight{Known: true, Sessions: SessionsNone, Obstacle: w.Obstacle, Mark: "none"}
}

// agentBack is the agent again, with an Outlook that does not run.
func agentBack(logon string) func(*Sight) {
	return func(w *Sight) {
		*w = Sight{
			Known: true, Sessions: SessionsSome, Agent: true, Mark: "A", Obstacle: w.Obstacle,
			Logon: logon, State: desktop.SessionActive, Locked: true, Outlook: OutlookAbsent,
		}
	}
}
