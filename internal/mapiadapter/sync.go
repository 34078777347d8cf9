package mapiadapter

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
	"github.com/m365-token-broker/broker/internal/token"
)

// From is where a report comes from.
type From struct {
	InBroker bool          // the agent is this process
	User     string        // SID at the other end of the connection; empty: not known
	Wait     time.Duration // how long the agent waits for work
}

// Sync takes an agent's report and answers with work for it: at once where there
// is any or a look is wanted, else when its wait is over, or ctx ends. After an
// error the agent is to give its results again.
func (a *Adapter) Sync(ctx context.Context, rep Report, from From) (Orders, error) {
	if err := a.admit(rep, from); err != nil {
		return Orders{}, err
	}
	a.agents.hear(rep, from.InBroker)
	for _, res := range rep.Results {
		if err := a.result(ctx, res, sessionOf(rep.Facts)); err != nil {
			return Orders{}, err
		}
	}
	a.stir()
	waiting, cancel := context.WithTimeout(ctx, from.Wait)
	defer cancel()
	for {
		services, busy := a.occupation()
		t := a.agents.take(rep, services)
		if !t.now {
			select {
			case <-t.wake:
				continue
			case <-waiting.Done():
			}
		}
		orders := Orders{Work: t.work, Services: services, LookEvery: a.cfg.Limits.LookQuiet}
		if busy {
			orders.LookEvery = a.cfg.Limits.LookBusy
		}
		return orders, nil
	}
}

// admit refuses agents of other accounts. The sentences go into the agent's log,
// so they name none.
func (a *Adapter) admit(rep Report, from From) error {
	ours := identity{name: a.cfg.Account, sid: a.cfg.SID, host: a.cfg.Host}
	switch f := rep.Facts; {
	case from.User != "" && !strings.EqualFold(from.User, f.SID):
		return token.NewError(token.KindDenied, "agent", "The report is of another account than the program that sent it; run broker agent in the session itself.")
	case f.SID != "" && ours.surelyNot(f.SID), ours.surelyNot(f.Account):
		return token.NewError(token.KindDenied, "agent", "This agent runs as another account than the broker; run broker agent as the account that the broker runs as.")
	}
	return nil
}

// occupation are the services that agents are to look for, and whether an attempt
// is being made.
func (a *Adapter) occupation() (services []string, busy bool) {
	for _, r := range a.byName() {
		snap := r.shown.Load()
		if s := snap.target.Service; s != "" && !slices.Contains(services, s) {
			services = append(services, s)
		}
		busy = busy || snap.state.Phase.running()
	}
	slices.Sort(services)
	return services, busy
}

// result takes what became of a work. One of a target that is gone, of another
// session's work, or that was heard before is nobody's; of an attempt there may
// also be one from before our start.
func (a *Adapter) result(ctx context.Context, res Result, session string) error {
	ours, others := a.agents.claim(res.ID, session)
	r, err := a.runner(res.Target)
	if gone := err != nil; gone || others || !ours && (res.Kind == WorkProbe || res.Kind == WorkNotice) {
		return nil //nolint:nilerr // whose target is gone must not say it again
	}
	q := request{event: Event{Kind: EventResult, Outcome: res.Outcome, Refusal: res.Reason, PID: res.PID}, work: res.ID, detail: string(res.Outcome)}
	if res.Reason != "" {
		q.detail += ": " + res.Reason
	}
	switch {
	case res.Kind == WorkNotice, res.Kind == WorkProbe && res.Outcome != Done:
		return nil // a probe that could not be run says nothing of the access
	case res.Kind == WorkProbe:
		q.event = Event{Kind: EventProbe, OK: mapiprobe.Classify(res.HResult) == mapiprobe.ClassOK, HResult: res.HResult, Class: classOf(res.HResult)}
		q.work = ""
	default:
		if parts := strings.Split(res.ID, "/"); len(parts) == 3 {
			q.event.Attempt = parts[1]
		}
	}
	return r.send(ctx, q)
}
