package refresh

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name        string
		used, tried time.Duration // before began
		jitter      float64
		want        time.Duration // after began
	}{
		{"just used", 0, 0, 0, 6 * day},
		{"just used, early", 0, 0, -1, 6*day - 14*time.Hour - 24*time.Minute},
		{"just used, late", 0, 0, 1, 6*day + 14*time.Hour + 24*time.Minute},
		{"a broker that was off", 60 * day, 0, 0, 3 * time.Minute},
		{"a broker that was off, late", 60 * day, 0, 1, 5 * time.Minute},
		{"tried a moment ago", 60 * day, time.Nanosecond, 0, time.Hour},
	} {
		i := Idle{UsedOn: began.Add(-tt.used), Jitter: tt.jitter}
		var tried time.Time
		if tt.tried > 0 {
			tried = began
		}
		if got := KeepAlive(i, began, tried).Sub(began); got != tt.want {
			t.Errorf("%s: after %v, want %v", tt.name, got, tt.want)
		}
	}
}

// An account that nobody asks for is used about once a week, for ever, and what
// came of it is not renewed.
func TestAnIdleSignInIsKeptAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := token.Key{Account: "a", Resource: "graph"}
		tg := newTarget()
		used := func() time.Time { return tg.began.Add(last(tg.times[k])) }
		s := New(Config{Target: tg, Log: slog.New(slog.DiscardHandler), Idle: func() []Idle { return []Idle{{Key: k, UsedOn: used(), Jitter: 1}} }})
		ctx, cancel := context.WithTimeout(t.Context(), 60*24*time.Hour)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(tg.times[k]); n != 9 { // every 158.4 hours
			t.Errorf("used %d times in 60 days", n)
		}
		for i, at := range tg.times[k] {
			if i > 0 && at-tg.times[k][i-1] > 7*24*time.Hour {
				t.Errorf("unused from %v to %v", tg.times[k][i-1], at)
			}
		}
	})
}

func TestAFailedKeepAliveIsTriedEachHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := token.Key{Account: "a", Resource: "graph"}
		tg := newTarget()
		tg.fail = errors.New("down")
		s := New(Config{Target: tg, Log: slog.New(slog.DiscardHandler), Idle: func() []Idle { return []Idle{{Key: k, UsedOn: tg.began.Add(-80 * 24 * time.Hour)}} }})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := tg.times[k]; len(got) != 10 || got[0] < 2*time.Minute || got[0] > 4*time.Minute {
			t.Errorf("tried at %v", got)
		}
	})
}

func last(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[len(times)-1]
}
