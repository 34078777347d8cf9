package mapiadapter

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/token"
)

// An agent that waits has its work at once, and its results are taken even where
// it does not wait at all.
func TestWorkComesAtOnce(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.stays(time.Hour)
		h.wait = 30 * time.Second
		began, looked := time.Now(), make(chan Orders, 1)
		go func() {
			o, _ := h.sync()
			looked <- o
		}()
		g.after(7 * time.Second)
		g.refused()
		o := <-looked
		if took := time.Since(began); took != 7*time.Second || o.LookEvery != g.cfg.Limits.LookBusy {
			t.Errorf("after %v: look every %v", took, o.LookEvery)
		}
		time.Sleep(time.Millisecond)
		if o, _ = h.sync(); time.Since(began) != 7*time.Second+time.Millisecond || len(o.Work) != 1 || o.Work[0].Kind != WorkStart {
			t.Fatalf("after %v: %+v", time.Since(began), o)
		}
		h.wait = 0
		old := result(o.Work[0], Failed)
		old.ID = strings.Join(append(strings.Split(old.ID, "/")[:2], "1"), "/") // the same attempt of another ledger
		if _, err := h.sync(old); err != nil {
			t.Fatal(err)
		}
		g.is(Trigger, ReasonNone)
		if _, err := h.sync(result(o.Work[0], Done)); err != nil {
			t.Fatal(err)
		}
		g.is(Observe, ReasonNone)
		g.silent()
	})
}

// A look that was begun before it was wanted is not the look that was wanted.
func TestLookThatIsTooOld(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.stays(time.Hour)
		old := time.Now()
		time.Sleep(3 * time.Second)
		g.refused()
		time.Sleep(time.Second)
		h.facts = func(f *desktop.Facts) { f.SeenOn = old }
		h.wait = 30 * time.Second
		if _, err := h.sync(); err != nil || time.Since(old) != 4*time.Second {
			t.Errorf("%v after %v: it is to look again at once", err, time.Since(old))
		}
		g.is(Precheck, ReasonNone)
		h.facts = nil
		h.work(WorkStart)
	})
}

// A result is taken once, from the agent that had the work.
func TestResultsAreTakenOnce(t *testing.T) {
	inRig(t, func(g *rig) { g.targets[0].Probe = true }, func(t *testing.T, g *rig) {
		h, other := g.hand(7, 1).well(), g.hand(8, 2)
		other.rep.Facts.Session.LogonOn = time.Now()
		h.stays(9*time.Hour + 36*time.Minute)
		w := h.work(WorkProbe)
		res := result(w, Done)
		res.HResult = 0x8004011D
		fails := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := g.state().ProbeFails; got != want {
				t.Fatalf("%d failures, not %d", got, want)
			}
		}
		for _, who := range []*hand{other, other, h, h, h} {
			if _, err := who.sync(res); err != nil {
				t.Fatal(err)
			}
			if who == other {
				fails(0)
			}
		}
		fails(1)
		g.restart(time.Second)
		if _, err := h.sync(res); err != nil {
			t.Fatal(err)
		}
		fails(1)
		res.Kind, res.Target = WorkNotice, "nobody's"
		if _, err := h.sync(res, Result{ID: "x", Target: "crm", Kind: WorkStart}); err != nil {
			t.Fatal(err)
		}
	})
}

func (g *rig) state() State {
	r, err := g.a.runner("crm")
	if err != nil {
		g.t.Fatal(err)
	}
	return r.shown.Load().state
}

// A result from before a restart still counts, once.
func TestResultAfterARestart(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.triggered()
		w := h.work(WorkStart)
		g.restart(time.Second)
		g.is(Observe, ReasonNone)
		res := result(w, Done)
		res.PID = 4711
		for range 2 {
			if o, err := h.sync(res); err != nil || len(o.Work) > 0 {
				t.Fatalf("%+v %v", o, err)
			}
		}
		synctest.Wait()
		if s := g.state(); s.OursPID != 4711 {
			t.Errorf("the result is lost: %+v", s.Attempt)
		}
		res.Outcome = Failed
		if _, err := h.sync(res); err != nil { // the second word on the same work
			t.Fatal(err)
		}
		g.is(Observe, ReasonNone)
	})
}

