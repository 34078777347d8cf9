package mapiadapter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// Config is what an Adapter needs. What may be nil says so.
type Config struct {
	Dir     string // of the ledgers; made where missing
	Limits  Limits
	Log     *slog.Logger
	Host    string // this machine, for sentences
	Account string // DOMAIN\user that the broker runs as; empty: not known
	SID     string // of that account; empty: not known
	// Platform is ReasonPlatform where this system has no Outlook.
	Platform Reason

	// Reach says whether Microsoft 365 can be reached and the clock is right:
	// ReasonNone, ReasonNetwork or ReasonClock. nil: nobody looks.
	Reach func(ctx context.Context) Reason
	// Sessions says whether our account has a session, for a broker that is a
	// service; nil: only an agent shows that.
	Sessions func(ctx context.Context) Sessions
	// Probe opens a profile by MAPI in our own logon, where that is not the agent's:
	// a broker that is a service sees what a consumer that is one would. It gives the
	// HRESULT; an error says that it could not be run. nil: there is no such logon.
	Probe func(ctx context.Context, profile, mode string) (hresult uint32, err error)
	// StartAgent starts the agent in our account's session; nil: we cannot.
	StartAgent func(ctx context.Context) error
	// Tell is told every change of phase, and reminders. It does not block, and
	// asks the Adapter nothing. nil: nobody.
	Tell func(n Notice)
	// Renewed is told of every attempt that ended, as Tell is.
	Renewed func(r Renewal)
}

// Adapter runs the machines of all targets. It is safe for concurrent use.
type Adapter struct {
	cfg    Config
	agents *agents
	around *watchman
	tasks  sync.WaitGroup // of Run

	probing chan struct{} // holds one value: who has it may probe; MAPI lets one logon in at a time

	configuring sync.Mutex // one Configure at a time

	mu      sync.Mutex // guards what follows; never held while a machine takes a step
	runners map[string]*runner
	running context.Context // of Run; nil before and after
	wanted  chan struct{}   // closed when there was a target
}

// New makes an Adapter without targets.
func New(cfg Config) *Adapter {
	a := &Adapter{cfg: cfg, agents: newAgents(cfg.Limits.AgentAbsent), runners: map[string]*runner{}, wanted: make(chan struct{}), probing: make(chan struct{}, 1)}
	a.around = newWatchman(cfg, a.stir)
	return a
}

// Configure puts these targets in the place of those before. A target whose
// ledger cannot be used stays, and does nothing until it can; the errors say why.
// It waits for the machines, so none of them may call it.
func (a *Adapter) Configure(targets []Target) error {
	a.configuring.Lock()
	defer a.configuring.Unlock()
	var errs []error
	old := a.byName()
	now := make(map[string]*runner, len(targets))
	for _, t := range targets {
		r, ok := old[t.Name]
		if !ok {
			var err error
			r, err = newRunner(a, t)
			errs = append(errs, err)
		}
		now[t.Name] = r
	}
	a.swap(now)
	for _, t := range targets {
		if r, ok := old[t.Name]; ok {
			errs = append(errs, r.retarget(t))
			delete(old, t.Name)
		}
	}
	for _, r := range old {
		errs = append(errs, r.end())
	}
	a.agents.lookNow() // at the services of the new ones
	return errors.Join(errs...)
}

// swap puts the runners in force, and runs those that are new.
func (a *Adapter) swap(runners map[string]*runner) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.runners
	a.runners = runners
	for name, r := range runners {
		if old[name] != r && a.running != nil {
			a.start(a.running, r)
		}
	}
	select {
	case <-a.wanted:
	default:
		if len(runners) > 0 {
			close(a.wanted)
		}
	}
}

// Wanted is closed as soon as there is a target: before that no agent need look.
func (a *Adapter) Wanted() <-chan struct{} { return a.wanted }

// start runs r until ctx, which is Run's, ends. The mutex is held.
func (a *Adapter) start(ctx context.Context, r *runner) {
	ctx, cancel := context.WithCancel(ctx)
	r.cancel, r.ended = cancel, make(chan struct{})
	a.tasks.Go(func() { r.run(ctx) })
}

