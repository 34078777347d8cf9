// Package agent is the broker's hand in the session where Outlook runs: it
// looks, tells the broker what it saw, and does the work that it gets back.
//
// It decides nothing but what must never be done, which desktop refuses. It may
// be killed at any time: what it had not told yet, the next one sees.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// Link is the way to the broker. Sync gives it a report and waits for work, for
// as long as wait at most. An error says that the broker may not have the report.
type Link interface {
	Sync(ctx context.Context, r mapiadapter.Report, wait time.Duration) (mapiadapter.Orders, error)
}

// Probe opens a profile's default store by MAPI, in a process of its own, and
// gives the HRESULT. An error says that it could not be run.
type Probe func(ctx context.Context, profile, mode string) (hresult uint32, err error)

// Config is what an Agent needs.
type Config struct {
	Desktop desktop.Desktop
	Link    Link
	Probe   Probe // nil: there is none
	Version string
	Log     *slog.Logger
}

// Agent is the loop. Make it with New and run it once.
type Agent struct {
	cfg  Config
	info mapiadapter.AgentInfo
	work sync.WaitGroup
	turn chan struct{} // holds one value: who has it may do something to Outlook

	mu      sync.Mutex // guards what follows
	results []mapiadapter.Result
	begun   map[string]time.Time // works, by ID, that were begun
	wanted  map[string]bool      // works, by ID, that the broker wanted when it last spoke
	busy    int                  // works that are being done
}

// New makes an Agent.
func New(cfg Config) *Agent {
	return &Agent{
		cfg: cfg, begun: map[string]time.Time{}, turn: make(chan struct{}, 1),
		info: mapiadapter.AgentInfo{Version: cfg.Version, PID: os.Getpid(), StartedOn: time.Now().UTC()},
	}
}

// How long to wait after the broker could not be reached, doubling; how long for
// more work while some is being done, so that its result is told soon, and before
// anything was said; how long a look may take, and how soon the next one may
// follow; and how long works are remembered.
const (
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
	busyWait   = time.Second
	firstWait  = 5 * time.Second
	lookTime   = 30 * time.Second
	leastPause = 200 * time.Millisecond
	remembered = 24 * time.Hour
)

