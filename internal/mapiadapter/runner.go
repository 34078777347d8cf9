package mapiadapter

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// runner keeps one target's machine going. Its state is its goroutine's alone;
// others see the snapshot.
type runner struct {
	a      *Adapter
	ledger *Ledger // nil: it cannot be used, and nothing is done
	inbox  chan request
	poke   chan struct{}      // look at the world again
	cancel context.CancelFunc // nil: it does not run
	ended  chan struct{}

	state   State
	kept    string // the state as the ledger has it
	failing bool   // the ledger refused the last entry
	renewal renewal

	shown   atomic.Pointer[snapshot]
	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed and replaced when the snapshot changes
}

// request is an event that somebody waits for.
type request struct {
	event  Event
	detail string
	target *Target // a new configuration
	done   chan struct{}
}

// snapshot is a target's state as others may see it. It does not change.
type snapshot struct {
	target Target
	state  State
}

// newRunner opens the target's ledger and goes on where that ended. With an
// error it gives a runner that only says so.
func newRunner(a *Adapter, t Target) (*runner, error) {
	r := &runner{a: a, inbox: make(chan request), poke: make(chan struct{}, 1), changed: make(chan struct{})}
	r.state = NewState(wallNow())
	ledger, err := OpenLedger(a.cfg.Dir, t.Name)
	if err != nil {
		r.state.Phase, r.state.Reason = Unsupported, ReasonLedger
		r.show(t)
		return r, fmt.Errorf("the Outlook target %s does nothing: %w", t.Name, err)
	}
	r.ledger = ledger
	if n := ledger.Damaged(); n > 0 {
		a.cfg.Log.Warn("lines of an Outlook target's ledger are damaged and were left out", slog.String("target", t.Name), slog.Int("lines", n))
	}
	if last, ok := ledger.Last(); ok && json.Unmarshal(last.State, &r.state) == nil {
		r.kept = durable(r.state)
	}
	r.show(t)
	return r, nil
}

// durable is the part of a state that the ledger must have before anything
// follows from it; that time passes is not.
func durable(s State) string {
	s.Latest = time.Time{}
	b, _ := json.Marshal(s) // our own types always encode
	return string(b)
}

func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	if r.ledger == nil {
		<-ctx.Done()
		return
	}
	r.step(ctx, request{event: Event{Kind: EventStarted}})
	for {
		wait := time.NewTimer(time.Until(Wake(r.state, r.a.cfg.Limits, wallNow())))
		tick := request{event: Event{Kind: EventTick}}
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		case <-r.poke:
		case tick = <-r.inbox:
		}
		wait.Stop()
		r.step(ctx, tick)
		if tick.done != nil {
			close(tick.done)
		}
	}
}

// step lets the machine take one step. What it wants done is done after the
// ledger has it, and not at all where the ledger does not take it.
func (r *runner) step(ctx context.Context, q request) {
	target := r.shown.Load().target
	if q.target != nil {
		target = *q.target
	}
	now := wallNow()
	in := Input{
		Target: target, Limits: r.a.cfg.Limits, Sight: r.sight(target, now), Event: q.event,
		Jitter: 2*rand.Float64() - 1, StartAgent: r.a.cfg.StartAgent != nil,
	}
	next, steps, dos := Next(r.state, in, now)
	if err := r.keep(q, next, steps, now); err != nil {
		if !r.failing {
			r.a.cfg.Log.ErrorContext(ctx, "the Outlook target does nothing while its ledger cannot be written", slog.String("target", target.Name), slog.Any("error", err))
		}
		r.failing = true
		return
	}
	r.failing = false
	r.state = next
	r.show(target)
	for _, s := range steps {
		r.log(ctx, target.Name, s)
		if r.renewal.follow(s, now) {
			r.finish(next, in, now)
		}
	}
	for _, d := range dos {
		r.act(ctx, target, d)
	}
}

// keep writes the transitions to the ledger, the last one with the state.
func (r *runner) keep(q request, next State, steps []Step, now time.Time) error {
	now = now.UTC()
	kept := durable(next)
	if len(steps) == 0 && kept == r.kept && q.event.Kind == EventTick {
		return nil
	}
	if len(steps) == 0 {
		steps = []Step{{From: next.Phase, To: next.Phase, Reason: next.Reason}}
	}
	for i, s := range steps {
		e := Entry{On: now, Event: string(q.event.Kind), From: s.From, To: s.To, Reason: string(s.Reason), Cause: s.Cause, Attempt: s.Attempt, Detail: q.detail}
		if q.event.HResult != 0 {
			e.Outcome = fmt.Sprintf("0x%08X", q.event.HResult)
		}
		if s.To == Trigger {
			e.Action = string(s.Action)
		}
		if i == len(steps)-1 {
			e.State, _ = json.Marshal(next) // our own types always encode
		}
		if _, err := r.ledger.Append(e); err != nil {
			return err
		}
	}
	r.kept = kept
	return nil
}

