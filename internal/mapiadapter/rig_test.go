package mapiadapter

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// rig is an Adapter in a bubble of fake time, and what it told.
type rig struct {
	t       *testing.T
	cfg     Config
	targets []Target
	a       *Adapter
	stop    func()

	mu    sync.Mutex // guards what follows
	told  []Notice
	ended []Renewal
	log   bytes.Buffer
}

const (
	rigAccount = `HOST\robot`
	rigSID     = "S-1-5-21-1-2-3-1001"
	rigProfile = "Secret Profile"
)

// inRig runs a test over one target; change may be nil.
func inRig(t *testing.T, change func(*rig), test func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &rig{t: t, targets: []Target{{Name: "crm", Profile: rigProfile, Mode: "cached", Policy: Nudge}}}
		g.cfg = Config{
			Dir: t.TempDir(), Limits: DefaultLimits(), Host: "HOST", Account: rigAccount, SID: rigSID,
			Tell:    func(n Notice) { g.locked(func() { g.told = append(g.told, n) }) },
			Renewed: func(r Renewal) { g.locked(func() { g.ended = append(g.ended, r) }) },
			Log:     slog.New(slog.NewTextHandler(g, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		if change != nil {
			change(g)
		}
		g.start()
		defer func() { g.stop() }()
		test(t, g)
	})
}

func (g *rig) locked(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
}

// Write takes a line of the log.
func (g *rig) Write(p []byte) (n int, err error) {
	g.locked(func() { n, err = g.log.Write(p) })
	return n, err
}

func (g *rig) logged() (text string) {
	g.locked(func() { text = g.log.String() })
	return text
}

// numbers are what people were told since the last call.
func (g *rig) numbers() (all []int) {
	synctest.Wait()
	g.locked(func() {
		for _, n := range g.told {
			all = append(all, n.Number)
		}
		g.told = nil
	})
	return all
}

// start starts the broker, with what its ledgers say.
func (g *rig) start() {
	g.a = New(g.cfg)
	if err := g.a.Configure(g.targets); err != nil {
		g.t.Log(err)
	}
	ctx, cancel := context.WithCancel(g.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.a.Run(ctx) })
	g.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := g.a.Close(); err != nil {
			g.t.Error(err)
		}
	})
	synctest.Wait()
}

func (g *rig) restart(after time.Duration) {
	g.stop()
	time.Sleep(after)
	g.start()
}

