package agent_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/agent"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

const target = "archive"

// world is an adapter and, unless it was stopped, an agent over a scripted
// desktop, in a bubble of fake time.
type world struct {
	t       *testing.T
	dir     string
	desk    *desktop.Scripted
	adapter *mapiadapter.Adapter
	target  mapiadapter.Target
	config  mapiadapter.Config // of the broker's next start
	probe   agent.Probe        // of the agent's next start

	mu    sync.Mutex // guards what follows, and adapter
	told  []mapiadapter.Notice
	ended []mapiadapter.Renewal

	stopBroker, stopAgent func()
}

// inWorld runs a test in a bubble. The desktop is an ordinary one until the test
// changes it.
func inWorld(t *testing.T, policy mapiadapter.Policy, test func(w *world)) {
	t.Helper()
	inScript(t, desktop.Script{}, func(w *world) { w.target.Policy = policy }, test)
}

// inScript runs a test in a bubble, over this desktop; before changes the world
// before anything runs.
func inScript(t *testing.T, script desktop.Script, before, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), desk: desktop.NewScripted(script, nil)}
		w.target = mapiadapter.Target{Name: target, Profile: "Outlook", Mode: "cached", Policy: mapiadapter.Nudge, Notice: true}
		w.config = mapiadapter.Config{
			Dir: w.dir, Limits: mapiadapter.DefaultLimits(), Log: quiet(), Host: "DESKTOP", Account: `DESKTOP\robot`, Tell: w.tell, Renewed: w.renewed,
		}
		if before != nil {
			before(w)
		}
		w.startBroker()
		w.startAgent()
		test(w)
		w.stopAgent()
		w.stopBroker()
		if v := w.desk.Violations(); len(v) > 0 {
			t.Errorf("what must never be done was tried: %+v", v)
		}
	})
}

func (w *world) tell(n mapiadapter.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, n)
}

func (w *world) renewed(r mapiadapter.Renewal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, r)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (w *world) startBroker() {
	a := mapiadapter.New(w.config)
	if err := a.Configure([]mapiadapter.Target{w.target}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) })
	w.mu.Lock()
	w.adapter = a
	w.mu.Unlock()
	w.stopBroker = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := a.Close(); err != nil {
			w.t.Error(err)
		}
	})
	synctest.Wait()
}

// link is the agent's way to the broker that runs at the moment.
type link struct{ w *world }

func (l link) Sync(ctx context.Context, r mapiadapter.Report, wait time.Duration) (mapiadapter.Orders, error) {
	l.w.mu.Lock()
	a := l.w.adapter
	l.w.mu.Unlock()
	return a.Sync(ctx, r, mapiadapter.From{Wait: wait})
}

func (w *world) startAgent() {
	ctx, cancel := context.WithCancel(w.t.Context())
	a := agent.New(agent.Config{Desktop: w.desk, Link: link{w}, Probe: w.probe, Version: "test", Log: quiet()})
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) })
	w.stopAgent = sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// after lets time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) view() mapiadapter.View {
	w.t.Helper()
	v, err := w.adapter.Target(target)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// is checks where the target stands.
func (w *world) is(phase mapiadapter.Phase, reason mapiadapter.Reason, freshness mapiadapter.Freshness) mapiadapter.View {
	w.t.Helper()
	v := w.view()
	if v.Phase != phase || v.Reason != reason || v.Freshness != freshness {
		entries, _ := w.adapter.History(target, 8)
		for _, e := range entries {
			w.t.Logf("%s %-12s %s -> %s %s %s %s %s", e.On.Format(time.TimeOnly), e.Event, e.From, e.To, e.Reason, e.Cause, e.Attempt, e.Action)
		}
		w.t.Fatalf("the target is %s (%s), %s; want %s (%s), %s", v.Phase, v.Reason, v.Freshness, phase, reason, freshness)
	}
	return v
}

func (w *world) report(hr uint32) {
	w.t.Helper()
	if _, err := w.adapter.Report(w.t.Context(), target, mapiadapter.ConsumerReport{HResult: hr, OK: hr == 0}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func TestDueTriggerProof(t *testing.T) {
	inWorld(t, mapiadapter.Nudge, func(w *world) {
		w.after(2 * time.Minute)
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		if n := w.desk.Starts(); n != 1 {
			t.Fatalf("Outlook was started %d times for the first proof", n)
		}
		w.after(10 * time.Hour)
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		if starts, sends := w.desk.Starts(), w.desk.Sends(); starts != 1 || sends != 1 {
			t.Fatalf("%d starts and %d sends after the access became due once", starts, sends)
		}
		var numbers []int
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, n := range w.told {
			numbers = append(numbers, n.Number)
		}
		if want := []int{110, 120, 130, 110, 120, 130}; !slices.Equal(numbers, want) {
			t.Errorf("told %v, want %v", numbers, want)
		}
		if len(w.ended) != 2 || w.ended[0].Action != mapiadapter.ActionStart || w.ended[1].Action != mapiadapter.ActionSend || w.ended[1].Proof != mapiadapter.ProofEvidence {
			t.Errorf("renewals: %+v", w.ended)
		}
	})
}

// Two hundred calls at once are one trigger.
func TestEnsureJoins(t *testing.T) {
	inWorld(t, mapiadapter.Nudge, func(w *world) {
		w.after(2 * time.Minute)
		w.report(0)
		w.after(time.Hour)
		w.report(0x8004011D)
		w.after(20 * time.Minute)
		sends := w.desk.Sends()
		w.report(0x8004011D)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				v, err := w.adapter.Ensure(w.t.Context(), target, false, time.Minute)
				if err != nil || v.Freshness != mapiadapter.Fresh {
					t.Errorf("%s %v", v.Freshness, err)
				}
			})
		}
		wg.Wait()
		if n := w.desk.Sends() - sends; n != 1 {
			t.Errorf("%d triggers for 200 calls", n)
		}
	})
}

func TestAgentDiesAndReturns(t *testing.T) {
	inWorld(t, mapiadapter.Nudge, func(w *world) {
		w.after(2 * time.Minute)
		w.stopAgent()
		w.after(40 * time.Second) // it had said that it would look in 30 s
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		w.after(36 * time.Second)
		w.is(mapiadapter.WaitAgent, "", mapiadapter.Unknown)
		w.startAgent()
		w.after(time.Minute)
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		if n := w.desk.Starts() + w.desk.Sends(); n != 1 {
			t.Errorf("the loss of the agent did something to Outlook (%d)", n)
		}
	})
}

func TestBrokerRestarts(t *testing.T) {
	inWorld(t, mapiadapter.Nudge, func(w *world) {
		w.after(2 * time.Minute)
		w.report(0x8004011D)
		w.after(time.Hour)
		w.stopBroker()
		w.after(time.Minute)
		w.startBroker()
		w.after(2 * time.Minute)
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		if n := w.desk.Starts(); n != 1 {
			t.Errorf("%d starts", n)
		}
		if _, err := os.Stat(filepath.Join(w.dir, target+".jsonl")); err != nil {
			t.Error(err)
		}
	})
}