// Work that an agent took and did not answer is not given to the next one: it may
// have been done. What nobody took is.
func TestWorkOfADeadAgent(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.triggered()
		next := g.hand(8, 1)
		w := next.work(WorkStart)
		if again := next.work(WorkStart); again.ID != w.ID { // until it has answered: an answer may be lost
			t.Errorf("%s, then %s", w.ID, again.ID)
		}
		if got := g.hand(9, 1).stays(time.Minute); len(got) > 0 {
			t.Errorf("work was given twice: %v", got)
		}
		g.after(time.Minute)
		g.is(Backoff, ReasonNoAnswer)
	})
}

// Of two agents the one has the work in whose session Outlook runs, then the one
// in the active session, then the one that was there first: always the same.
func TestTwoAgents(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		a, b := g.hand(7, 1), g.hand(8, 2)
		a.rep.Facts.Session.LogonID, b.rep.Facts.Session.LogonID = "A", "B"
		a.rep.Facts.Session.LogonOn = time.Now()
		both := func(d time.Duration) {
			for range int(d / (10 * time.Second)) {
				b.stays(5 * time.Second)
				a.stays(5 * time.Second)
			}
		}
		best := func(want string) {
			t.Helper()
			for range 5 {
				both(20 * time.Second)
				if got := g.view().Agent.Session.LogonID; got != want {
					t.Errorf("the work is %s's, not %s's", got, want)
				}
			}
		}
		best("B")
		b.rep.Facts.Session.State = desktop.SessionDisconnected
		best("A")
		b.facts = runs
		best("B")
		if err := g.report(ConsumerReport{OK: true}); err != nil {
			t.Fatal(err)
		}
		both(time.Hour)
		g.refused()
		w := b.work(WorkSend)
		if got := a.stays(30 * time.Second); len(got) > 0 {
			t.Errorf("the other one was given %v", got)
		}
		if _, err := b.sync(result(w, Done)); err != nil {
			t.Fatal(err)
		}
		g.is(Observe, ReasonNone)
	})
}

// Agents of other accounts are refused, without a word of which accounts.
func TestAdmit(t *testing.T) {
	const other = "S-1-5-21-1-2-3-1002"
	tests := map[string]struct {
		config func(*Config)
		facts  func(*desktop.Facts)
		user   string
		ok     bool
	}{
		"ours":                     {user: rigSID, ok: true},
		"ours, in this process":    {ok: true},
		"another report":           {facts: func(f *desktop.Facts) { f.SID = other }, user: rigSID},
		"another program":          {user: other},
		"another account":          {facts: func(f *desktop.Facts) { f.SID = other }, user: other},
		"another account's name":   {config: func(c *Config) { c.SID = "" }, facts: func(f *desktop.Facts) { f.Account = `HOST\else` }},
		"another name of ours":     {facts: func(f *desktop.Facts) { f.Account = "robot@host.example" }, user: rigSID, ok: true},
		"nobody knows who we are":  {config: func(c *Config) { c.SID, c.Account = "", "" }, facts: func(f *desktop.Facts) { f.Account = `A\b` }, ok: true},
		"nobody knows who that is": {facts: func(f *desktop.Facts) { f.SID, f.Account = "", "" }, ok: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Limits: DefaultLimits(), Log: discard(), Account: rigAccount, SID: rigSID, Host: "HOST"}
			if tt.config != nil {
				tt.config(&cfg)
			}
			f := wellFacts()
			if tt.facts != nil {
				tt.facts(&f)
			}
			a := New(cfg)
			_, err := a.Sync(t.Context(), Report{Facts: f}, From{User: tt.user})
			switch {
			case tt.ok && err != nil:
				t.Error(err)
			case !tt.ok:
				wantKind(t, err, token.KindDenied)
				if a.agents.best() != nil {
					t.Error("it was heard all the same")
				}
			}
		})
	}
}

