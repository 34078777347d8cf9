package mapiadapter

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/token"
)

func wantKind(t *testing.T, err error, want token.Kind) {
	t.Helper()
	if err == nil || token.KindOf(err) != want {
		t.Errorf("%v, not an error of kind %s", err, want.Code())
	}
}

// Nothing is done without the ledger having it; and when its disk has room again
// all goes on by itself, without anything that was said meanwhile being lost.
func TestFullDiskStopsEverything(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		g.breakDisk(true)
		wantKind(t, g.report(ConsumerReport{HResult: 0x8004011D}), token.KindStore)
		_, err := g.a.Pause(t.Context(), "crm")
		wantKind(t, err, token.KindStore)
		if got := h.stays(11 * time.Hour); len(got) > 0 { // and it becomes due
			t.Errorf("work without a ledger: %v", got)
		}
		v := g.is(Idle, ReasonNone)
		if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "cannot be written") || !strings.Contains(v.Warnings[0], rigAccount) {
			t.Errorf("warnings: %q", v.Warnings)
		}
		if got := g.numbers(); len(got) > 0 {
			t.Errorf("people were told %v", got)
		}
		if n := strings.Count(g.logged(), "cannot be written"); n != 1 {
			t.Errorf("the log says it %d times", n)
		}
		g.breakDisk(false)
		w := h.work(WorkStart)
		g.breakDisk(true)
		if _, err = h.sync(result(w, Done)); token.KindOf(err) != token.KindStore {
			t.Errorf("the result was not kept, and the agent was told %v", err)
		}
		g.breakDisk(false)
		if _, err = h.sync(result(w, Done)); err != nil {
			t.Error(err)
		}
		if v := g.is(Observe, ReasonNone); len(v.Warnings) > 0 {
			t.Errorf("warnings: %q", v.Warnings)
		}
		g.silent()
	})
}

