package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/agent"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// desk is a broker that a test plays: it repeats its work until it has the result,
// and keeps what it was told.
type desk struct {
	t     *testing.T
	world *desktop.Scripted

	mu      sync.Mutex // guards what follows
	work    []mapiadapter.Work
	orders  mapiadapter.Orders // without the work
	err     error              // the broker is away
	lost    int                // answers that do not arrive
	reports []mapiadapter.Report
	waits   []time.Duration
	results []mapiadapter.Result
	log     bytes.Buffer
	wake    chan struct{}
}

func (d *desk) Sync(ctx context.Context, r mapiadapter.Report, wait time.Duration) (mapiadapter.Orders, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return mapiadapter.Orders{}, d.err
	}
	d.reports, d.waits, d.results = append(d.reports, r), append(d.waits, wait), append(d.results, r.Results...)
	if d.lost > 0 {
		d.lost--
		return mapiadapter.Orders{}, errors.New("connection reset")
	}
	for _, res := range r.Results {
		d.work = slices.DeleteFunc(d.work, func(w mapiadapter.Work) bool { return w.ID == res.ID })
	}
	wake := d.wake
	d.mu.Unlock()
	select {
	case <-wake:
	case <-time.After(wait):
	case <-ctx.Done():
	}
	d.mu.Lock()
	o := d.orders
	o.Work = slices.Clone(d.work)
	return o, nil
}

// Write takes a line of the log.
func (d *desk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(p)
}

func (d *desk) locked(do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do()
}

// give has work for the agent now.
func (d *desk) give(work ...mapiadapter.Work) {
	d.locked(func() {
		for i := range work {
			work[i].Target = "crm"
			if work[i].NotAfter.IsZero() {
				work[i].NotAfter = time.Now().Add(90 * time.Second)
			}
		}
		d.work = append(d.work, work...)
		close(d.wake)
		d.wake = make(chan struct{})
	})
}

func (d *desk) after(t time.Duration) { time.Sleep(t); synctest.Wait() }

// told are the results so far, each in a few words.
func (d *desk) told() (all []string) {
	synctest.Wait()
	d.locked(func() {
		for _, r := range d.results {
			all = append(all, strings.TrimSpace(fmt.Sprint(r.ID, " ", r.Outcome, " ", r.Reason)))
			if r.On.IsZero() || r.Target != "crm" {
				d.t.Errorf("%+v", r)
			}
		}
	})
	return all
}

func (d *desk) wants(want ...string) {
	d.t.Helper()
	if got := d.told(); !slices.Equal(got, want) {
		d.t.Fatalf("told %q, not %q\n%s", got, want, &d.log)
	}
}

// inDesk runs an agent over a desktop in a bubble of fake time, until the test ends.
func inDesk(t *testing.T, script desktop.Script, change func(*agent.Config), test func(t *testing.T, d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		script.Profiles.Names = []string{"Secret Profile"}
		d := &desk{t: t, world: desktop.NewScripted(script, nil), wake: make(chan struct{})}
		d.orders.LookEvery = 30 * time.Second
		cfg := agent.Config{Desktop: d.world, Link: d, Version: "1.2", Log: slog.New(slog.NewTextHandler(d, nil))}
		if change != nil {
			change(&cfg)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := agent.New(cfg).Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		test(t, d)
		cancel()
		wg.Wait()
		for _, secret := range []string{"Secret", "robot", "S-1-5"} {
			if strings.Contains(d.log.String(), secret) {
				t.Errorf("%q stands in the log:\n%s", secret, &d.log)
			}
		}
	})
}

func start(id string) mapiadapter.Work {
	return mapiadapter.Work{ID: id, Kind: mapiadapter.WorkStart, Profile: "Secret Profile"}
}

func ask(id string) mapiadapter.Work {
	w := start(id)
	w.Ask, w.Text = true, "Outlook opens"
	return w
}

// It looks as often as it is told to, at what it is told to, and says who it is.
func TestLooks(t *testing.T) {
	script := desktop.Script{Services: map[string]desktop.Service{"Archive": {Account: "LocalSystem"}}}
	inDesk(t, script, nil, func(t *testing.T, d *desk) {
		d.locked(func() { d.orders.Services = []string{"Archive"} })
		d.after(5*time.Second + 10*time.Minute)
		d.locked(func() {
			if n := len(d.reports); n < 20 || n > 22 {
				t.Errorf("%d looks in 10 minutes", n)
			}
			if d.waits[0] != 5*time.Second || d.waits[1] != 30*time.Second {
				t.Errorf("waits %v", d.waits[:2])
			}
			first, second := d.reports[0], d.reports[1]
			if first.Agent != second.Agent || first.Agent.Version != "1.2" || first.Agent.PID == 0 || first.Agent.StartedOn.IsZero() {
				t.Errorf("%+v, %+v", first.Agent, second.Agent)
			}
			if len(first.Facts.Services) != 0 || len(second.Facts.Services) != 1 || second.Facts.SeenOn.IsZero() {
				t.Errorf("%+v", second.Facts)
			}
		})
	})
}

