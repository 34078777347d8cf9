package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// slowly is a start that takes its time, so that the broker can be killed
// meanwhile.
func slowly(after string) map[string]any {
	return map[string]any{"start": map[string]any{"does": "connects", "after": after}}
}

func doing(does string) map[string]any {
	return map[string]any{"start": map[string]any{"does": does, "after": "1s"}}
}

// asking is a person in the session who takes ten seconds to agree.
func asking() map[string]any {
	return map[string]any{"in_use": true, "notice": map[string]any{"answer": "ok", "after": "10s"}}
}

// kills are the stories in which the broker is killed: once in every phase.
func kills() []story {
	one := acts{starts: 1}
	open := map[string]any{"running": outlookProfile}
	nobody := map[string]any{"session": "none"}
	return []story{
		{"killed in idle", nil, true, killedInIdle},
		{"killed in precheck", nil, true, killedInPrecheck},
		{"killed in trigger, while the agent works on", asking(), true, killedInTrigger},
		{"killed in trigger, together with the agent", asking(), true, bothKilledInTrigger},
		{"killed in observe", slowly("10s"), true, killedInObserve},
		{"killed in needs_user", doing("asks_dialog"), true, rests{"needs_user", "dialog", one, http.StatusConflict, "mapi-user-action-required"}.tell},
		{"killed in backoff", doing("crashes"), true, rests{"backoff", "crashed", one, http.StatusServiceUnavailable, "mapi-backoff"}.tell},
		{"killed in unsupported", doing("hands_over"), true, rests{"unsupported", "new_outlook", one, http.StatusNotImplemented, "mapi-unsupported"}.tell},
		{"killed in wait_session", nobody, true, rests{"wait_session", "", acts{}, http.StatusServiceUnavailable, "mapi-no-session"}.tell},
		{"killed in wait_agent", nil, true, killedInWaitAgent},
		{"killed in suspended", nil, true, killedInSuspended},
		{"killed in session0_broken", open, true, killedInSession0},
	}
}

// memory is what a kill must not change.
type memory struct {
	before target
}

// killedIn waits for a phase, and kills the broker in it.
func (w *outlook) killedIn(m *memory, phase string, reason ...string) step {
	return func(ctx context.Context) (err error) {
		m.before, err = w.reaches(ctx, phase, reason...)
		w.kill()
		return err
	}
}

// holds checks that the ledger goes on where it was, and that no start was given
// back.
func (w *outlook) holds(m *memory) step {
	return func(ctx context.Context) error {
		t, err := w.target(ctx)
		if err != nil {
			return err
		}
		all, err := w.history(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(way(all), m.before.Phase) {
			return fmt.Errorf("the ledger forgot %s: %v", m.before.Phase, way(all))
		}
		for i, e := range all {
			if e.Seq != i+1 {
				return fmt.Errorf("entry %d of the ledger has the number %d", i+1, e.Seq)
			}
		}
		if t.Budget.Left > m.before.Budget.Left || t.Budget.Next.Before(m.before.Budget.Next) {
			return fmt.Errorf("the budget was refilled: %+v, before the kill %+v", t.Budget, m.before.Budget)
		}
		return nil
	}
}

// ends is fresh, after one start in all.
func (w *outlook) ends(m *memory) step {
	return func(ctx context.Context) error {
		return steps(ctx, w.is("fresh"), w.at("idle"), w.holds(m), w.did(acts{starts: 1}))
	}
}

// rests is a phase that lasts, and what a program is told in it.
type rests struct {
	phase, reason string
	did           acts
	status        int
	code          string
}

// tell kills the broker in the phase, and checks that it is the same afterwards,
// however often somebody asks.
func (r rests) tell(ctx context.Context, w *outlook) error {
	var m memory
	return steps(ctx, w.begin, w.killedIn(&m, r.phase, r.reason), w.serve, w.holds(&m), r.stays(w, &m))
}

// stays gives the broker the time to look at everything again, and asks it
// meanwhile.
func (r rests) stays(w *outlook, m *memory) step {
	return func(ctx context.Context) error {
		for range 8 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			if err := w.ensure(r.status, r.code)(ctx); err != nil {
				return err
			}
		}
		t, err := w.target(ctx)
		if err == nil && (t.Phase != r.phase || t.Reason != r.reason || t.Attempts != m.before.Attempts) {
			err = fmt.Errorf("the target is %v after %d failures, before the kill %v after %d", t, t.Attempts, m.before, m.before.Attempts)
		}
		if err != nil {
			return err
		}
		return steps(ctx, w.holds(m), w.did(r.did))
	}
}

