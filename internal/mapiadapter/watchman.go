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

	mu       sync.Mutex // guards what follows
	since    time.Time  // of our start
	obstacle Reason
	sessions Sessions
	asked    chan struct{} // a fresh look is wanted
}

const (
	watchEvery  = time.Minute      // sessions
	reachTime   = 10 * time.Second // one look at the network
	reachAtMost = 20 * time.Second // between two
)

// now is what is known.
func (w *watchman) now() surroundings {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := !w.since.IsZero() && wallNow().Sub(w.since) >= w.cfg.Limits.AgentAbsent
	return surroundings{known: known, obstacle: w.obstacle, sessions: w.sessions}
}

// look has the network looked at again soon.
func (w *watchman) look() {
	select {
	case w.wanted() <- struct{}{}:
	default:
	}
}

func (w *watchman) wanted() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		w.asked = make(chan struct{}, 1)
	}
	return w.asked
}

func (w *watchman) run(ctx context.Context) {
	w.mu.Lock()
	w.since = wallNow()
	w.mu.Unlock()
	settled := time.NewTimer(w.cfg.Limits.AgentAbsent)
	defer settled.Stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var reached time.Time
	w.lookAtSessions(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-settled.C:
		case <-tick.C:
			w.lookAtSessions(ctx)
		case <-w.wanted():
			w.lookAtSessions(ctx)
			if w.cfg.Reach != nil && time.Since(reached) >= reachAtMost {
				w.lookAtNetwork(ctx)
				reached = time.Now()
			}
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
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	obstacle := w.cfg.Reach(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.obstacle = obstacle
}