// act does what the machine wants done.
func (r *runner) act(ctx context.Context, t Target, d Do) {
	now := wallNow()
	agent := r.a.agents.best(now)
	work := Work{Target: t.Name, Profile: t.Profile, Mode: t.Mode}
	switch d.Kind {
	case DoLook:
		r.a.around.look()
		r.a.agents.lookNow()
		return
	case DoTell:
		r.tell(d)
		return
	case DoStartAgent:
		r.startAgent(ctx, t.Name)
		return
	case DoStart, DoSend:
		work.Kind, work.ID, work.NotAfter = WorkStart, r.workID(d.Attempt), now.Add(r.a.cfg.Limits.Trigger)
		if d.Kind == DoSend {
			work.Kind = WorkSend
		}
		if d.Ask {
			work.Ask, work.Text = true, "Outlook opens in 60 seconds to renew the mailbox access of this account."
		}
	case DoProbe:
		work.Kind, work.ID, work.NotAfter = WorkProbe, r.workID("p"), now.Add(r.a.cfg.Limits.ProbeTime)
	}
	if agent != nil {
		r.a.agents.give(keyOf(agent.report.Facts), work)
	}
}

// startAgent starts the agent. It has a goroutine of its own, as Windows may take
// its time; the Adapter waits for it.
func (r *runner) startAgent(ctx context.Context, target string) {
	r.a.tasks.Go(func() {
		if err := r.a.cfg.StartAgent(ctx); err != nil {
			r.a.cfg.Log.WarnContext(ctx, "the agent could not be started", slog.String("target", target), slog.Any("error", err))
		}
	})
}

// workID is unique for as long as agents remember: the attempt's number may
// begin again with a new ledger, the time does not.
func (r *runner) workID(attempt string) string {
	return fmt.Sprintf("%s/%s/%d", r.shown.Load().target.Name, attempt, wallNow().UnixNano())
}

// tell tells people of a phase, and the person in the session where it is theirs.
func (r *runner) tell(d Do) {
	v := r.view()
	number := numbers[v.Phase]
	if d.Remind == 0 {
		number = numberOf(d.Step)
	}
	if number == 0 {
		return
	}
	if r.a.cfg.Tell != nil {
		r.a.cfg.Tell(Notice{Number: number, View: v, Repeat: d.Remind})
	}
	if agent := r.a.agents.best(wallNow()); agent != nil && v.Phase == NeedsUser {
		r.a.agents.give(keyOf(agent.report.Facts), Work{
			ID: r.workID("n"), Target: v.Name, Kind: WorkNotice, Text: v.Message + " " + v.Action, NotAfter: wallNow().Add(noticeTime),
		})
	}
}

// noticeTime is how late a notice may still be shown.
const noticeTime = 10 * time.Minute

func (r *runner) log(ctx context.Context, target string, s Step) {
	level := slog.LevelInfo
	switch s.To {
	case NeedsUser, WaitSession, WaitAgent, Suspended, Unsupported, Session0Broken, Backoff:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("target", target), slog.String("phase", string(s.To)), slog.String("before", string(s.From))}
	for _, a := range []struct{ name, value string }{{"reason", string(s.Reason)}, {"cause", s.Cause}, {"attempt", s.Attempt}} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	r.a.cfg.Log.LogAttrs(ctx, level, "Outlook target", attrs...)
}

// ask gives the machine an event and waits until it was taken.
func (r *runner) ask(ctx context.Context, ev Event, detail string) (View, error) {
	q := request{event: ev, detail: detail, done: make(chan struct{})}
	if err := r.send(ctx, q); err != nil {
		return View{}, err
	}
	<-q.done
	return r.view(), nil
}

// send hands a request to the machine; in vain where it does not run.
func (r *runner) send(ctx context.Context, q request) error {
	r.a.mu.Lock()
	running := r.a.running
	r.a.mu.Unlock()
	if running == nil || r.ledger == nil {
		return token.NewError(token.KindUnavailable, "Outlook target", "Outlook targets need a running broker; start it with: broker serve")
	}
	select {
	case r.inbox <- q:
		return nil
	case <-ctx.Done():
		return token.AsError(ctx.Err())
	case <-running.Done():
		return token.NewError(token.KindUnavailable, "Outlook target", "The broker is stopping; send the request again when it is back.")
	}
}

// result takes what became of a work.
func (r *runner) result(ctx context.Context, res Result) {
	ev := Event{Kind: EventResult, Outcome: res.Outcome, Refusal: res.Reason, PID: res.PID}
	switch res.Kind {
	case WorkNotice:
		return
	case WorkProbe:
		if res.Outcome != Done {
			return // it could not be run: nothing is known of the access
		}
		ev = Event{Kind: EventProbe, OK: res.HResult == 0, HResult: res.HResult, Class: classOf(res.HResult)}
	default:
		parts := strings.Split(res.ID, "/")
		if len(parts) == 3 {
			ev.Attempt = parts[1]
		}
	}
	_ = r.send(ctx, request{event: ev, detail: string(res.Outcome)}) // where it stops right now, the next start waits for proof anyway
}
