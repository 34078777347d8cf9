package mapiadapter

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// runner keeps one target's machine going. Its state is its goroutine's alone;
// others see the snapshot.
type runner struct {
	a     *Adapter
	name  string
	inbox chan request
	poke  chan struct{} // look at the world again

	// Set where it runs, under the Adapter's mutex.
	cancel context.CancelFunc
	ended  chan struct{}

	ledger atomic.Pointer[Ledger] // nil: it cannot be used, and nothing is done

	// Its goroutine's, once it runs.
	target  Target
	state   State
	kept    string // the state as the ledger has it
	begun   bool   // the ledger has the start of this broker
	failing bool   // the ledger could not be used the last time
	stepped time.Time
	work    string // ID of what the attempt in flight had to be done; empty: nothing, or before our start
	renewal renewal

	shown   atomic.Pointer[snapshot]
	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed and replaced when the snapshot changes
}

// request is an event that somebody waits for.
type request struct {
	event  Event
	detail string
	work   string  // of a result: its ID
	target *Target // a new configuration
	done   chan error
}

// snapshot is a target's state as others may see it. It does not change.
type snapshot struct {
	target  Target
	state   State
	failing bool
}

// newRunner opens the target's ledger and goes on where that ended. With an
// error it gives a runner that only says so, and tries again.
func newRunner(a *Adapter, t Target) (*runner, error) {
	r := &runner{
		a: a, name: t.Name, target: t, inbox: make(chan request), poke: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	r.state = NewState(wallNow())
	r.state.Phase, r.state.Reason = Unsupported, ReasonLedger
	if err := r.open(); err != nil {
		r.failing = true
		r.show()
		return r, fmt.Errorf("the Outlook target %s does nothing: %w", t.Name, err)
	}
	return r, nil
}

// open opens the ledger, and takes over the state that it ends with.
func (r *runner) open() error {
	ledger, err := OpenLedger(r.a.cfg.Dir, r.name)
	if err != nil {
		return err
	}
	if n := ledger.Damaged(); n > 0 {
		r.a.cfg.Log.Warn("lines of an Outlook target's ledger are damaged and were left out", slog.String("target", r.name), slog.Int("lines", n))
	}
	r.state = lastState(ledger)
	r.kept = durable(r.state)
	r.renewal = resumed(r.state)
	r.ledger.Store(ledger)
	r.show()
	return nil
}

// lastState is the newest state of a ledger that can be read: one of a newer
// broker may not be, and what was spent must not be forgotten for it.
func lastState(l *Ledger) State {
	read := func(e Entry) (s State, ok bool) { return s, len(e.State) > 0 && json.Unmarshal(e.State, &s) == nil }
	if last, ok := l.Last(); ok {
		if s, ok := read(last); ok {
			return s
		}
	}
	entries, _ := l.Tail(lookBack) // what cannot be read now could not be read before
	for i := range entries {
		if s, ok := read(entries[len(entries)-1-i]); ok {
			return s
		}
	}
	return NewState(wallNow())
}

// lookBack is how many entries are looked through for a state.
const lookBack = 1000

// durable is the part of a state that the ledger must have before anything
// follows from it. That time passes is not, nor that a consumer says again within
// the minute that it works.
func durable(s State) string {
	s.Latest = time.Time{}
	s.LastProof = s.LastProof.Truncate(time.Minute)
	b, _ := json.Marshal(s) // our own types always encode
	return string(b)
}

func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	q := request{event: Event{Kind: EventTick}}
	for {
		err := lifecycle.Guard(ctx, r.a.cfg.Log, "Outlook target "+r.name, func() error { return r.step(ctx, q) })
		if q.done != nil {
			q.done <- err
		}
		wait := time.NewTimer(min(time.Until(Wake(r.state, r.a.cfg.Limits, wallNow())), r.a.agents.patience()))
		q = request{event: Event{Kind: EventTick}}
		select {
		case <-ctx.Done():
		case <-wait.C:
		case <-r.poke:
		case q = <-r.inbox:
		}
		wait.Stop()
		if ctx.Err() != nil {
			if q.done != nil {
				q.done <- r.stopped()
			}
			return
		}
	}
}

// step lets the machine take one step, once its ledger can be written.
func (r *runner) step(ctx context.Context, q request) error {
	if q.target != nil {
		r.aim(*q.target)
	}
	err := r.ready(ctx)
	if err == nil && q.work != "" && r.work != "" && q.work != r.work {
		return nil // of an attempt before this one
	}
	if err == nil {
		err = r.next(ctx, q)
	}
	if err == nil {
		return nil
	}
	if !r.failing {
		r.a.cfg.Log.ErrorContext(ctx, "the Outlook target does nothing while its ledger cannot be written", slog.String("target", r.name), slog.Any("error", err))
		r.failing = true
		r.show()
	}
	return &token.Error{
		Kind: token.KindStore, Op: "Outlook target", Err: err,
		Detail: "The ledger of the Outlook target cannot be written, so nothing is done; the broker's log says what to do.",
	}
}