// task does what may take its time. A machine calls it, while Run does.
func (a *Adapter) task(ctx context.Context, what string, do func()) {
	a.tasks.Go(func() {
		_ = lifecycle.Guard(ctx, a.cfg.Log, what, func() error { do(); return nil }) // the log has what panicked
	})
}

// Run keeps the machines going until ctx ends. It is called once.
func (a *Adapter) Run(ctx context.Context) error {
	a.mu.Lock()
	a.running = ctx
	for _, r := range a.runners {
		a.start(ctx, r)
	}
	a.mu.Unlock()
	a.around.run(ctx)
	a.mu.Lock()
	a.running = nil
	a.mu.Unlock()
	a.tasks.Wait()
	return nil
}

// Close closes the ledgers. Run has ended.
func (a *Adapter) Close() error {
	a.configuring.Lock()
	defer a.configuring.Unlock()
	var errs []error
	for _, r := range a.byName() {
		errs = append(errs, r.close())
	}
	a.swap(nil)
	return errors.Join(errs...)
}

// Wake has every target look at the world again, soon: somebody logged on, or
// the computer slept.
func (a *Adapter) Wake() { a.stir() }

// stir has every machine look at the world again.
func (a *Adapter) stir() {
	for _, r := range a.byName() {
		poke(r.poke)
	}
}

// byName are the runners there are, in a map of the caller's own.
func (a *Adapter) byName() map[string]*runner {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.runners)
}

func (a *Adapter) runner(name string) (*runner, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.runners[name]; ok {
		return r, nil
	}
	return nil, token.NewError(token.KindNotFound, "Outlook target", "There is no such Outlook target in the configuration.")
}

// Targets shows every target, by name.
func (a *Adapter) Targets() []View {
	var views []View
	for _, r := range a.byName() {
		views = append(views, r.view())
	}
	slices.SortFunc(views, func(x, y View) int { return strings.Compare(x.Name, y.Name) })
	return views
}

// Target shows one target. One that is not there is an error of KindNotFound,
// as for all methods that take a name.
func (a *Adapter) Target(name string) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	return r.view(), nil
}

// Ensure asks for access that is fresh. It joins the attempt that is being made,
// if there is one, and waits for its end for at most wait; force asks also where
// access is fresh. Where the ledger cannot be written that is an error of
// KindStore, as for all methods that change something.
func (a *Adapter) Ensure(ctx context.Context, name string, force bool, wait time.Duration) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	if v := r.view(); v.Phase == Idle && v.Freshness == Fresh && !force {
		return v, nil
	}
	v, err := r.ask(ctx, request{event: Event{Kind: EventEnsure, Force: force}})
	if err != nil {
		return View{}, err
	}
	return r.settle(ctx, v, wait), nil
}

// Report takes what a consumer met at its mailbox.
func (a *Adapter) Report(ctx context.Context, name string, c ConsumerReport) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	q := request{event: Event{Kind: EventReportOK}, detail: c.Operation}
	if !c.OK {
		q.event = Event{Kind: EventReportBad, HResult: c.HResult, Class: classOf(c.HResult)}
	}
	return r.ask(ctx, q)
}

// Pause stops all attempts until Resume.
func (a *Adapter) Pause(ctx context.Context, name string) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	return r.ask(ctx, request{event: Event{Kind: EventPause}})
}

// Resume ends a pause, and any other wait for a person: somebody has seen to it.
func (a *Adapter) Resume(ctx context.Context, name string) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	return r.ask(ctx, request{event: Event{Kind: EventResume}})
}

// History is the end of the target's ledger: at most n entries, newest last.
func (a *Adapter) History(name string, n int) ([]Entry, error) {
	r, err := a.runner(name)
	if err != nil {
		return nil, err
	}
	return r.history(n)
}

// wallNow is the wall clock alone: the machine's times are kept on disk, and
// time that the computer slept is time that a token grew older.
func wallNow() time.Time { return time.Now().Round(0) }
