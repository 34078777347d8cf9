package mapiadapter

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// seenAgent is an agent as it was last heard of. It does not change.
type seenAgent struct {
	report   Report
	looked   time.Time // when what it reports was seen
	on       time.Time // when it was heard of, by the monotonic clock too
	inBroker bool
	asked    []string // the services that it looked for
}

// sessionOf tells sessions apart: their IDs are used again, logons are not.
func sessionOf(f desktop.Facts) string { return fmt.Sprint(f.Session.ID, " ", f.Session.LogonID) }

// process tells agents of one session apart, where one came after another.
type process struct {
	pid     int
	started int64
}

// sees reports whether all of a target was looked at.
func (s *seenAgent) sees(t Target) bool {
	return t.Service == "" || slices.Contains(s.asked, t.Service)
}

func processOf(r Report) process { return process{r.Agent.PID, r.Agent.StartedOn.UnixNano()} }

// order is work for the agent of a session.
type order struct {
	Work
	session string
	taken   bool
	by      process // that took it: to others it is not given, as it may have been done
}

// agents are the agents that speak to us, and the work they are to do. It is
// safe for concurrent use.
type agents struct {
	absent time.Duration // an agent not heard of for this long is gone

	mu     sync.Mutex
	seen   map[string]*seenAgent // by session
	told   map[string]teller     // by session: what its agent was told to look for
	orders []*order
	look   time.Time     // what was seen before is too old
	wake   chan struct{} // closed and replaced when waiting agents should ask again
}

// teller is the agent of a session, and the services that it knows of.
type teller struct {
	process  process
	services []string
}

// lateResult is how long after its time an order may still be answered.
const lateResult = 5 * time.Minute

func newAgents(absent time.Duration) *agents {
	return &agents{absent: absent, seen: map[string]*seenAgent{}, told: map[string]teller{}, wake: make(chan struct{})}
}

// hear takes a report.
func (a *agents) hear(r Report, inBroker bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for session, other := range a.seen {
		if time.Since(other.on) >= a.absent {
			delete(a.seen, session)
			delete(a.told, session)
		}
	}
	s := &seenAgent{report: r, on: time.Now(), inBroker: inBroker}
	if s.looked = wallNow(); !r.Facts.SeenOn.IsZero() {
		s.looked = minTime(s.looked, r.Facts.SeenOn.Round(0))
	}
	session := sessionOf(r.Facts)
	if told := a.told[session]; told.process == processOf(r) {
		s.asked = told.services
	}
	a.seen[session] = s
}

// best is the agent to work with: one that is there, if possible in the session
// where Outlook runs, else in an active one, else in the oldest. nil where none
// is there.
func (a *agents) best() *seenAgent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var best *seenAgent
	for _, s := range a.seen {
		if time.Since(s.on) < a.absent && (best == nil || s.before(best)) {
			best = s
		}
	}
	return best
}

// patience is how long it takes until the agent to work with is gone, should it
// keep silent.
func (a *agents) patience() time.Duration {
	if s := a.best(); s != nil {
		return a.absent - time.Since(s.on)
	}
	return math.MaxInt64
}

// before orders agents by how well we can work with them. It is the same each
// time, so that nobody is taken for a new logon who only spoke last.
func (s *seenAgent) before(other *seenAgent) bool {
	if a, b := s.rank(), other.rank(); a != b {
		return a > b
	}
	a, b := s.report.Facts.Session, other.report.Facts.Session
	if !a.LogonOn.Equal(b.LogonOn) {
		return a.LogonOn.Before(b.LogonOn)
	}
	return sessionOf(s.report.Facts) < sessionOf(other.report.Facts)
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

// give leaves work for the agent of a session, and wakes it.
func (a *agents) give(session string, w Work) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prune()
	a.orders = append(a.orders, &order{Work: w, session: session})
	a.stir()
}

// withdraw takes back what an attempt of a target had to be done to Outlook.
func (a *agents) withdraw(target string) {
	a.drop(func(o *order) bool { return o.Target == target && (o.Kind == WorkStart || o.Kind == WorkSend) })
}

// forget takes back all work of a target.
func (a *agents) forget(target string) {
	a.drop(func(o *order) bool { return o.Target == target })
}

func (a *agents) drop(which func(o *order) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orders = slices.DeleteFunc(a.orders, which)
}

// claim takes the order with this ID off the list, and reports whether there was
// one. Of an order for another session only that agent can tell.
func (a *agents) claim(id, session string) (ours, others bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.orders, func(o *order) bool { return o.ID == id })
	switch {
	case i < 0:
		return false, false
	case a.orders[i].session != session:
		return false, true
	}
	a.orders = slices.Delete(a.orders, i, i+1)
	return true, false
}

// lookNow has every agent look again: those that wait now, the others as soon as
// they speak of what they saw before.
func (a *agents) lookNow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.look = wallNow()
	a.stir()
}

// stir wakes all agents that wait. The mutex is held.
func (a *agents) stir() {
	close(a.wake)
	a.wake = make(chan struct{})
}

// prune forgets what nobody will answer any more. The mutex is held.
func (a *agents) prune() {
	now := wallNow()
	a.orders = slices.DeleteFunc(a.orders, func(o *order) bool { return now.Sub(o.NotAfter) > lateResult })
}

// turn is what there is for an agent.
type turn struct {
	work []Work          // all that it has not answered yet and that is not too late
	now  bool            // it should hear at once
	wake <-chan struct{} // closed when it should ask again
}

// take is what there is for the agent that reports, who is to look for these
// services from now on.
func (a *agents) take(r Report, services []string) turn {
	a.mu.Lock()
	defer a.mu.Unlock()
	session, by, now := sessionOf(r.Facts), processOf(r), wallNow()
	t := turn{wake: a.wake}
	if told := a.told[session]; told.process != by || !slices.Equal(told.services, services) {
		a.told[session] = teller{by, services}
		t.now = len(services) > 0
	}
	if a.look.After(now) {
		a.look = time.Time{} // the clock was set back
	}
	if seen := a.seen[session]; seen != nil && processOf(seen.report) == by && !a.look.IsZero() && !seen.looked.After(a.look) {
		t.now = true
	}
	a.prune()
	for _, o := range a.orders {
		if o.session != session || o.taken && o.by != by || now.After(o.NotAfter) {
			continue
		}
		t.now = t.now || !o.taken
		o.taken, o.by = true, by
		t.work = append(t.work, o.Work)
	}
	return t
}
