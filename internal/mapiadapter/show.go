package mapiadapter

import (
	"context"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// show publishes the state.
func (r *runner) show(t Target) {
	r.shown.Store(&snapshot{target: t, state: r.state.clone()})
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *runner) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// settle waits while an attempt is being made, for at most wait.
func (r *runner) settle(ctx context.Context, v View, wait time.Duration) View {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for v.Phase.running() {
		changed := r.next()
		if v = r.view(); !v.Phase.running() {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r.view()
		}
	}
	return v
}

// stir has the machine look at the world again, soon.
func (r *runner) stir() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// retarget puts changed settings in force. The mutex of the Adapter is held.
func (r *runner) retarget(t Target) {
	if r.cancel == nil || r.ledger == nil {
		r.show(t)
		return
	}
	select {
	case r.inbox <- request{event: Event{Kind: EventTick}, target: &t}:
	case <-r.ended:
		r.show(t)
	}
}

// end stops a target that is not configured any more.
func (r *runner) end() error {
	if r.cancel != nil {
		r.cancel()
		<-r.ended
	}
	return r.close()
}

func (r *runner) close() error {
	if r.ledger == nil {
		return nil
	}
	return r.ledger.Close()
}

func (r *runner) history(n int) ([]Entry, error) {
	if r.ledger == nil {
		return nil, nil
	}
	return r.ledger.Tail(n)
}

func (r *runner) sight(t Target, now time.Time) Sight {
	return sightOf(t, r.a.surroundings(), r.a.agents.best(now))
}

// view is what is true now.
func (r *runner) view() View {
	snap, now, l := r.shown.Load(), wallNow(), r.a.cfg.Limits
	s := snap.state
	v := View{
		Target: snap.target, Phase: s.Phase, Reason: s.Reason, Since: s.Since, Freshness: freshnessOf(s, l, now),
		LastProof: s.LastProof, Proof: s.Proof, Lifetime: s.Lifetime, NextCheck: NextCheck(s, l, now), Failures: s.Failures,
		StartsNow: l.startsLeft(s, now), NextStart: l.nextStart(s, now), HResult: s.HResult, Agent: r.agentView(now),
	}
	if !s.LastProof.IsZero() {
		v.DueOn = l.dueOn(s)
	}
	if s.Phase == Backoff {
		v.Retry = s.Retry
	}
	for _, a := range l.Budget {
		v.StartsMax = max(v.StartsMax, a.Number)
	}
	p := place{host: r.a.cfg.Host, account: v.Account, profile: v.Profile, target: v.Name}
	if p.account == "" {
		p.account = r.a.cfg.Account
	}
	v.Message, v.Action = sentencesOf(v, p)
	v.Obstacle = obstacleOf(Input{Target: v.Target, Limits: l, Sight: r.sight(v.Target, now)}, s, p, now)
	v.Warnings = warningsOf(v.Target, s, l, r.facts(now), p, now)
	return v
}

// facts are what the agent saw last; nil where none is there.
func (r *runner) facts(now time.Time) *desktop.Facts {
	if agent := r.a.agents.best(now); agent != nil {
		return &agent.report.Facts
	}
	return nil
}

func (r *runner) agentView(now time.Time) AgentView {
	v := AgentView{Host: r.a.cfg.Host, Account: r.a.cfg.Account}
	agent := r.a.agents.best(now)
	if agent == nil {
		return v
	}
	f := agent.report.Facts
	v.Present, v.InBroker, v.Info, v.SeenOn = true, agent.inBroker, agent.report.Agent, agent.on
	v.Account, v.Session, v.Outlook, v.Mode = f.Account, f.Session, f.Installation, f.View.Mode
	v.Running = runningOf(r.shown.Load().target, f)
	return v
}

func compareNames(a, b string) int { return strings.Compare(a, b) }