// A broker that answers at once for ever does not keep the machine busy.
func TestBrokerThatDoesNotWait(t *testing.T) {
	inDesk(t, desktop.Script{}, nil, func(t *testing.T, d *desk) {
		d.give(mapiadapter.Work{ID: "0", Kind: mapiadapter.WorkNotice, Text: "t"})
		d.locked(func() { d.orders.LookEvery = time.Nanosecond })
		d.after(time.Minute)
		d.locked(func() {
			if n := len(d.reports); n > 310 {
				t.Errorf("%d looks in a minute", n)
			}
		})
	})
}

// Each work is done once, however often it is given, and answered until an answer
// came through.
func TestDoesOnce(t *testing.T) {
	inDesk(t, desktop.Script{}, nil, func(t *testing.T, d *desk) {
		d.locked(func() { d.lost = 3 })
		d.give(start("1"), start("1"), mapiadapter.Work{ID: "2", Kind: mapiadapter.WorkNotice, Text: "t"})
		d.after(time.Minute)
		d.locked(func() { d.lost = 2 })
		d.after(time.Minute)
		if n := d.world.Starts(); n != 1 || len(d.world.Notices()) != 1 {
			t.Errorf("%d starts, %d notices", n, len(d.world.Notices()))
		}
		got := slices.Compact(slices.Sorted(slices.Values(d.told())))
		if !slices.Equal(got, []string{"1 done", "2 done"}) {
			t.Errorf("told %q", got)
		}
		if d.results[0].Kind == mapiadapter.WorkStart && d.results[0].PID == 0 {
			t.Errorf("%+v", d.results[0])
		}
		n := len(d.told())
		d.give(start("1"))
		d.after(time.Minute)
		if len(d.told()) != n || d.world.Starts() != 1 {
			t.Errorf("an old work was done again: %q", d.told())
		}
	})
}

// The result of a work comes soon, though the broker had time.
func TestTellsSoon(t *testing.T) {
	script := desktop.Script{Notice: desktop.NoticeScript{Answer: desktop.AnswerOK, After: 20 * time.Second}}
	inDesk(t, script, nil, func(_ *testing.T, d *desk) {
		d.give(ask("1"))
		d.after(20 * time.Second)
		d.wants()
		d.after(2 * time.Second)
		d.wants("1 done")
	})
}

func TestWhatBecomesOfWork(t *testing.T) {
	ok := desktop.NoticeScript{Answer: desktop.AnswerOK, After: 20 * time.Second}
	no := desktop.NoticeScript{Answer: desktop.AnswerNotNow, After: 20 * time.Second}
	late := ask("1")
	late.NotAfter = time.Date(2000, 1, 1, 0, 0, 10, 0, time.UTC)
	with := func(w mapiadapter.Work, change func(*mapiadapter.Work)) mapiadapter.Work { change(&w); return w }
	send := with(start("1"), func(w *mapiadapter.Work) { w.Kind = mapiadapter.WorkSend })
	tests := map[string]struct {
		script desktop.Script
		work   mapiadapter.Work
		want   string
		starts int
	}{
		"started":         {desktop.Script{}, start("1"), "1 done", 1},
		"ok":              {desktop.Script{Notice: ok}, ask("1"), "1 done", 1},
		"nobody answers":  {desktop.Script{}, ask("1"), "1 done", 1},
		"not now":         {desktop.Script{Notice: no}, ask("1"), "1 declined", 0},
		"too late":        {desktop.Script{Notice: ok}, late, "1 failed late", 0},
		"no Outlook":      {desktop.Script{NoOutlook: true}, start("1"), "1 refused no_outlook", 0},
		"does not start":  {desktop.Script{Start: desktop.StartScript{Does: desktop.Fails}}, start("1"), "1 failed failed", 0},
		"nothing to send": {desktop.Script{}, send, "1 refused not_running", 0},
		"no probe":        {desktop.Script{}, with(start("1"), func(w *mapiadapter.Work) { w.Kind = mapiadapter.WorkProbe }), "1 failed no_probe", 0},
		"what is that":    {desktop.Script{}, with(start("1"), func(w *mapiadapter.Work) { w.Kind = "quit" }), "1 failed unknown_work", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inDesk(t, tt.script, nil, func(t *testing.T, d *desk) {
				d.give(tt.work)
				d.after(70 * time.Second)
				d.wants(tt.want)
				if n := d.world.Starts(); n != tt.starts {
					t.Errorf("%d starts", n)
				}
			})
		})
	}
}

