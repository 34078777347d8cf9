package mapiadapter

import (
	"context"
	"sync"
	"time"
)

// watchman knows the world outside the sessions: the network, the clock, and
// whether our account is logged on.
type watchman struct {
	cfg     Config
	changed func()
	asked   chan struct{} // a fresh look is wanted
	slept   chan struct{} // nobody could speak to us for a while

	mu       sync.Mutex // guards what follows
	known    bool       // agents had the time to speak to us, since our start and since we slept
	obstacle Reason
	reached  time.Time // when that was found out; zero: nobody looks
	sessions Sessions
}

const (
	watchEvery  = time.Minute      // sessions, and a network that was away
	reachTime   = 10 * time.Second // one look at the network
	reachAtMost = 5 * time.Second  // between two
)

func newWatchman(cfg Config, changed func()) *watchman {
	return &watchman{cfg: cfg, changed: changed, asked: make(chan struct{}, 1), slept: make(chan struct{}, 1)}
}

// now is what is known.
func (w *watchman) now() surroundings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return surroundings{
		platform: w.cfg.Platform, ours: identity{name: w.cfg.Account, sid: w.cfg.SID, host: w.cfg.Host},
		known: w.known, obstacle: w.obstacle, reached: w.reached, sessions: w.sessions,
	}
}

// look has the world looked at again soon.
func (w *watchman) look() { poke(w.asked) }

// sleep says that time passed in which nobody could speak to us: the computer
// slept, or its clock was set.
func (w *watchman) sleep() {
	w.settle(false)
	poke(w.slept)
}

func (w *watchman) settle(known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = known
}

// poke leaves a signal in a channel that holds one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one already
	}
}

func (w *watchman) run(ctx context.Context) {
	settled := time.NewTimer(w.cfg.Limits.AgentAbsent)
	defer settled.Stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	w.lookAtSessions(ctx)
	if w.cfg.Reach != nil {
		w.found(ReasonNone) // who waits for a look waits for a real one
	}
	var again <-chan time.Time // when the network may be looked at again
	var reached time.Time
	network := func() {
		if wait := reachAtMost - time.Since(reached); w.cfg.Reach == nil || again != nil {
			return
		} else if !reached.IsZero() && wait > 0 {
			again = time.After(wait)
			return
		}
		w.lookAtNetwork(ctx)
		reached = time.Now()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-settled.C:
			w.settle(true)
		case <-w.slept:
			settled.Reset(w.cfg.Limits.AgentAbsent)
		case <-tick.C:
			w.lookAtSessions(ctx)
			if w.now().obstacle != ReasonNone {
				network()
			}
		case <-w.asked:
			w.lookAtSessions(ctx)
			network()
		case <-again:
			again, reached = nil, time.Time{}
			network()
		}
		w.changed()
	}
}

func (w *watchman) lookAtSessions(ctx context.Context) {
	if w.cfg.Sessions == nil {
		return
	}
	sessions := w.cfg.Sessions(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = sessions
}

func (w *watchman) lookAtNetwork(ctx context.Context) {
	look, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	if obstacle := w.cfg.Reach(look); ctx.Err() == nil { // else it says that we stop
		w.found(obstacle)
	}
}

// found notes what is in the way of every renewal.
func (w *watchman) found(obstacle Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.obstacle, w.reached = obstacle, wallNow()
}
