package lifecycle

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClockJump(t *testing.T) {
	const every = 15 * time.Second
	tests := map[string]struct {
		wall, monotonic time.Duration
		want            string
	}{
		"nothing":                {every, every, ""},
		"slewed by NTP":          {every + 10*time.Millisecond, every, ""},
		"a busy machine":         {every + 3*time.Second, every + 3*time.Second, ""},
		"sleep on Linux":         {8 * time.Hour, every, "slept"},
		"sleep on Windows":       {8 * time.Hour, 8 * time.Hour, "slept or stood still for 7h59m45s"},
		"clock set forward":      {every + time.Hour, every, "set forward, by 1h0m0s"},
		"clock set back":         {every - time.Hour, every, "set back by 1h0m0s"},
		"slept, then set back":   {-time.Hour, time.Hour, "set back by 2h0m0s"},
		"just inside, forward":   {every + clockTolerance, every, ""},
		"just outside, backward": {every - clockTolerance - time.Nanosecond, every, "set back by 5s"},
	}
	for name, tt := range tests {
		got := clockJump(tt.wall, tt.monotonic, every)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// In a synctest bubble both clocks go together and no jump can be made: the
// loop must not see one, and must end with its context.
func TestWatchClockIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		WatchClock(ctx, 15*time.Second, func(reason string) { t.Errorf("woken: %s", reason) })
	})
}