// A person may say pause while another is being asked.
func TestWorkThatIsNotWantedAnyMore(t *testing.T) {
	script := desktop.Script{Notice: desktop.NoticeScript{Answer: desktop.AnswerOK, After: 30 * time.Second}}
	inDesk(t, script, nil, func(t *testing.T, d *desk) {
		d.give(ask("1"))
		d.after(10 * time.Second)
		d.locked(func() { d.work = nil })
		d.after(time.Minute)
		d.wants("1 failed withdrawn")
		d.give(ask("2"))
		d.after(10 * time.Second)
		d.locked(func() { d.err = errors.New("away") }) // it wanted it when it last spoke
		d.after(time.Minute)
		if n := d.world.Starts(); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

// While the broker is away results are kept, and it is asked again ever more
// rarely; the log says so once.
func TestBrokerAway(t *testing.T) {
	inDesk(t, desktop.Script{}, nil, func(t *testing.T, d *desk) {
		d.give(start("1"))
		d.locked(func() { d.lost = 1000 })
		d.after(10 * time.Minute)
		d.locked(func() {
			if n := len(d.reports); n < 35 || n > 60 {
				t.Errorf("%d tries in ten minutes", n)
			}
			d.lost, d.results = 0, nil
		})
		d.after(20 * time.Second)
		d.wants("1 done")
		d.after(10 * time.Minute)
		d.wants("1 done")
		if log := d.log.String(); strings.Count(log, "cannot work") != 1 || strings.Count(log, "works again") != 1 {
			t.Error(log)
		}
	})
}

// What cannot be seen is not told: a broker that hears nothing knows nothing.
func TestSessionThatCannotBeSeen(t *testing.T) {
	inDesk(t, desktop.Script{}, nil, func(t *testing.T, d *desk) {
		d.after(time.Minute)
		d.world.SetSession(desktop.SeatNobody)
		d.after(20 * time.Second)
		n := len(d.reports)
		d.after(10 * time.Minute)
		d.locked(func() {
			if len(d.reports) > n+1 {
				t.Errorf("%d reports of nothing", len(d.reports)-n)
			}
		})
		d.world.SetSession(desktop.SeatActive)
		d.after(time.Minute)
		d.locked(func() {
			if len(d.reports) <= n+1 {
				t.Error("it does not come back")
			}
		})
	})
}

// Probes and starts come one after the other; a notice does not wait for them.
func TestOneThingAtATime(t *testing.T) {
	var busy, most int
	var mu sync.Mutex
	probe := func(_ context.Context, profile, mode string) (uint32, error) {
		mu.Lock()
		busy++
		most = max(most, busy)
		mu.Unlock()
		time.Sleep(40 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		busy--
		if profile != "Secret Profile" || mode != "cached" {
			return 0, errors.New("another one")
		}
		return 0x8004011D, nil
	}
	inDesk(t, desktop.Script{}, func(c *agent.Config) { c.Probe = probe }, func(t *testing.T, d *desk) {
		p := mapiadapter.Work{ID: "1", Kind: mapiadapter.WorkProbe, Profile: "Secret Profile", Mode: "cached"}
		q := p
		q.ID, q.Mode = "2", "online"
		d.give(p, q, mapiadapter.Work{ID: "3", Kind: mapiadapter.WorkNotice, Text: "t"})
		d.after(10 * time.Second)
		d.wants("3 done")
		d.after(80 * time.Second)
		got := d.told()
		slices.Sort(got)
		if !slices.Equal(got, []string{"1 done", "2 failed failed", "3 done"}) || most != 1 {
			t.Errorf("told %q; %d at a time", got, most)
		}
		d.locked(func() {
			for _, r := range d.results {
				if (r.HResult == 0x8004011D) != (r.ID == "1") {
					t.Errorf("%+v", r)
				}
			}
		})
	})
}

// A defect in what touches Outlook ends neither the agent nor the broker.
func TestPanicIsAFailure(t *testing.T) {
	panics := func(context.Context, string, string) (uint32, error) { panic("Secret") }
	inDesk(t, desktop.Script{}, func(c *agent.Config) { c.Probe = panics }, func(_ *testing.T, d *desk) {
		d.give(mapiadapter.Work{ID: "1", Kind: mapiadapter.WorkProbe})
		d.after(5 * time.Second)
		d.wants("1 failed panic")
		d.give(start("2"))
		d.after(5 * time.Second)
		d.wants("1 failed panic", "2 done")
	})
}

// It ends with its context, whatever it is doing, and waits for what it does.
func TestEndsWithItsWork(t *testing.T) {
	inDesk(t, desktop.Script{}, nil, func(t *testing.T, d *desk) {
		d.give(ask("1"))
		d.after(10 * time.Second)
		t.Cleanup(func() {
			if d.world.Starts() != 0 {
				t.Error("Outlook was started by an agent that was ending")
			}
		})
	})
}
