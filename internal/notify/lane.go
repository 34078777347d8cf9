package notify

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sink is one way to tell somebody.
type sink interface {
	// deliver makes one attempt, within a limit of its own; nil: it went well.
	deliver(ctx context.Context, e Event) *failure
	// where names the other end for people, without secrets.
	where() string
}

// failure is an attempt that did not go well.
type failure struct {
	text  string        // one sentence for a person, without secrets
	retry bool          // another attempt may go better
	after time.Duration // not before that; zero: no wish
}

// lane is the way of events to one sink: a queue, and the worker that empties it.
type lane struct {
	name  string
	log   *slog.Logger
	waits []time.Duration // before the second attempt, the third, …
	last  bool            // local and quick: what waits is delivered when the broker stops

	turn chan struct{} // holds one value while somebody delivers
	wake chan struct{} // holds one value when there is something to do

	mu      sync.Mutex // guards what follows; never held over a delivery
	sink    sink       // nil: switched off
	changed chan struct{}
	queue   []Event
	taken   memory
	stats   Status
	untold  int // dropped events that the log has not heard of
}

func newLane(name string, log *slog.Logger, waits ...time.Duration) *lane {
	return &lane{
		name: name, log: log, waits: waits,
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		stats: Status{Sink: name},
	}
}

// use puts another sink in force, or none.
func (l *lane) use(s sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sink = s
	if s == nil {
		l.queue, l.taken, l.stats.Problem = nil, memory{}, ""
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// current is the sink in force, and what is closed when another one is.
func (l *lane) current() (sink, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sink, l.changed
}

func (l *lane) status() (Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Waiting = len(l.queue)
	return s, l.sink != nil
}

// put queues an event that was not here before.
func (l *lane) put(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sink == nil || !l.taken.add(e.Key) {
		return
	}
	queue, out, full := enqueue(l.queue, e, queueMax)
	l.queue = queue
	if full {
		l.taken.forget(out.Key)
		l.stats.Dropped++
		l.untold++
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take is the next event, and how many were dropped since the last one.
func (l *lane) take() (e Event, dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return Event{}, 0, false
	}
	e, dropped = l.queue[0], l.untold
	l.queue, l.untold = l.queue[1:], 0
	return e, dropped, true
}

// run delivers one event after the other until ctx ends.
func (l *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		e, dropped, ok := l.take()
		if !ok {
			select {
			case <-l.wake:
			case <-ctx.Done():
			}
			continue
		}
		if dropped > 0 {
			l.log.WarnContext(ctx, "events were dropped, as too many waited", slog.String("sink", l.name), slog.Int("dropped", dropped))
		}
		l.carry(ctx, e)
	}
	l.stop(context.WithoutCancel(ctx))
}

// carry delivers one event, with as many attempts as there are waits. Another sink
// begins anew, at once.
func (l *lane) carry(ctx context.Context, e Event) {
	for try := 0; ; try++ {
		s, changed := l.current()
		if s == nil {
			return
		}
		f := l.attempt(ctx, s, e)
		switch {
		case f == nil:
			return
		case ctx.Err() != nil:
			l.putBack(e)
			return
		case !f.retry || try >= len(l.waits):
			l.giveUp(ctx, e, f)
			return
		}
		wait := max(l.waits[try], f.after)
		l.waiting(ctx, e, f, try, wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
			try = -1
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			l.putBack(e)
			return
		}
	}
}

// attempt delivers once, one at a time, and notes how that went.
func (l *lane) attempt(ctx context.Context, s sink, e Event) *failure {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return &failure{text: "The broker was asked to stop."}
	}
	f := s.deliver(ctx, e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if f == nil {
		l.stats.Delivered++
		l.stats.Problem = ""
		return nil
	}
	l.stats.Problem = f.text
	return f
}

func (l *lane) waiting(ctx context.Context, e Event, f *failure, try int, wait time.Duration) {
	level := slog.LevelDebug
	if try == 0 {
		level = slog.LevelWarn
	}
	l.log.LogAttrs(ctx, level, "an event waits for its next delivery", slog.String("sink", l.name),
		slog.Int("event", e.ID), slog.String("subject", e.Subject), slog.String("problem", f.text), slog.Duration("wait", wait))
}

// giveUp drops the event; a later one of its key is taken again.
func (l *lane) giveUp(ctx context.Context, e Event, f *failure) {
	l.mu.Lock()
	l.stats.Failed++
	l.taken.forget(e.Key)
	l.mu.Unlock()
	l.log.ErrorContext(ctx, "an event could not be delivered", slog.String("sink", l.name),
		slog.Int("event", e.ID), slog.String("subject", e.Subject), slog.String("problem", f.text))
}

func (l *lane) putBack(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append([]Event{e}, l.queue...)
}

// stop hands over what a local sink takes at once, and tells what is lost.
func (l *lane) stop(ctx context.Context) {
	s, _ := l.current()
	for l.last && s != nil {
		e, _, ok := l.take()
		if !ok {
			break
		}
		if f := l.attempt(ctx, s, e); f != nil {
			l.giveUp(ctx, e, f)
		}
	}
	if status, _ := l.status(); status.Waiting > 0 {
		l.log.WarnContext(ctx, "the broker stops before these events were delivered", slog.String("sink", l.name), slog.Int("lost", status.Waiting))
	}
}

// test delivers outside the queue.
func (l *lane) test(ctx context.Context, e Event) Outcome {
	s, _ := l.current()
	if s == nil {
		return Outcome{Sink: l.name, Text: "It was switched off meanwhile."}
	}
	if f := l.attempt(ctx, s, e); f != nil {
		return Outcome{Sink: l.name, Text: f.text}
	}
	return Outcome{Sink: l.name, OK: true, Text: s.where() + " took the test event."}
}
