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

	"github.com/m365-token-broker/broker/internal/token"
)

// Config is what an Adapter needs. What may be nil says so.
type Config struct {
	Dir     string // of the ledgers; made where missing
	Limits  Limits
	Log     *slog.Logger
	Host    string // this machine, for sentences
	Account string // DOMAIN\user that the broker runs as; empty: not known
	// Platform is ReasonPlatform where this system has no Outlook.
	Platform Reason

	// Reach says whether Microsoft 365 can be reached and the clock is right:
	// ReasonNone, ReasonNetwork or ReasonClock. nil: nobody looks.
	Reach func(ctx context.Context) Reason
	// Sessions says whether our account has a session, for a broker that is a
	// service; nil: only an agent shows that.
	Sessions func(ctx context.Context) Sessions
	// StartAgent starts the agent in our account's session; nil: we cannot.
	StartAgent func(ctx context.Context) error
	// Tell is told every change of phase, and reminders. It does not block. nil: nobody.
	Tell func(n Notice)
	// Renewed is told of every attempt that ended. It does not block. nil: nobody.
	Renewed func(r Renewal)
}

// Adapter runs the machines of all targets. It is safe for concurrent use.
type Adapter struct {
	cfg    Config
	agents *agents
	around *watchman

	mu      sync.Mutex // guards what follows
	runners map[string]*runner
	running context.Context // of Run; nil before and after
	tasks   sync.WaitGroup
}

// New makes an Adapter without targets.
func New(cfg Config) *Adapter {
	a := &Adapter{cfg: cfg, agents: newAgents(cfg.Limits.AgentAbsent), runners: map[string]*runner{}}
	a.around = &watchman{cfg: cfg, changed: a.stir}
	return a
}

// Configure puts these targets in the place of those before. A target whose
// ledger cannot be used stays, and does nothing; the errors say why.
func (a *Adapter) Configure(targets []Target) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	old := a.runners
	a.runners = make(map[string]*runner, len(targets))
	for _, t := range targets {
		r, ok := old[t.Name]
		delete(old, t.Name)
		if ok {
			r.retarget(t)
		} else {
			var err error
			if r, err = newRunner(a, t); err != nil {
				errs = append(errs, err)
			}
			a.start(r)
		}
		a.runners[t.Name] = r
	}
	for _, r := range old {
		errs = append(errs, r.end())
	}
	return errors.Join(errs...)
}

// start runs r where Run does. The mutex is held.
func (a *Adapter) start(r *runner) {
	if a.running == nil {
		return
	}
	ctx, cancel := context.WithCancel(a.running)
	r.cancel, r.ended = cancel, make(chan struct{})
	a.tasks.Go(func() { r.run(ctx) })
}

// Run keeps the machines going until ctx ends. It is called once.
func (a *Adapter) Run(ctx context.Context) error {
	a.mu.Lock()
	a.running = ctx
	for _, r := range a.runners {
		a.start(r)
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
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, r := range a.runners {
		errs = append(errs, r.close())
	}
	a.runners = map[string]*runner{}
	return errors.Join(errs...)
}

// stir has every machine look at the world again.
func (a *Adapter) stir() {
	for _, r := range a.all() {
		r.stir()
	}
}

func (a *Adapter) all() []*runner {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.runners))
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
	for _, r := range a.all() {
		views = append(views, r.view())
	}
	slices.SortFunc(views, func(x, y View) int { return compareNames(x.Name, y.Name) })
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
// access is fresh.
func (a *Adapter) Ensure(ctx context.Context, name string, force bool, wait time.Duration) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	if v := r.view(); v.Phase == Idle && v.Freshness == Fresh && !force {
		return v, nil
	}
	v, err := r.ask(ctx, Event{Kind: EventEnsure, Force: force}, "")
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
	if c.OK {
		return r.ask(ctx, Event{Kind: EventReportOK}, c.Operation)
	}
	return r.ask(ctx, Event{Kind: EventReportBad, HResult: c.HResult, Class: classOf(c.HResult)}, c.Operation)
}

// Pause stops all attempts until Resume.
func (a *Adapter) Pause(ctx context.Context, name string) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	return r.ask(ctx, Event{Kind: EventPause}, "")
}

// Resume ends a pause, and any other wait for a person: somebody has seen to it.
func (a *Adapter) Resume(ctx context.Context, name string) (View, error) {
	r, err := a.runner(name)
	if err != nil {
		return View{}, err
	}
	return r.ask(ctx, Event{Kind: EventResume}, "")
}

// History is the end of the target's ledger: at most n entries, newest last.
func (a *Adapter) History(name string, n int) ([]Entry, error) {
	r, err := a.runner(name)
	if err != nil {
		return nil, err
	}
	return r.history(n)
}

// From is where a report comes from.
type From struct {
	InBroker bool          // the agent is this process
	User     string        // SID at the other end of the connection; empty: not known
	Wait     time.Duration // how long the agent waits for work
}

// Sync takes an agent's report and answers with work for it: at once where there
// is any or a look is wanted, else when its wait is over, or ctx ends.
func (a *Adapter) Sync(ctx context.Context, rep Report, from From) (Orders, error) {
	ctx, cancel := context.WithTimeout(ctx, from.Wait)
	defer cancel()
	if from.User != "" && !strings.EqualFold(from.User, rep.Facts.SID) {
		return Orders{}, token.NewError(token.KindDenied, "agent", "The report is of another account than the program that sent it; run broker agent in the session itself.")
	}
	if a.cfg.Account != "" && !sameAccount(rep.Facts.Account, a.cfg.Account) {
		return Orders{}, token.NewError(token.KindDenied, "agent", "This agent runs as another account than the broker; run broker agent as "+a.cfg.Account+".")
	}
	now := wallNow()
	wake := a.agents.hear(rep, from.InBroker, now)
	for _, res := range rep.Results {
		if r, err := a.runner(res.Target); err == nil {
			r.result(ctx, res)
		}
	}
	a.stir()
	key := keyOf(rep.Facts)
	for {
		work, isNew := a.agents.take(key, wallNow())
		if isNew {
			return a.orders(work), nil
		}
		select {
		case <-wake:
			work, _ = a.agents.take(key, wallNow())
			return a.orders(work), nil
		case <-ctx.Done():
			return a.orders(work), nil
		}
	}
}

func (a *Adapter) orders(work []Work) Orders {
	o := Orders{Work: work, LookEvery: a.cfg.Limits.LookQuiet}
	for _, r := range a.all() {
		v := r.view()
		if v.Service != "" && !slices.Contains(o.Services, v.Service) {
			o.Services = append(o.Services, v.Service)
		}
		if v.Phase.running() {
			o.LookEvery = a.cfg.Limits.LookBusy
		}
	}
	slices.Sort(o.Services)
	return o
}

// surroundings is what the broker knows by itself right now.
func (a *Adapter) surroundings() surroundings {
	e := a.around.now()
	e.platform, e.account, e.host = a.cfg.Platform, a.cfg.Account, a.cfg.Host
	return e
}

// wallNow is the wall clock alone: the machine's times are kept on disk, and
// time that the computer slept is time that a token grew older.
func wallNow() time.Time { return time.Now().Round(0) }