// A ledger that cannot be opened stops its target, until it can.
func TestLedgerThatCannotBeOpened(t *testing.T) {
	inRig(t, func(g *rig) {
		g.cfg.Dir = filepath.Join(g.cfg.Dir, "mapi")
		if err := os.WriteFile(g.cfg.Dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, g *rig) {
		h := g.hand(7, 1)
		if got := h.stays(10 * time.Minute); len(got) > 0 {
			t.Errorf("work without a ledger: %v", got)
		}
		if v := g.is(Unsupported, ReasonLedger); v.Message == "" || len(v.Warnings) > 0 {
			t.Errorf("%q %q", v.Message, v.Warnings)
		}
		_, err := g.a.Ensure(t.Context(), "crm", false, time.Minute)
		wantKind(t, err, token.KindStore)
		if entries, err := g.a.History("crm", 10); len(entries) > 0 || err != nil {
			t.Error(entries, err)
		}
		if err := os.Remove(g.cfg.Dir); err != nil {
			t.Fatal(err)
		}
		h.work(WorkStart)
		g.is(Trigger, ReasonNone)
	})
}

// Every line of the ledger has a state, and those before the last line of a step
// that from before it: who is killed between two lines has done nothing, and has
// forgotten nothing that was spent.
func TestKilledBetweenTwoLines(t *testing.T) {
	a := New(Config{Dir: t.TempDir(), Limits: DefaultLimits(), Log: discard()})
	r, err := newRunner(a, Target{Name: "crm"})
	if err != nil {
		t.Fatal(err)
	}
	r.state.Serial = 7
	next := r.state
	next.Phase, next.Serial, next.Starts = Observe, 9, []time.Time{noon}
	steps := []Step{{From: Idle, To: Precheck}, {From: Precheck, To: Trigger, Action: ActionStart}, {From: Trigger, To: Observe}}
	if err := r.keep(request{event: Event{Kind: EventTick}}, next, steps, noon); err != nil {
		t.Fatal(err)
	}
	all, err := r.history(10)
	if err = errors.Join(err, r.close()); err != nil || len(all) != 3 || all[1].Action != string(ActionStart) {
		t.Fatalf("%+v %v", all, err)
	}
	for i, e := range all {
		var s State
		if err := json.Unmarshal(e.State, &s); err != nil || (i < 2) != (s.Serial == 7 && s.Phase == Idle) {
			t.Errorf("line %d: %+v %v", i, s, err)
		}
	}
}

// The state of a newer broker may not be readable; what came before it is.
func TestStateThatCannotBeRead(t *testing.T) {
	l, err := OpenLedger(t.TempDir(), "crm")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if s := lastState(l); s.Phase != Idle {
		t.Errorf("a new ledger gives %+v", s)
	}
	for _, state := range []string{`{"phase":"backoff","serial":7}`, `{"phase":"idle","serial":"many"}`, ``} {
		if _, err := l.Append(Entry{State: []byte(state)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := lastState(l); s.Phase != Backoff || s.Serial != 7 {
		t.Errorf("%+v", s)
	}
}

// A restart with an agent that is well tells nobody anything, whatever the target
// was told to be before.
func TestRestartTellsNobodyAnything(t *testing.T) {
	service := func(account string) func(*desktop.Facts) {
		return func(f *desktop.Facts) { f.Services = map[string]desktop.Service{"Archive": {Account: account}} }
	}
	tests := map[string]struct {
		phase  Phase
		reason Reason
		facts  func(*desktop.Facts)
	}{
		"well":        {Idle, "", nil},
		"wrong":       {Unsupported, ReasonServiceAccount, service("LocalSystem")},
		"no Outlook":  {Unsupported, ReasonNoOutlook, func(f *desktop.Facts) { f.Installation.Path = "" }},
		"new Outlook": {Unsupported, ReasonNewOutlook, func(f *desktop.Facts) { f.Installation.NewInUse = true }},
		"a person":    {NeedsUser, ReasonWrongProfile, func(f *desktop.Facts) { runs(f); f.View.Profile = "Other" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(g *rig) { g.targets[0].Service = "Archive" }, func(t *testing.T, g *rig) {
				h := g.hand(7, 1).well()
				facts := tt.facts
				if h.facts = facts; facts == nil {
					h.facts = service(rigAccount)
				}
				if tt.phase != Idle {
					h.stays(time.Hour)
					g.refused()
					h.stays(time.Minute)
				}
				for range 3 {
					g.is(tt.phase, tt.reason)
					g.numbers()
					g.restart(time.Minute)
					first := h.facts
					h.facts = func(f *desktop.Facts) { // it does not know yet of which services it is asked
						if first(f); f.Services != nil {
							f.Services = nil
						}
					}
					g.after(30 * time.Second)
					if _, err := h.sync(); err != nil {
						t.Fatal(err)
					}
					h.facts = first
					h.stays(2 * time.Minute)
					if got := g.numbers(); len(got) > 0 {
						t.Errorf("people were told %v", got)
					}
				}
			})
		})
	}
}

// An agent has some time to speak up after a start; then its absence counts.
func TestAgentThatDoesNotComeBack(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		g.hand(7, 1).well()
		g.restart(time.Minute)
		g.after(70 * time.Second)
		if got := g.numbers(); len(got) > 0 {
			t.Errorf("told %v too soon", got)
		}
		g.after(2 * time.Minute)
		if got := g.numbers(); !slices.Equal(got, []int{noticeNoAgent}) {
			t.Errorf("told %v", got)
		}
		g.is(WaitAgent, ReasonNone)
	})
}

// While the computer sleeps nobody can speak to us.
func TestSleep(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		g.after(50 * time.Second)
		g.a.around.sleep()
		g.after(70 * time.Second)
		h.stays(time.Minute)
		if got := g.numbers(); len(got) > 0 {
			t.Errorf("told %v", got)
		}
		g.a.around.sleep()
		g.after(3 * time.Minute)
		g.is(WaitAgent, ReasonNone)
	})
}

