package mapiadapter

import (
	"context"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// show publishes the state.
func (r *runner) show() {
	r.shown.Store(&snapshot{target: r.target, state: r.state.clone(), failing: r.failing})
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *runner) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// settle waits while an attempt is being made, for at most wait.
func (r *runner) settle(ctx context.Context, v View, wait time.Duration) View {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for v.Phase.running() {
		changed := r.change()
		if v = r.view(); !v.Phase.running() {
			break
		}
		select {
		case <-changed:
		case <-r.ended:
			return r.view()
		case <-ctx.Done():
			return r.view()
		}
	}
	return v
}

// aim takes other settings over. What was to be done by the old ones is not.
func (r *runner) aim(t Target) {
	if r.target.Profile != t.Profile || r.target.Mode != t.Mode {
		r.a.agents.forget(r.name)
	}
	r.target = t
	r.show()
}

// retarget puts changed settings in force. With an error they are, and nothing is
// done.
func (r *runner) retarget(t Target) error {
	r.a.mu.Lock()
	ended := r.ended
	if ended == nil {
		r.aim(t)
	}
	r.a.mu.Unlock()
	if ended == nil {
		return nil
	}
	q := request{event: Event{Kind: EventTick}, target: &t, done: make(chan error, 1)}
	select {
	case r.inbox <- q:
		return <-q.done
	case <-ended:
		r.aim(t)
		return nil
	}
}

// end stops a target that is not configured any more.
func (r *runner) end() error {
	r.a.mu.Lock()
	cancel, ended := r.cancel, r.ended
	r.a.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
	r.a.agents.forget(r.name)
	return r.close()
}

func (r *runner) close() error {
	if l := r.ledger.Load(); l != nil {
		return l.Close()
	}
	return nil
}

func (r *runner) history(n int) ([]Entry, error) {
	if l := r.ledger.Load(); l != nil {
		return l.Tail(n)
	}
	return nil, nil
}

// place is who and where, for sentences.
func (r *runner) place() place {
	t, ours := r.shown.Load().target, r.a.around.now().ours
	p := place{host: ours.host, ours: ours.name, account: t.Account, profile: t.Profile, target: t.Name}
	if p.account == "" || isSID(p.account) && !ours.surelyNot(p.account) {
		p.account = ours.name
	}
	return p
}

// view is what is true now.
func (r *runner) view() View {
	snap, agent, now, l := r.shown.Load(), r.a.agents.best(), wallNow(), r.a.cfg.Limits
	s, p := snap.state, r.place()
	v := View{
		Target: snap.target, Phase: s.Phase, Reason: s.Reason, Since: s.Since, Freshness: freshnessOf(s, l, now),
		LastProof: s.LastProof, Proof: s.Proof, Lifetime: s.Lifetime, NextCheck: NextCheck(s, l, now), Failures: s.Failures,
		StartsNow: l.startsLeft(s, now), NextStart: l.nextStart(s, now), HResult: s.HResult, Agent: r.agentView(snap.target, agent),
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
	v.Message, v.Action = sentencesOf(v, p)
	sight := sightOf(snap.target, r.a.around.now(), agent)
	v.Obstacle = obstacleOf(Input{Target: v.Target, Limits: l, Sight: sight}, s, p, now)
	var facts *desktop.Facts
	if agent != nil && agent.sees(v.Target) {
		facts = &agent.report.Facts
	}
	v.Warnings = warningsOf(v.Target, s, l, facts, p, now)
	if snap.failing && s.Reason != ReasonLedger {
		v.Warnings = append([]string{p.fill(unwritten)}, v.Warnings...)
	}
	return v
}

// unwritten is the warning of a ledger that does not take entries.
const unwritten = "The ledger of {target} on {host} cannot be written, so nothing is done for {account}; free space on its disk, or mend what the broker's log says."

func (r *runner) agentView(t Target, agent *seenAgent) AgentView {
	v := AgentView{Host: r.a.cfg.Host, Account: r.a.cfg.Account}
	if agent == nil {
		return v
	}
	f := agent.report.Facts
	v.Present, v.InBroker, v.Info, v.SeenOn = true, agent.inBroker, agent.report.Agent, agent.on.Round(0)
	v.Account, v.Session, v.Outlook, v.Mode = f.Account, f.Session, f.Installation, f.View.Mode
	v.Running = runningOf(t, f)
	return v
}
