package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/agent"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

// patience is how long anything may take that another process does.
const patience = time.Minute

// scene is the adapter and the agent over the desktop of this Windows, with a
// stand-in for Outlook, in real time. Only the limits are shorter.
type scene struct {
	t       *testing.T
	outlook *outlooktest.Outlook
	calls   string // file with the COM members that were called
	dir     string // of the ledgers
	target  mapiadapter.Target
	limits  mapiadapter.Limits
	desk    desktop.Desktop

	adapter *mapiadapter.Adapter
	end     func() // of adapter and agent

	mu   sync.Mutex // guards said
	said strings.Builder
}

// quick are limits that end within seconds, in the proportions of the real ones.
func quick() mapiadapter.Limits {
	l := mapiadapter.DefaultLimits()
	const s = time.Second
	l.Look, l.LookBusy, l.LookQuiet, l.AgentAbsent = s, 200*time.Millisecond, 500*time.Millisecond, 20*s
	l.Precheck, l.Trigger, l.Observe, l.ObserveLogon = 15*s, 20*s, 8*s, 8*s
	l.HandOver, l.Disconnected, l.Asking, l.Gone = 4*s, 2*s, 500*time.Millisecond, 3*s
	l.SettleLogon, l.SettlePerson, l.Debounce = s, s, s
	l.BackoffFirst = time.Hour // a test that wants the next attempt says so
	l.BackoffMax = time.Hour
	l.Budget = []mapiadapter.Allowance{{Number: 1, In: 5 * s}, {Number: 8, In: time.Hour}}
	return l
}

// ordinary is an Outlook that connects and writes a token cache soon.
func ordinary() outlooktest.Knobs {
	return outlooktest.Knobs{
		COM:    &outlooktest.COM{Profile: "Outlook", Mode: 700},
		Writes: []outlooktest.Write{{Path: `Microsoft\OneAuth\account`, After: 300 * time.Millisecond}},
	}
}

// stage is a scene that has not begun: the test may change it before begin.
func stage(t *testing.T, setup outlooktest.Setup) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), calls: filepath.Join(t.TempDir(), "calls.txt"), limits: quick()}
	s.target = mapiadapter.Target{Name: target, Profile: "Outlook", Mode: "cached", Policy: mapiadapter.Nudge, Notice: true}
	if com := setup.Knobs.COM; com != nil {
		com.Log = s.calls
	}
	s.outlook = outlooktest.Plant(t, setup)
	return s
}