func killedInIdle(ctx context.Context, w *outlook) error {
	var m memory
	return steps(ctx, w.begin, w.is("fresh"), w.killedIn(&m, "idle"), w.spent(&m), w.serve, w.heard, w.ends(&m))
}

// spent checks that the start has been counted.
func (*outlook) spent(m *memory) step {
	return func(context.Context) error {
		if m.before.Budget.Left != 0 {
			return fmt.Errorf("%d starts are left right after one", m.before.Budget.Left)
		}
		return nil
	}
}

// killedInPrecheck holds the precheck up by an agent that cannot look.
func killedInPrecheck(ctx context.Context, w *outlook) error {
	var m memory
	return steps(
		ctx,
		w.serve,
		w.mapi("pause"),
		w.startAgent,
		w.heard,
		func(context.Context) error { return scene(w).spoil() },
		func(ctx context.Context) error {
			_, err := w.call(ctx, http.MethodPost, "/v1/mapi/"+outlookTarget+"/resume", nil)
			return err
		},
		w.killedIn(&m, "precheck"),
		w.did(acts{}),
		func(context.Context) error { return scene(w).set(nil) },
		w.serve,
		w.holds(&m),
		w.ends(&m),
	)
}

// killedInTrigger has the agent do its work while there is no broker.
func killedInTrigger(ctx context.Context, w *outlook) error {
	var m memory
	return steps(ctx, w.begin, w.killedIn(&m, "trigger"), w.spent(&m), w.did(acts{}), w.startSeen, w.serve, w.holds(&m), w.ends(&m))
}

// startSeen waits until Outlook has been started.
func (w *outlook) startSeen(ctx context.Context) error {
	for {
		did, err := w.desk.acts()
		if err != nil || did.starts > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// bothKilledInTrigger loses the work: it has been paid for, and is not given
// again.
func bothKilledInTrigger(ctx context.Context, w *outlook) error {
	var m memory
	r := rests{"observe", "", acts{}, http.StatusAccepted, ""}
	return steps(
		ctx,
		w.begin,
		w.killedIn(&m, "trigger"),
		w.spent(&m),
		func(context.Context) error { w.agent.kill(); return nil },
		w.serve,
		w.startAgent,
		w.at("observe"),
		r.stays(w, &m),
	)
}

func killedInObserve(ctx context.Context, w *outlook) error {
	var m memory
	return steps(ctx, w.begin, w.killedIn(&m, "observe"), w.spent(&m), w.did(acts{starts: 1}), w.serve, w.holds(&m), w.ends(&m))
}

func killedInWaitAgent(ctx context.Context, w *outlook) error {
	var m memory
	r := rests{"wait_agent", "", acts{starts: 1}, http.StatusServiceUnavailable, "mapi-no-session"}
	return steps(
		ctx,
		w.begin,
		w.is("fresh"),
		func(context.Context) error { w.agent.kill(); return nil },
		w.killedIn(&m, "wait_agent"),
		w.serve,
		r.stays(w, &m),
		w.startAgent,
		w.ends(&m),
	)
}

func killedInSuspended(ctx context.Context, w *outlook) error {
	var m memory
	r := rests{"suspended", "paused", acts{starts: 1}, http.StatusServiceUnavailable, "mapi-suspended"}
	return steps(ctx, w.begin, w.is("fresh"), w.mapi("pause"), w.killedIn(&m, "suspended"), w.serve, w.holds(&m), r.stays(w, &m))
}

// killedInSession0 has the program refused right after each of three proofs. The
// first refusal has Outlook asked, unless Office renews before that.
func killedInSession0(ctx context.Context, w *outlook) error {
	var m memory
	r := rests{"session0_broken", "service_context", acts{}, http.StatusNotImplemented, "mapi-unsupported"}
	asked := func(context.Context) (err error) {
		if r.did, err = w.desk.acts(); err == nil && (r.did.starts != 0 || r.did.sends > 1) {
			err = fmt.Errorf("done to Outlook: %+v, want at most one send", r.did)
		}
		return err
	}
	stays := func(ctx context.Context) error { return r.stays(w, &m)(ctx) }
	refused := w.mapi("report", "--hresult", refusal)
	renews := func(context.Context) error { return w.desk.renew() }
	return steps(
		ctx,
		w.begin,
		w.is("fresh"),
		refused, renews, w.is("fresh"),
		refused, renews, w.is("fresh"),
		refused,
		w.killedIn(&m, r.phase),
		asked,
		w.serve,
		w.holds(&m),
		stays,
	)
}
