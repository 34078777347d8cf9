package main

import (
	"context"
	"runtime/debug"
	"testing"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 2 << 20: 800, 8 << 20: 400, 16 << 20: 200, 32 << 20: 100, 1 << 30: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MiB: %d, want %d", live>>20, got, want)
		}
	}
}

// Whoever set GOGC or GOMEMLIMIT knows better; and what was there before the task
// is there after it.
func TestGCPaceLeavesThePaceAsItWas(t *testing.T) {
	const own = 123
	defer debug.SetGCPercent(debug.SetGCPercent(own))
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "neither"} {
		ctx, cancel := context.WithCancel(t.Context())
		getenv := func(key string) string {
			if key == name {
				return "100"
			}
			return ""
		}
		if ownPace(getenv) != (name != "neither") {
			t.Errorf("%s is set: ownPace = %v", name, ownPace(getenv))
		}
		cancel()
		if err := gcPace(getenv).Run(ctx); err != nil {
			t.Error(err)
		}
		if got := debug.SetGCPercent(own); got != own {
			t.Errorf("%s is set, and the pace is %d", name, got)
		}
	}
}