// begin starts adapter and agent, again after a stop.
func (s *scene) begin() {
	s.t.Helper()
	if s.desk == nil {
		desk, err := desktop.New(desktop.Config{LocalAppData: s.outlook.Local, Patience: 2 * time.Second})
		if err != nil {
			s.t.Fatal(err)
		}
		s.desk = steady{desk}
		if c, ok := desk.(io.Closer); ok {
			s.t.Cleanup(func() { _ = c.Close() })
		}
	}
	here, err := desktop.Here()
	if err != nil {
		s.t.Fatal(err)
	}
	a := mapiadapter.New(mapiadapter.Config{Dir: s.dir, Limits: s.limits, Log: s.log(), Host: here.Host, Account: here.Account})
	if err := a.Configure([]mapiadapter.Target{s.target}); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var broker, hand sync.WaitGroup
	broker.Go(func() { _ = a.Run(ctx) })
	hand.Go(func() {
		_ = agent.New(agent.Config{Desktop: s.desk, Link: direct{a}, Version: "test", Log: s.log()}).Run(ctx)
	})
	s.adapter = a
	s.end = sync.OnceFunc(func() {
		cancel()
		hand.Wait()
		broker.Wait()
		if err := a.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(s.end)
}

// steady is a desktop that tries a start once more where Wine 8 failed to make
// the process, as it does now and then while another one is being started.
type steady struct{ desktop.Desktop }

func (d steady) Start(ctx context.Context, profile string) (desktop.Process, error) {
	p, err := d.Desktop.Start(ctx, profile)
	if outlooktest.OnWine() && errors.Is(err, windows.ERROR_INTERNAL_ERROR) {
		p, err = d.Desktop.Start(ctx, profile)
	}
	return p, err
}

// direct is the way to an adapter in this process.
type direct struct{ *mapiadapter.Adapter }

func (d direct) Sync(ctx context.Context, r mapiadapter.Report, wait time.Duration) (mapiadapter.Orders, error) {
	return d.Adapter.Sync(ctx, r, mapiadapter.From{Wait: wait})
}

// until waits for something that another process or goroutine does.
func (s *scene) until(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.history()
			s.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (s *scene) view() mapiadapter.View {
	s.t.Helper()
	v, err := s.adapter.Target(target)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// reaches waits until the target stands there, and checks that what it says
// names this account and this host.
func (s *scene) reaches(phase mapiadapter.Phase, reason mapiadapter.Reason, freshness mapiadapter.Freshness) mapiadapter.View {
	s.t.Helper()
	var v mapiadapter.View
	s.until(string(phase)+" "+string(reason)+" "+string(freshness), func() bool {
		v = s.view()
		return v.Phase == phase && v.Reason == reason && v.Freshness == freshness
	})
	here, err := desktop.Here()
	if err != nil {
		s.t.Fatal(err)
	}
	person := phase == mapiadapter.NeedsUser || phase == mapiadapter.Unsupported || phase == mapiadapter.Suspended
	for name, text := range map[string]string{"message": v.Message, "action": v.Action} {
		if name == "action" && !person {
			if text != "" {
				s.t.Errorf("a person is told to act: %q", text)
			}
			continue
		}
		if !strings.Contains(text, here.Account) || !strings.Contains(text, here.Host) {
			s.t.Errorf("the %s does not name %s and %s: %q", name, here.Account, here.Host, text)
		}
	}
	return v
}

// stays checks that for a while, in which everything is looked at several times,
// the phase does not change.
func (s *scene) stays(phase mapiadapter.Phase, reason mapiadapter.Reason) {
	s.t.Helper()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if v := s.view(); v.Phase != phase || v.Reason != reason {
			s.history()
			s.t.Fatalf("the target went on to %s (%s)", v.Phase, v.Reason)
		}
	}
}

// ensure asks for access as a consumer does, by force, without waiting.
func (s *scene) ensure() {
	s.t.Helper()
	if _, err := s.adapter.Ensure(s.t.Context(), target, true, 0); err != nil {
		s.t.Fatal(err)
	}
}

// report is a consumer's error.
func (s *scene) report(hresult uint32) {
	s.t.Helper()
	c := mapiadapter.ConsumerReport{HResult: hresult, Operation: "OpenMsgStore"}
	if _, err := s.adapter.Report(s.t.Context(), target, c); err != nil {
		s.t.Fatal(err)
	}
}

// started checks that Outlook was started n times in all, each time with the
// fixed arguments and nothing else, and returns the starts.
func (s *scene) started(n int) []outlooktest.Start {
	s.t.Helper()
	classic := slices.DeleteFunc(s.outlook.Starts(s.t), func(o outlooktest.Start) bool { return o.New })
	if len(classic) != n {
		s.history()
		s.t.Fatalf("Outlook was started %d times, want %d: %+v", len(classic), n, classic)
	}
	for _, o := range classic {
		if want := []string{"/recycle", "/profile", s.target.Profile}; !slices.Equal(o.Args, want) {
			s.t.Errorf("Outlook was started with %q, want %q", o.Args, want)
		}
	}
	return classic
}

// state is the machine's whole memory, as the ledger has it.
func (s *scene) state() mapiadapter.State {
	s.t.Helper()
	var st mapiadapter.State
	last, err := s.adapter.History(target, 1)
	if err == nil && len(last) == 1 {
		err = json.Unmarshal(last[0].State, &st)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// called is how often a member of Outlook's object model was called.
func (s *scene) called(member string) int {
	s.t.Helper()
	text, err := os.ReadFile(s.calls)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	n := 0
	for m := range strings.FieldsSeq(string(text)) {
		if m == member {
			n++
		}
	}
	return n
}

// renew writes a token cache, as Office does when it has renewed.
func (s *scene) renew() {
	s.t.Helper()
	path := filepath.Join(s.outlook.Local, "Microsoft", "TokenBroker", "Cache", "account.tbres")
	if err := os.WriteFile(path, []byte("token"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// log is what adapter and agent say, which history shows.
func (s *scene) log() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

func (s *scene) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(line)
}

// history logs the end of the ledger and the log, for a test that fails.
func (s *scene) history() {
	s.t.Helper()
	s.mu.Lock()
	s.t.Log(s.said.String())
	s.mu.Unlock()
	entries, err := s.adapter.History(target, 12)
	if err != nil {
		s.t.Log(err)
	}
	for _, e := range entries {
		s.t.Logf("%s %-12s %s -> %s %s %s %s %s %s", e.On.Format("15:04:05.000"), e.Event, e.From, e.To, e.Reason, e.Cause, e.Attempt, e.Action, e.Detail)
	}
}
