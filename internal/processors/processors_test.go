package processors

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// machine is what a Limit sees of its machine: processor time that is used. It
// keeps what was set.
type machine struct {
	used time.Duration
	err  error
	set  []bool
	h    http.Handler
}

func newMachine() (*machine, *Limit) {
	m := &machine{}
	l := newLimit(func() (time.Duration, error) { return m.used, m.err }, func(all bool) { m.set = append(m.set, all) })
	m.h = l.Handler(http.HandlerFunc(answer))
	return m, l
}

func answer(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// work asks every 10 ms for as long, while this part of a processor's time is used.
func (m *machine) work(t *testing.T, d time.Duration, share float64) {
	t.Helper()
	for range d / (10 * time.Millisecond) {
		time.Sleep(10 * time.Millisecond)
		m.used += time.Duration(share * float64(10*time.Millisecond))
		w := httptest.NewRecorder()
		m.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusNoContent {
			t.Fatalf("status %d", w.Code)
		}
	}
}

func (m *machine) want(t *testing.T, what string, set ...bool) {
	t.Helper()
	if !slices.Equal(m.set, set) {
		t.Errorf("%s: set %v, want %v", what, m.set, set)
	}
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := newMachine()
		m.used = time.Hour // of the start
		m.want(t, "before the first request")
		m.work(t, 10*time.Millisecond, 2)
		m.want(t, "the first request", false)
		m.work(t, time.Minute, 0.7)
		m.want(t, "one is enough", false)
		m.work(t, 2*window, 1)
		m.want(t, "one is not enough", false, true)
		m.work(t, quiet/2, 0.1)
		m.work(t, 2*window, 0.6)
		m.work(t, quiet-3*window, 0.1)
		m.want(t, "little to do, and not for long", false, true)
		m.work(t, 4*window, 0.1)
		m.want(t, "little to do", false, true, false)
		time.Sleep(time.Hour)
		m.work(t, 4*window, 1)
		m.want(t, "much to do after an hour of nothing", false, true, false, true)
		time.Sleep(time.Hour)
		m.work(t, window, 0)
		m.want(t, "the first request after another", false, true, false, true, false)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
		m.want(t, "the end", false, true, false, true, false, true)
		m.work(t, time.Minute, 0)
		m.want(t, "a request that is late", false, true, false, true, false, true)
	})
}

// Where the system does not say what is used, all stay in use.
func TestLimitWithoutTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMachine()
		m.err = errors.New("no")
		m.work(t, time.Minute, 0)
		m.want(t, "a system that does not tell")
	})
}

// Whoever set GOMAXPROCS knows better; and a nil Limit does nothing.
func TestNobodysLimit(t *testing.T) {
	if New(func(string) string { return "2" }) != nil {
		t.Error("GOMAXPROCS was set, and there is a limit")
	}
	var l *Limit
	m := &machine{h: l.Handler(http.HandlerFunc(answer))}
	m.work(t, 10*time.Millisecond, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
}

// The real one, on this machine.
func TestRealLimit(t *testing.T) {
	l := New(func(string) string { return "" })
	if l == nil {
		t.Skip("this machine has one processor, or GOMAXPROCS is 1")
	}
	before := runtime.GOMAXPROCS(0)
	h := l.Handler(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	if got := runtime.GOMAXPROCS(0); got != 1 {
		t.Errorf("%d processors after a first request", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil || runtime.GOMAXPROCS(0) != before {
		t.Errorf("%d processors at the end, there were %d: %v", runtime.GOMAXPROCS(0), before, err)
	}
}

// What the system says that was used grows with what is used.
func TestSpent(t *testing.T) {
	before, err := spent()
	if err != nil || before < 0 {
		t.Fatalf("%v, %v", before, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // Windows counts in 16 ms
		now, err := spent()
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %v", before)
		}
	}
}