// ready opens the ledger where that could not be done before, and notes our start.
func (r *runner) ready(ctx context.Context) error {
	now := time.Now()
	if !r.stepped.IsZero() && now.Round(0).Sub(r.stepped.Round(0)).Abs() > 2*r.a.cfg.Limits.Look {
		r.a.around.sleep() // nor could an agent speak to us
	}
	r.stepped = now
	if r.ledger.Load() == nil {
		if err := r.open(); err != nil {
			return err
		}
	}
	if r.begun {
		return nil
	}
	if err := r.next(ctx, request{event: Event{Kind: EventStarted}}); err != nil {
		return err
	}
	r.begun = true
	return nil
}

// next takes one step. What the machine wants done is done after the ledger has
// it, and not at all where the ledger does not take it.
func (r *runner) next(ctx context.Context, q request) error {
	now, agent := wallNow(), r.a.agents.best()
	in := Input{
		Target: r.target, Limits: r.a.cfg.Limits, Sight: sightOf(r.target, r.a.around.now(), agent), Event: q.event,
		Jitter:     2*rand.Float64() - 1, //nolint:gosec // nobody gains by guessing it
		StartAgent: r.a.cfg.StartAgent != nil,
	}
	next, steps, dos := Next(r.state.of(r.target, now), in, now)
	if err := r.keep(q, next, steps, now); err != nil {
		return err
	}
	r.state = next
	r.show()
	if next.Attempt == nil && r.work != "" {
		r.a.agents.withdraw(r.name)
		r.work = ""
	}
	for _, s := range steps {
		r.log(ctx, s)
		if r.renewal.follow(s, now) {
			r.finish(next, in, now)
		}
	}
	for _, d := range dos {
		r.act(ctx, agent, d)
	}
	if q.event.Kind == EventProbe && !q.event.Service {
		r.probed(ctx, q.event.OK, now)
	}
	return nil
}

// keep writes the transitions to the ledger, the last one with the state. Those
// before it have the state from before all of them: who is killed on the way has
// done nothing. What changed nothing is kept only where it cannot come often.
func (r *runner) keep(q request, next State, steps []Step, now time.Time) error {
	kept := durable(next)
	if len(steps) == 0 && kept == r.kept && !r.failing {
		switch q.event.Kind {
		case EventTick, EventEnsure, EventReportOK, EventReportBad:
			return nil
		default: // it is kept
		}
	}
	if len(steps) == 0 {
		steps = []Step{{From: r.state.Phase, To: next.Phase, Reason: next.Reason}}
	}
	for i, s := range steps {
		e := Entry{On: now.UTC(), Event: string(q.event.Kind), From: s.From, To: s.To, Reason: string(s.Reason), Cause: s.Cause, Attempt: s.Attempt, Detail: q.detail}
		if q.event.HResult != 0 {
			e.Outcome = fmt.Sprintf("0x%08X", q.event.HResult)
		}
		if s.To == Trigger {
			e.Action = string(s.Action)
		}
		state := r.state
		if i == len(steps)-1 {
			state = next
		}
		e.State, _ = json.Marshal(state) // our own types always encode
		if _, err := r.ledger.Load().Append(e); err != nil {
			return err
		}
	}
	r.kept = kept
	if r.failing {
		r.failing = false
		r.a.cfg.Log.Info("the Outlook target's ledger can be written again", slog.String("target", r.name))
	}
	return nil
}

func (r *runner) log(ctx context.Context, s Step) {
	level := slog.LevelInfo
	switch s.To {
	case NeedsUser, WaitSession, WaitAgent, Suspended, Unsupported, Session0Broken, Backoff:
		level = slog.LevelWarn
	default: // all is well
	}
	attrs := []slog.Attr{slog.String("target", r.name), slog.String("phase", string(s.To)), slog.String("before", string(s.From))}
	for _, a := range []struct{ name, value string }{{"reason", string(s.Reason)}, {"cause", s.Cause}, {"attempt", s.Attempt}} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	r.a.cfg.Log.LogAttrs(ctx, level, "Outlook target", attrs...)
}

// ask gives the machine an event, and shows what became of it.
func (r *runner) ask(ctx context.Context, q request) (View, error) {
	if err := r.send(ctx, q); err != nil {
		return View{}, err
	}
	return r.view(), nil
}

// send gives the machine an event and waits until the ledger has it. Without an
// error it was taken; with one of ctx it may have been.
func (r *runner) send(ctx context.Context, q request) error {
	q.done = make(chan error, 1)
	r.a.mu.Lock()
	ended := r.ended
	r.a.mu.Unlock()
	if ended == nil {
		return token.NewError(token.KindUnavailable, "Outlook target", "Outlook targets need a running broker; start it with: broker serve")
	}
	select {
	case r.inbox <- q:
	case <-ended:
		return r.stopped()
	case <-ctx.Done():
		return token.AsError(ctx.Err())
	}
	select {
	case err := <-q.done:
		return err
	case <-ctx.Done():
		return token.AsError(ctx.Err())
	}
}

// stopped is the error of a machine that does not run any more.
func (r *runner) stopped() error {
	return token.NewError(token.KindUnavailable, "Outlook target", "The broker is stopping, or the Outlook target was taken out of the configuration; try again.")
}
