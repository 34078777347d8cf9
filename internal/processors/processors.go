// Package processors lets Go use one processor while there is little to do, and
// all of them once that is not enough.
//
// Go wakes a thread for each request that comes while a processor is idle. The
// thread looks for work, finds none and sleeps again: that makes a call which comes
// alone a fifth slower, and takes as much more of the machine (ADR 0024).
package processors

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// When one processor is not enough, and when all are more than is needed, as parts
// of the time of one.
const (
	much   = 0.75
	little = 0.5
	window = 100 * time.Millisecond // that is looked at, at least
	quiet  = 10 * time.Second       // of little to do, until one is enough again
)

// Limit is how many processors Go uses. It is safe for concurrent use.
type Limit struct {
	spent func() (time.Duration, error) // processor time of this process
	set   func(all bool)
	began time.Time
	next  atomic.Int64 // when to look again, since began

	mu    sync.Mutex    // held by the one request that looks; guards what follows
	last  time.Duration // when that was; zero: there was no look
	used  time.Duration // until then
	all   bool          // processors are in use
	until time.Duration // all are needed; zero: they never were
	ended bool
}

// New makes a Limit that changes nothing before the first request. nil is that of
// a machine with one processor, and of an operator who chose by GOMAXPROCS.
func New(getenv func(string) string) *Limit {
	if runtime.GOMAXPROCS(0) == 1 || getenv("GOMAXPROCS") != "" {
		return nil
	}
	return newLimit(spent, func(all bool) {
		if all {
			runtime.SetDefaultGOMAXPROCS()
		} else {
			runtime.GOMAXPROCS(1)
		}
	})
}

func newLimit(spent func() (time.Duration, error), set func(all bool)) *Limit {
	return &Limit{spent: spent, set: set, began: time.Now(), all: true}
}

// Handler looks how much there is to do, at most every window, before next answers.
// A nil Limit gives next itself.
func (l *Limit) Handler(next http.Handler) http.Handler {
	if l == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if now := time.Since(l.began); int64(now) >= l.next.Load() && l.mu.TryLock() {
			l.look(now)
			l.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// look compares what was used since the last look with the time that has passed.
// The start, which is before the first one, needs all processors and is over.
func (l *Limit) look(now time.Duration) {
	l.next.Store(int64(now + window))
	used, err := l.spent()
	if err != nil || l.ended {
		return // all are in use, as before
	}
	limit := much
	if l.all {
		limit = little
	}
	if l.last > 0 && float64(used-l.used) > limit*float64(now-l.last) {
		l.until = now + quiet
	}
	l.last, l.used = now, used
	if all := now < l.until; all != l.all {
		l.all = all
		l.set(all)
	}
}

// Run gives all processors back when ctx ends.
func (l *Limit) Run(ctx context.Context) error {
	<-ctx.Done()
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = true
		if !l.all {
			l.set(true)
		}
	}
	return nil
}
