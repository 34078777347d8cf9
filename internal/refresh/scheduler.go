package refresh

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Target is what the Scheduler keeps fresh; the token cache is one.
type Target interface {
	Renewals() []token.Renewal
	Refresh(ctx context.Context, key token.Key) error
}

// Config is what a Scheduler needs.
type Config struct {
	Target Target
	// Idle lists the signed-in accounts that can be kept alive; nil: none is.
	Idle func() []Idle
	Log  *slog.Logger
}

const (
	// tick bounds every sleep: timers stand still while the machine sleeps, so
	// the schedule is looked at again at least this often.
	tick = 30 * time.Second
	// width bounds how many accounts are refreshed at the same time.
	width = 8
)

// Scheduler renews tokens ahead of their expiry.
type Scheduler struct {
	cfg  Config
	wake chan struct{}

	began time.Time               // of Run, which alone uses what follows
	tried map[token.Key]time.Time // when an idle sign-in was last used
}

// New makes a Scheduler; Run starts it.
func New(cfg Config) *Scheduler {
	if cfg.Idle == nil {
		cfg.Idle = func() []Idle { return nil }
	}
	return &Scheduler{cfg: cfg, wake: make(chan struct{}, 1), tried: map[token.Key]time.Time{}}
}

// Wake makes the Scheduler look again at once: after a sign-in, a resume from
// sleep or a clock jump. It never blocks.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run renews what falls due until ctx ends, and returns when the renewals that
// it started are done.
func (s *Scheduler) Run(ctx context.Context) error {
	s.began = time.Now().Round(0) // by the wall clock: a machine's sleep counts
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		s.renewDue(ctx)
		timer.Reset(s.pause(time.Now()))
	}
}

// pause is the time to the next token that falls due, at most a tick.
func (s *Scheduler) pause(now time.Time) time.Duration {
	next := tick
	for _, r := range s.cfg.Target.Renewals() {
		if due, ok := Due(r); ok {
			next = min(next, due.Sub(now))
		}
	}
	return max(next, time.Second)
}

// renewDue refreshes every token that is due, and uses every sign-in that is idle
// for too long, a few accounts at a time, and waits for them: nothing is asked for
// twice by the schedule.
func (s *Scheduler) renewDue(ctx context.Context) {
	now := time.Now()
	var jobs []func()
	for _, r := range s.cfg.Target.Renewals() {
		if due, ok := Due(r); ok && !due.After(now) {
			jobs = append(jobs, func() { s.renew(ctx, r, now) })
		}
	}
	for _, i := range s.idleDue(now) {
		jobs = append(jobs, func() { s.use(ctx, i) })
	}
	slots := make(chan struct{}, width)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, job := range jobs {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			job()
		})
	}
}

// idleDue picks the idle sign-ins that are to be used now, and notes that they
// are.
func (s *Scheduler) idleDue(now time.Time) []Idle {
	var due []Idle
	for _, i := range s.cfg.Idle() {
		if KeepAlive(i, s.began, s.tried[i.Key]).After(now) {
			continue
		}
		s.tried[i.Key] = now.Round(0)
		due = append(due, i)
	}
	return due
}

// use redeems an idle sign-in once, so that it does not end unused. The token is
// there if somebody asks, and is not renewed.
func (s *Scheduler) use(ctx context.Context, i Idle) {
	err := s.cfg.Target.Refresh(ctx, i.Key)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.cfg.Log.WarnContext(ctx, "a sign-in that nobody uses could not be kept alive; the broker tries again in an hour",
			slog.String("account", i.Key.Account), slog.String("resource", i.Key.Resource), slog.Any("error", token.AsError(err)))
	default:
		s.cfg.Log.InfoContext(ctx, "a sign-in that nobody uses was kept alive",
			slog.String("account", i.Key.Account), slog.String("resource", i.Key.Resource))
	}
}

// renew refreshes one token. A failure while the token is valid is a warning:
// the token goes on being served.
func (s *Scheduler) renew(ctx context.Context, r token.Renewal, now time.Time) {
	err := s.cfg.Target.Refresh(ctx, r.Key)
	if err == nil || ctx.Err() != nil {
		return
	}
	e := token.AsError(err)
	if r.ExpiresOn.After(now) {
		s.cfg.Log.WarnContext(ctx, "background refresh failed; the token in hand is still served",
			slog.String("resource", r.Key.Resource), slog.Duration("valid_for", r.ExpiresOn.Sub(now).Round(time.Second)), slog.Any("error", e))
		return
	}
	s.cfg.Log.ErrorContext(ctx, "background refresh failed and the token has expired",
		slog.String("resource", r.Key.Resource), slog.Any("error", e))
}