// Run works until ctx ends. It returns nil then; a broker that is not there is
// waited for.
func (a *Agent) Run(ctx context.Context) error {
	defer a.work.Wait()
	orders := mapiadapter.Orders{LookEvery: firstWait}
	retry := firstRetry
	for lost := false; ctx.Err() == nil; {
		began := time.Now()
		next, err := a.sync(ctx, orders)
		pause := leastPause - time.Since(began)
		switch {
		case err == nil:
			if lost {
				a.cfg.Log.InfoContext(ctx, "the agent works again")
			}
			lost, retry, orders = false, firstRetry, next
			a.take(ctx, orders.Work)
		case ctx.Err() != nil:
			return nil
		default:
			if !lost {
				a.cfg.Log.WarnContext(ctx, "the agent cannot work at the moment, and tries again", slog.Any("error", err))
			}
			lost, pause, retry = true, retry, min(2*retry, lastRetry)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// sync looks, and tells the broker. Where there is nothing to do it lasts as
// long as the broker wants between two looks.
func (a *Agent) sync(ctx context.Context, last mapiadapter.Orders) (mapiadapter.Orders, error) {
	results, busy := a.untold() // before the look: what follows from them is in it
	facts, err := a.look(ctx, last.Services)
	if err != nil {
		return mapiadapter.Orders{}, err // nothing is told: a broker that hears nothing knows nothing
	}
	wait := last.LookEvery
	if busy {
		wait = busyWait
	}
	orders, err := a.cfg.Link.Sync(ctx, mapiadapter.Report{Agent: a.info, Facts: facts, Results: results}, wait)
	if err != nil {
		return mapiadapter.Orders{}, err
	}
	a.told(len(results))
	if orders.LookEvery <= 0 {
		orders.LookEvery = last.LookEvery
	}
	return orders, nil
}

// look sees what there is. A look that takes too long is none.
func (a *Agent) look(ctx context.Context, services []string) (desktop.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return a.cfg.Desktop.Look(ctx, desktop.Want{Services: services})
}

// untold are the results that the broker has not heard, and whether more are on
// their way.
func (a *Agent) untold() (results []mapiadapter.Result, busy bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]mapiadapter.Result{}, a.results...), a.busy > 0
}

// told forgets the first n results: the broker has them.
func (a *Agent) told(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results = a.results[n:]
}

// take begins what has not been begun. The broker repeats what it still wants
// until it has the result.
func (a *Agent) take(ctx context.Context, work []mapiadapter.Work) {
	a.mu.Lock()
	a.wanted = map[string]bool{}
	for _, w := range work {
		a.wanted[w.ID] = true
	}
	a.mu.Unlock()
	for _, w := range work {
		if a.begin(w.ID) {
			a.work.Go(func() { a.tell(a.guarded(ctx, w)) })
		}
	}
}

// stillWanted reports whether the broker wants a work that it gave, as far as is
// known: somebody may have said pause since.
func (a *Agent) stillWanted(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted[id]
}

// begin reports whether a work is new, and remembers it.
func (a *Agent) begin(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for other, on := range a.begun {
		if now.Sub(on) > remembered {
			delete(a.begun, other)
		}
	}
	if _, ok := a.begun[id]; ok {
		return false
	}
	a.begun[id] = now
	a.busy++
	return true
}

func (a *Agent) tell(r mapiadapter.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results = append(a.results, r)
	a.busy--
}

// guarded does one work. What panics there ends neither the agent nor the broker
// that it may be a part of.
func (a *Agent) guarded(ctx context.Context, w mapiadapter.Work) (r mapiadapter.Result) {
	if err := lifecycle.Guard(ctx, a.cfg.Log, "work of the Outlook agent", func() error { r = a.do(ctx, w); return nil }); err != nil {
		return mapiadapter.Result{ID: w.ID, Target: w.Target, Kind: w.Kind, Outcome: mapiadapter.Failed, Reason: "panic", On: time.Now().UTC()}
	}
	return r
}

// do does one work.
func (a *Agent) do(ctx context.Context, w mapiadapter.Work) mapiadapter.Result {
	r := mapiadapter.Result{ID: w.ID, Target: w.Target, Kind: w.Kind, Outcome: mapiadapter.Done}
	if w.Kind == mapiadapter.WorkNotice {
		_, err := a.cfg.Desktop.Notice(ctx, desktop.Notice{Title: noticeTitle, Text: w.Text})
		return a.outcome(ctx, r, err)
	}
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return a.outcome(ctx, r, ctx.Err())
	}
	if w.Ask && a.declined(ctx, w.Text) {
		r.Outcome, r.On = mapiadapter.Declined, time.Now().UTC()
		return r
	}
	switch {
	case time.Now().After(w.NotAfter):
		return a.outcome(ctx, r, errLate)
	case !a.stillWanted(w.ID):
		return a.outcome(ctx, r, errWithdrawn)
	}
	var err error
	switch w.Kind {
	case mapiadapter.WorkStart:
		var p desktop.Process
		p, err = a.cfg.Desktop.Start(ctx, w.Profile)
		r.PID = p.PID
	case mapiadapter.WorkSend:
		err = a.cfg.Desktop.SendAndReceive(ctx, w.Profile)
	case mapiadapter.WorkProbe:
		r.HResult, err = a.probe(ctx, w)
	default:
		err = errUnknown
	}
	return a.outcome(ctx, r, err)
}

const noticeTitle = "M365 Token Broker"

// What a work can fail of before it was begun.
var (
	errLate      = errors.New(mapiadapter.FailedLate)
	errWithdrawn = errors.New(mapiadapter.FailedWithdrawn)
	errUnknown   = errors.New("unknown_work")
	errNoProbe   = errors.New("no_probe")
)

// askTime is how long a person has to say "not now".
const askTime = time.Minute

// declined asks the person in the session. Where nobody can be asked, or answers,
// it is not declined.
func (a *Agent) declined(ctx context.Context, text string) bool {
	answer, err := a.cfg.Desktop.Notice(ctx, desktop.Notice{Title: noticeTitle, Text: text, Ask: true, Wait: askTime})
	return err == nil && answer == desktop.AnswerNotNow
}

func (a *Agent) probe(ctx context.Context, w mapiadapter.Work) (uint32, error) {
	if a.cfg.Probe == nil {
		return 0, errNoProbe
	}
	return a.cfg.Probe(ctx, w.Profile, w.Mode)
}

// outcome turns an error into what the broker is told: one word. The log of the
// agent has the sentence.
func (a *Agent) outcome(ctx context.Context, r mapiadapter.Result, err error) mapiadapter.Result {
	r.On = time.Now().UTC()
	attrs := []slog.Attr{slog.String("target", r.Target), slog.String("work", string(r.Kind))}
	if err == nil {
		a.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "work done", attrs...)
		return r
	}
	r.Outcome, r.Reason = mapiadapter.Failed, "failed"
	switch refusal, refused := errors.AsType[*desktop.Refusal](err); {
	case refused: // its sentence names the profile, which no log should
		r.Outcome, r.Reason = mapiadapter.Refused, refusal.Reason
	case errors.Is(err, errLate), errors.Is(err, errWithdrawn), errors.Is(err, errUnknown), errors.Is(err, errNoProbe):
		r.Reason = err.Error()
	default:
		attrs = append(attrs, slog.Any("error", err))
	}
	a.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "work not done", append(attrs, slog.String("reason", r.Reason))...)
	return r
}