// Services are looked up for whoever asks, also when they change.
func TestServicesToLookFor(t *testing.T) {
	inRig(t, func(g *rig) { g.targets[0].Service = "B" }, func(t *testing.T, g *rig) {
		h := g.hand(7, 1)
		h.wait = time.Minute
		began := time.Now()
		o, err := h.sync()
		if err != nil || !slices.Equal(o.Services, []string{"B"}) || time.Since(began) > 0 {
			t.Fatalf("%v %v after %v", o.Services, err, time.Since(began))
		}
		go func() {
			time.Sleep(10 * time.Second)
			if err := g.a.Configure(append(slices.Clone(g.targets), Target{Name: "a", Profile: "Q", Service: "A"}, Target{Name: "b", Profile: "R", Service: "B"})); err != nil {
				t.Error(err)
			}
		}()
		h.facts = func(f *desktop.Facts) { f.Services = map[string]desktop.Service{"B": {Account: rigAccount}} }
		for range 5 { // some have work for it
			if o, err = h.sync(); len(o.Services) == 2 {
				break
			}
			time.Sleep(time.Second)
		}
		if err != nil || !slices.Equal(o.Services, []string{"A", "B"}) || time.Since(began) > 15*time.Second {
			t.Errorf("%v %v after %v", o.Services, err, time.Since(began))
		}
		h.stays(10 * time.Second)
		if s := g.a.agents.best(); !s.sees(g.targets[0]) {
			t.Error("it has not looked for the service")
		}
		if _, err := g.hand(8, 1).sync(); err != nil { // another agent in the same session
			t.Fatal(err)
		}
		if s := g.a.agents.best(); s.sees(g.targets[0]) {
			t.Error("it cannot have looked for the service")
		}
	})
}

func TestBrokerLooksAround(t *testing.T) {
	const s = time.Second
	var looks []time.Duration
	var began time.Time
	obstacle, sessions := ReasonNetwork, SessionsNone
	inRig(t, func(g *rig) {
		began = time.Now()
		g.cfg.Reach = func(ctx context.Context) Reason {
			var found Reason
			g.locked(func() { looks, found = append(looks, time.Since(began)), obstacle })
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > 10*s {
				t.Error("a look without an end")
			}
			time.Sleep(s)
			return found
		}
		g.cfg.Sessions = func(context.Context) (found Sessions) {
			g.locked(func() { found = sessions })
			return found
		}
	}, func(t *testing.T, g *rig) {
		g.after(5 * s)
		if len(looks) > 0 || g.a.around.now().reached.IsZero() || g.a.around.now().sessions != SessionsNone {
			t.Errorf("looks at %v; %+v", looks, g.a.around.now())
		}
		g.a.around.look()
		g.after(2 * s)
		g.a.around.look()
		g.a.around.look()
		g.after(30 * s)
		if want := []time.Duration{5 * s, 6*s + reachAtMost}; !slices.Equal(looks, want) || g.a.around.now().obstacle != ReasonNetwork {
			t.Errorf("looks at %v, not %v", looks, want)
		}
		g.after(60 * s) // while it is away it is looked at by itself
		g.locked(func() { obstacle, sessions = ReasonNone, SessionsSome })
		g.after(60 * s)
		if e := g.a.around.now(); e.obstacle != ReasonNone || e.sessions != SessionsSome {
			t.Errorf("%+v after %v", e, looks)
		}
		g.after(time.Hour)
		if len(looks) > 10 {
			t.Errorf("looks at %v, and hardly anybody asked", looks)
		}
		for i := range looks[1:] {
			if looks[i+1]-looks[i] < reachAtMost {
				t.Errorf("looks at %v", looks)
			}
		}
	})
}
