package mapiadapter

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// seenAgent is an agent as it was last heard of.
type seenAgent struct {
	report   Report
	on       time.Time
	inBroker bool
}

// keyOf tells agents apart: one per session.
func keyOf(f desktop.Facts) string { return fmt.Sprint(f.Session.ID, " ", f.Session.LogonID) }

// order is work that waits for its agent.
type order struct {
	Work
	agent string
	given bool // some answer carried it; it is repeated until its result comes
}

// agents are the agents that speak to us, and the work they are to do. It is
// safe for concurrent use.
type agents struct {
	absent time.Duration // an agent not heard of for this long is gone

	mu     sync.Mutex
	seen   map[string]*seenAgent
	orders []*order
	wake   chan struct{} // closed and replaced when a waiting agent should be answered
}

func newAgents(absent time.Duration) *agents {
	return &agents{absent: absent, seen: map[string]*seenAgent{}, wake: make(chan struct{})}
}

// hear takes a report. It returns what wakes the agent's wait early; that was
// made before the report is looked at, so nothing that follows from it is missed.
func (a *agents) hear(r Report, inBroker bool, now time.Time) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, other := range a.seen {
		if now.Sub(other.on) >= a.absent {
			delete(a.seen, key)
		}
	}
	a.seen[keyOf(r.Facts)] = &seenAgent{report: r, on: now, inBroker: inBroker}
	for _, res := range r.Results {
		a.orders = slices.DeleteFunc(a.orders, func(o *order) bool { return o.ID == res.ID })
	}
	return a.wake
}

// best is the agent to work with: one that is there, if possible in the session
// where Outlook runs, else in an active one. nil where none is there.
func (a *agents) best(now time.Time) *seenAgent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var best *seenAgent
	for _, s := range a.seen {
		if now.Sub(s.on) < a.absent && (best == nil || s.rank() > best.rank() || s.rank() == best.rank() && s.on.After(best.on)) {
			best = s
		}
	}
	return best
}

func (s *seenAgent) rank() int {
	f, rank := s.report.Facts, 0
	if slices.ContainsFunc(f.Processes, func(p desktop.Process) bool {
		return p.Product == desktop.ClassicOutlook && p.SessionID == f.Session.ID
	}) {
		rank += 2
	}
	if f.Session.State == desktop.SessionActive {
		rank++
	}
	return rank
}

// give leaves work for the agent with this key, and wakes it.
func (a *agents) give(key string, w Work) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orders = append(a.orders, &order{Work: w, agent: key})
	a.stir()
}

// lookNow has every agent look again at once.
func (a *agents) lookNow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stir()
}

func (a *agents) stir() {
	close(a.wake)
	a.wake = make(chan struct{})
}

// take is the work for the agent: all of it that is not too late, and whether
// any of it is new.
func (a *agents) take(key string, now time.Time) (work []Work, isNew bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orders = slices.DeleteFunc(a.orders, func(o *order) bool { return now.After(o.NotAfter) })
	for _, o := range a.orders {
		if o.agent == key {
			isNew = isNew || !o.given
			o.given = true
			work = append(work, o.Work)
		}
	}
	return work, isNew
}