// A target that is taken out of the configuration leaves no work, no request that
// hangs, and a ledger that the next one goes on with.
func TestTargetRemovedInFlight(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.triggered()
		ended := make(chan time.Duration, 1)
		go func(began time.Time) {
			_, _ = g.a.Ensure(t.Context(), "crm", false, time.Hour)
			ended <- time.Since(began)
		}(time.Now())
		synctest.Wait()
		removed, err := g.a.runner("crm")
		if err != nil {
			t.Fatal(err)
		}
		if err := g.a.Configure(nil); err != nil {
			t.Fatal(err)
		}
		if took := <-ended; took > 0 {
			t.Errorf("the request ended after %v", took)
		}
		o, err := h.sync(Result{ID: "crm/a1/1", Target: "crm", Kind: WorkStart, Outcome: Done})
		if err != nil || len(o.Work) > 0 {
			t.Errorf("%+v %v", o, err)
		}
		_, err = removed.ask(t.Context(), request{event: Event{Kind: EventPause}})
		wantKind(t, err, token.KindUnavailable)
		_, err = g.a.Target("crm")
		wantKind(t, err, token.KindNotFound)
		for _, call := range []func() error{
			func() error { return g.report(ConsumerReport{OK: true}) },
			func() error { _, err := g.a.Resume(t.Context(), "crm"); return err },
			func() error { _, err := g.a.History("crm", 1); return err },
		} {
			wantKind(t, call(), token.KindNotFound)
		}
		if err := g.a.Configure(g.targets); err != nil {
			t.Fatal(err)
		}
		if v := g.is(Observe, ReasonNone); v.StartsNow != 0 {
			t.Errorf("%d starts are left", v.StartsNow)
		}
	})
}

// Another profile is another access, and the same budget.
func TestProfileChanged(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.triggered()
		h.facts = func(f *desktop.Facts) { f.Profiles.Names = []string{"Other"} }
		g.a.agents.give("1 L", Work{ID: "p", Target: "crm", Kind: WorkProbe, NotAfter: time.Now().Add(time.Minute)})
		changed := g.targets[0]
		changed.Profile = "Other"
		if err := g.a.Configure([]Target{changed}); err != nil {
			t.Fatal(err)
		}
		if n := len(g.a.agents.orders); n > 0 {
			t.Errorf("%d orders for the old profile", n)
		}
		if v := g.view(); v.Profile != "Other" || v.Freshness != Unknown || !v.LastProof.IsZero() || v.StartsNow != 0 {
			t.Errorf("%+v", v)
		}
		if got := h.stays(2 * time.Minute); len(got) > 0 {
			t.Errorf("work %v", got)
		}
		g.is(Backoff, ReasonBudget)
		if w := g.later(h, 20*time.Minute); w.Profile != "Other" {
			t.Errorf("work for %q", w.Profile)
		}
	})
}

// later is the start that comes within d.
func (g *rig) later(h *hand, d time.Duration) Work {
	g.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Second) {
		o, err := h.sync()
		if err != nil {
			g.t.Fatal(err)
		}
		if len(o.Work) > 0 {
			return o.Work[0]
		}
	}
	g.t.Fatal("no work came")
	return Work{}
}

// Pause takes back what no agent has begun.
func TestPauseTakesBack(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.triggered()
		if v, err := g.a.Pause(t.Context(), "crm"); err != nil || v.Phase != Suspended {
			t.Error(v.Phase, err)
		}
		if got := h.stays(time.Minute); len(got) > 0 {
			t.Errorf("work %v", got)
		}
		g.restart(time.Hour)
		if got := h.stays(time.Hour); len(got) > 0 {
			t.Errorf("work %v", got)
		}
		if v, err := g.a.Resume(t.Context(), "crm"); err != nil || v.Phase == Suspended {
			t.Error(v.Phase, err)
		}
		h.work(WorkStart)
	})
}