func (g *rig) after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (g *rig) view() View {
	g.t.Helper()
	v, err := g.a.Target("crm")
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

func (g *rig) is(phase Phase, why Reason) View {
	g.t.Helper()
	synctest.Wait()
	v := g.view()
	if v.Phase != phase || v.Reason != why {
		g.t.Fatalf("the target is in %s(%s), not %s(%s)\n%s", v.Phase, v.Reason, phase, why, g.logged())
	}
	return v
}

func (g *rig) report(c ConsumerReport) error {
	_, err := g.a.Report(g.t.Context(), "crm", c)
	return err
}

// refused is a consumer's MAPI_E_FAILONEPROVIDER, long after all was well.
func (g *rig) refused() {
	g.t.Helper()
	if err := g.report(ConsumerReport{HResult: 0x8004011D}); err != nil {
		g.t.Fatal(err)
	}
}

// breakDisk has the target's ledger on a disk that is full, or mends it.
func (g *rig) breakDisk(full bool) {
	r, err := g.a.runner("crm")
	if err != nil {
		g.t.Fatal(err)
	}
	l := r.ledger.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f := l.file.(type) {
	case *faultyFile:
		f.room = map[bool]int{true: 0, false: -1}[full]
	default:
		l.file = &faultyFile{ledgerFile: f}
	}
}

// hand is an agent whose every word the test says.
type hand struct {
	g     *rig
	rep   Report
	facts func(*desktop.Facts) // of each look; nil: all is well, and Outlook does not run
	wait  time.Duration
}

func (g *rig) hand(pid int, session uint32) *hand {
	h := &hand{g: g, wait: time.Second}
	h.rep.Agent = AgentInfo{Version: "test", PID: pid, StartedOn: time.Now()}
	h.rep.Facts.Session = desktop.Session{ID: session, State: desktop.SessionActive, Locked: true, LogonID: "L", LogonOn: time.Now().Add(-time.Hour)}
	return h
}

// sync looks, and speaks to the broker.
func (h *hand) sync(results ...Result) (Orders, error) {
	s := h.rep.Facts.Session
	h.rep.Facts = wellFacts()
	h.rep.Facts.Session, h.rep.Facts.SeenOn = s, time.Now()
	if h.facts != nil {
		h.facts(&h.rep.Facts)
	}
	h.rep.Results = results
	return h.g.a.Sync(h.g.t.Context(), h.rep, From{User: rigSID, Wait: h.wait})
}

// work is what it is given, in one to ten syncs.
func (h *hand) work(kind WorkKind) Work {
	h.g.t.Helper()
	for range 10 {
		o, err := h.sync()
		if err != nil {
			h.g.t.Fatal(err)
		}
		if i := slices.IndexFunc(o.Work, func(w Work) bool { return w.Kind == kind }); i >= 0 {
			return o.Work[i]
		}
		time.Sleep(time.Second)
	}
	h.g.t.Fatalf("no work of kind %s came; %s", kind, h.g.logged())
	return Work{}
}

// stays syncs for a while, as an agent that is given nothing. It returns the
// kinds of what it was given all the same.
func (h *hand) stays(d time.Duration) (kinds []string) {
	h.g.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Second) {
		o, err := h.sync()
		if err != nil {
			h.g.t.Fatal(err)
		}
		for _, w := range o.Work {
			kinds = append(kinds, string(w.Kind))
		}
	}
	return kinds
}

// well has the target fresh, by the word of its consumer.
func (h *hand) well() *hand {
	h.g.t.Helper()
	if err := h.g.report(ConsumerReport{OK: true}); err != nil {
		h.g.t.Fatal(err)
	}
	h.stays(time.Minute)
	h.g.is(Idle, ReasonNone)
	h.g.numbers()
	return h
}

// triggered has a consumer refused after an hour, and work that nobody has yet.
func (h *hand) triggered() {
	h.g.t.Helper()
	h.stays(time.Hour)
	h.g.refused()
	time.Sleep(time.Second)
	wait := h.wait
	h.wait = 0
	if _, err := h.sync(); err != nil { // the look that the precheck waits for
		h.g.t.Fatal(err)
	}
	h.wait = wait
	h.g.is(Trigger, ReasonNone)
}

// wellFacts are a desktop on which nothing is wrong, and Outlook does not run.
func wellFacts() desktop.Facts {
	return desktop.Facts{
		Host: "HOST", Account: rigAccount, SID: rigSID, Session: desktop.Session{ID: 1, State: desktop.SessionActive},
		Installation: desktop.Installation{Path: `C:\OUTLOOK.EXE`, Bitness: desktop.X64},
		Profiles:     desktop.Profiles{Names: []string{rigProfile}},
	}
}

// runs is Outlook in the session, connected.
func runs(f *desktop.Facts) {
	f.Processes = []desktop.Process{{PID: 8, Product: desktop.ClassicOutlook, SessionID: f.Session.ID}}
	f.View = desktop.View{Asked: true, Profile: rigProfile, Mode: 700}
}

func result(w Work, o Outcome) Result {
	return Result{ID: w.ID, Target: w.Target, Kind: w.Kind, Outcome: o, On: time.Now()}
}

// silent checks that no line of the log names an account or a profile.
func (g *rig) silent() {
	g.t.Helper()
	for _, secret := range []string{"robot", rigProfile, rigSID} {
		if strings.Contains(g.logged(), secret) {
			g.t.Errorf("%q stands in the log:\n%s", secret, g.logged())
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
