package audit

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
)

// tally counts what comes again. Counting is a look-up in a map that nobody
// changes, and an addition: what is new makes a new map, and that is rare.
type tally[K comparable] struct {
	max  int // keys at once
	idle int // flushes without a hit after which a key is new again

	known atomic.Pointer[map[K]*count]
	mu    sync.Mutex // who makes a new map holds it
}

type count struct {
	n    atomic.Int64 // hits since the last flush; negative once the key is gone
	idle int          // flushes without a hit; guarded by mu; -1 until the one after the first hit
}

// gone is far enough below zero for any number of late hits.
const gone = math.MinInt64 / 2

// tallied is what a hit was.
type tallied int

const (
	again tallied = iota // counted
	first                // not known before
	full                 // not known before, and there is no room to count it
)

func newTally[K comparable](most, idle int) *tally[K] {
	t := &tally[K]{max: most, idle: idle}
	t.known.Store(&map[K]*count{})
	return t
}

// hit counts k. It allocates only where k is new.
func (t *tally[K]) hit(k K) tallied {
	if c, ok := (*t.known.Load())[k]; ok && c.n.Add(1) > 0 {
		return again
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known := *t.known.Load() // none of these is gone
	if c, ok := known[k]; ok {
		c.n.Add(1)
		return again
	}
	if len(known) >= t.max {
		return full
	}
	next := maps.Clone(known)
	next[k] = &count{idle: -1}
	t.known.Store(&next)
	return first
}

// flush calls each with what came again since the last flush, and forgets what
// has not come for long.
func (t *tally[K]) flush(each func(k K, n int64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := *t.known.Load()
	var next map[K]*count
	for k, c := range known {
		if n := c.n.Swap(0); n > 0 {
			c.idle = 0
			each(k, n)
			continue
		}
		if c.idle++; c.idle < t.idle || !c.n.CompareAndSwap(0, gone) {
			continue
		}
		if next == nil {
			next = maps.Clone(known)
		}
		delete(next, k)
	}
	if next != nil {
		t.known.Store(&next)
	}
}
