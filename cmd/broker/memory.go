package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// The broker's live heap is a few MiB, and Go's collector would run after every
// 4 MiB of allocations, which is often enough to be a tenth of the cost of a
// request (docs/performance.md). So it gets room: it runs when headroom was
// allocated, or when the heap has doubled (Go's default), whichever is later.
const (
	headroom     = 32 << 20 // bytes
	leastPercent = 100      // of GOGC; Go's default
	mostPercent  = 800      // with the 4 MiB that Go counts at least, this is headroom
	roomTick     = 10 * time.Second
)

// ownPace reports whether the operator chose the collector's pace.
func ownPace(getenv func(string) string) bool {
	return getenv("GOGC") != "" || getenv("GOMEMLIMIT") != ""
}

// gcPace is the task that keeps the collector's pace to the size of the heap.
func gcPace(getenv func(string) string) lifecycle.Task {
	return lifecycle.Task{Name: "garbage collector's pace", Run: func(ctx context.Context) error {
		if ownPace(getenv) {
			<-ctx.Done()
			return nil
		}
		keepPace(ctx)
		return nil
	}}
}

func keepPace(ctx context.Context) {
	defer debug.SetGCPercent(debug.SetGCPercent(mostPercent))
	tick := time.NewTicker(roomTick)
	defer tick.Stop()
	for set := mostPercent; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if p := gcPercent(liveHeap()); p != set { // setting it stops the world for a moment
				debug.SetGCPercent(p)
				set = p
			}
		}
	}
}

// gcPercent is the GOGC that leaves headroom above a live heap of this size.
func gcPercent(live uint64) int {
	return int(min(max(headroom*100/max(live, 1), leastPercent), mostPercent))
}

// liveHeap is how many bytes the last collection found in use; zero before it.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
