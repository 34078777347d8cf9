package refresh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// target is a cache of one-hour tokens that notes when each was refreshed.
type target struct {
	mu       sync.Mutex
	renewals map[token.Key]token.Renewal
	times    map[token.Key][]time.Duration
	began    time.Time
	fail     error
}

func newTarget(keys ...token.Key) *target {
	t := &target{renewals: map[token.Key]token.Renewal{}, times: map[token.Key][]time.Duration{}, began: time.Now()}
	for _, k := range keys {
		t.renewals[k] = token.Renewal{Key: k, ObtainedOn: t.began, ExpiresOn: t.began.Add(time.Hour), LastAsked: t.began}
	}
	return t
}

func (t *target) Renewals() []token.Renewal {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []token.Renewal
	for _, r := range t.renewals {
		out = append(out, r)
	}
	return out
}

func (t *target) Refresh(_ context.Context, k token.Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.times[k] = append(t.times[k], now.Sub(t.began))
	r := t.renewals[k]
	if t.fail != nil {
		r.HoldUntil = now.Add(time.Minute)
		t.renewals[k] = r
		return t.fail
	}
	r.ObtainedOn, r.ExpiresOn, r.HoldUntil = now, now.Add(time.Hour), time.Time{}
	t.renewals[k] = r
	return nil
}

func run(t *testing.T, tg *target, d time.Duration) {
	t.Helper()
	s := New(Config{Target: tg, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSchedulerRenewsAtThreeQuarters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := token.Key{Account: "a", Resource: "graph"}, token.Key{Account: "b", Resource: "ews"}
		tg := newTarget(a, b)
		run(t, tg, 2*time.Hour)
		for _, k := range []token.Key{a, b} {
			if got := tg.times[k]; len(got) != 2 || got[0] != 45*time.Minute || got[1] != 90*time.Minute {
				t.Errorf("%v was refreshed after %v, want 45m and 90m", k, got)
			}
		}
	})
}

func TestSchedulerStopsWhenNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := token.Key{Account: "a", Resource: "graph"}
		tg := newTarget(k)
		run(t, tg, 72*time.Hour)
		if n := len(tg.times[k]); n < 30 || n > 32 { // 24 h in steps of 45 min
			t.Errorf("refreshed %d times in three days of silence, want about 32 (one day's)", n)
		}
	})
}

func TestSchedulerHonoursTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := token.Key{Account: "a", Resource: "graph"}
		tg := newTarget(k)
		tg.fail = errors.New("down")
		run(t, tg, 50*time.Minute+30*time.Second)
		if n := len(tg.times[k]); n != 6 { // at 45, 46, … 50 min
			t.Errorf("tried %d times (%v), want once a minute", n, tg.times[k])
		}
	})
}

func TestWakeLooksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget()
		s := New(Config{Target: tg, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		k := token.Key{Account: "a", Resource: "graph"}
		now := time.Now()
		tg.mu.Lock()
		tg.renewals[k] = token.Renewal{Key: k, ObtainedOn: now.Add(-2 * time.Hour), ExpiresOn: now.Add(-time.Hour), LastAsked: now.Add(-time.Hour)}
		tg.mu.Unlock()
		s.Wake()
		s.Wake() // never blocks
		synctest.Wait()
		if got := tg.times[k]; len(got) != 1 || got[0] != 0 {
			t.Errorf("refreshed at %v, want at once", got)
		}
		cancel()
		<-done
	})
}