// Whoever waits is answered when the broker stops; what comes after is refused.
func TestStopWhileOthersWait(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.triggered()
		ctx, cancel := context.WithCancel(t.Context()) // of the API, which stops first
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _, _ = g.a.Ensure(ctx, "crm", true, time.Hour) })
			wg.Go(func() { _, _ = g.a.Sync(ctx, h.rep, From{Wait: time.Hour}) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		began := time.Now()
		g.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v to stop", took)
		}
		g.start()
		h.wait = time.Hour // without the API's end too
		for range 5 {
			wg.Go(func() { _, _ = g.a.Ensure(t.Context(), "crm", true, time.Hour) })
		}
		synctest.Wait()
		a := g.a
		g.stop()
		wg.Wait()
		_, err := a.Ensure(t.Context(), "crm", false, 0)
		wantKind(t, err, token.KindNotFound)
	})
}

// An Adapter that does not run shows what it knows, and changes nothing.
func TestWithoutRun(t *testing.T) {
	a := New(Config{Dir: t.TempDir(), Limits: DefaultLimits(), Log: discard()})
	select {
	case <-a.Wanted():
		t.Error("an agent is wanted, and there is no target")
	default:
	}
	targets := []Target{{Name: "b", Profile: "P"}, {Name: "a", Profile: "Q"}}
	if err := a.Configure(targets); err != nil {
		t.Fatal(err)
	}
	<-a.Wanted()
	targets[0].Profile = "R"
	if err := a.Configure(targets); err != nil {
		t.Fatal(err)
	}
	if all := a.Targets(); len(all) != 2 || all[0].Name != "a" || all[1].Profile != "R" {
		t.Errorf("%+v", all)
	}
	_, err := a.Ensure(t.Context(), "a", false, 0)
	wantKind(t, err, token.KindUnavailable)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// A consumer that says all the time that it works does not fill the disk, nor
// does one that asks all the time.
func TestFloodOfWords(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		before := g.lines()
		for range 600 {
			if err := g.report(ConsumerReport{OK: true, Operation: "OpenMsgStore"}); err != nil {
				t.Fatal(err)
			}
			g.is(Idle, ReasonNone)
			time.Sleep(100 * time.Millisecond)
		}
		h.stays(time.Hour)
		if n := g.lines() - before; n < 1 || n > 3 {
			t.Errorf("%d lines", n)
		}
		h.triggered()
		before = g.lines()
		for range 600 {
			_, _ = g.a.Ensure(t.Context(), "crm", true, 0)
			_ = g.report(ConsumerReport{HResult: 0x8004011D})
		}
		if n := g.lines() - before; n > 3 {
			t.Errorf("%d lines in an attempt", n)
		}
	})
}

func (g *rig) lines() int {
	all, err := g.a.History("crm", 100000)
	if err != nil {
		g.t.Fatal(err)
	}
	return len(all)
}

// Settings change while everybody speaks; nothing hangs. Run it with -race.
func TestEverythingAtOnce(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		g.cfg.Dir = "" // not used any more
		two := append(slices.Clone(g.targets), Target{Name: "erp", Profile: "Q", Service: "ERP", Policy: Supervise})
		var wg sync.WaitGroup
		for i := range 4 {
			h := g.hand(i, uint32(i%2))
			wg.Go(func() {
				for range 50 {
					o, _ := h.sync()
					for _, w := range o.Work {
						_, _ = h.sync(result(w, []Outcome{Done, Failed, Refused, Declined}[i]))
					}
				}
			})
			wg.Go(func() {
				for n := range 50 {
					_ = g.report(ConsumerReport{OK: n%2 == 0, HResult: 0x8004011D})
					_, _ = g.a.Ensure(t.Context(), "erp", true, time.Second)
					_, _ = g.a.Resume(t.Context(), "crm")
					g.a.Targets()
				}
			})
		}
		wg.Go(func() {
			for n := range 60 {
				if err := g.a.Configure([][]Target{two, g.targets, nil}[n%3]); err != nil {
					t.Error(err)
				}
				time.Sleep(700 * time.Millisecond)
			}
		})
		wg.Wait()
		g.silent()
	})
}
