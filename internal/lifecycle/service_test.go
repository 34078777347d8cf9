package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hosted is a service under a manager that a test plays.
type hosted struct {
	*Service
	log      bytes.Buffer
	requests chan ServiceRequest
	mu       sync.Mutex // guards reports and last
	reports  []string
	last     ServiceStatus
	moved    []string
	ended    chan error
}

func newHosted(run func(ctx context.Context, ready func()) error) *hosted {
	h := &hosted{requests: make(chan ServiceRequest), ended: make(chan error, 1)}
	h.Service = &Service{
		Log: slog.New(slog.NewTextHandler(&h.log, nil)), Run: run,
		Moved: func(reason string) { h.moved = append(h.moved, reason) },
	}
	return h
}

func (h *hosted) begin(ctx context.Context) {
	go func() {
		h.ended <- h.Host(ctx, h.requests, func(s ServiceStatus) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.reports, h.last = append(h.reports, string(s.State)), s
		})
	}()
	synctest.Wait()
}

func (h *hosted) send(c Control, event uint32) {
	h.requests <- ServiceRequest{Control: c, Event: event}
	synctest.Wait()
}

// seen is the last report, and how many there were.
func (h *hosted) seen() (ServiceStatus, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, len(h.reports)
}

// pass lets time go by, and what happens in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// serves is a program that serves until it is told to stop.
func serves(ctx context.Context, ready func()) error {
	ready()
	ready() // a second time does nothing
	<-ctx.Done()
	return ctx.Err()
}

func TestHost(t *testing.T) {
	for _, stop := range []Control{ControlStop, ControlShutdown, ControlPreShutdown} {
		synctest.Test(t, func(t *testing.T) {
			h := newHosted(serves)
			h.begin(t.Context())
			h.send(ControlInterrogate, 0)
			h.send(stop, 0)
			if err := <-h.ended; err != nil {
				t.Error(err)
			}
			if got := strings.Join(h.reports, " "); got != "starting running running stopping" {
				t.Errorf("%s: reports %s", stop, got)
			}
		})
	}
}

// While it starts or stops, its manager hears of it every second, with a number
// that rises.
func TestHostReportsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosted(func(ctx context.Context, ready func()) error {
			time.Sleep(5 * time.Second)
			ready()
			<-ctx.Done()
			time.Sleep(3500 * time.Millisecond)
			return nil
		})
		h.begin(t.Context())
		pass(4500 * time.Millisecond)
		if last, _ := h.seen(); last.State != ServiceStarting || last.CheckPoint != 5 || last.WaitHint <= reportEvery {
			t.Errorf("while it starts: %+v", last)
		}
		pass(time.Second)
		last, n := h.seen()
		if last.State != ServiceRunning || last.CheckPoint != 0 {
			t.Errorf("when it runs: %+v", last)
		}
		pass(time.Hour)
		if _, now := h.seen(); now != n {
			t.Error("a service that runs has nothing to report")
		}
		h.send(ControlStop, 0)
		h.send(ControlShutdown, 0) // and a second end changes nothing
		pass(3200 * time.Millisecond)
		if last, _ := h.seen(); last.State != ServiceStopping || last.CheckPoint != 4 {
			t.Errorf("while it stops: %+v", last)
		}
		if err := <-h.ended; err != nil {
			t.Error(err)
		}
	})
}

// A program that hangs is left behind in time, with its stack in the log.
func TestHostStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := newHosted(func(_ context.Context, ready func()) error { ready(); <-release; return nil })
		h.begin(t.Context())
		h.send(ControlStop, 0)
		began := time.Now()
		err := <-h.ended
		if stuck, ok := errors.AsType[*StuckError](err); !ok || stuck.After != DefaultStopTimeout || time.Since(began) != DefaultStopTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if !strings.Contains(h.log.String(), "TestHostStuck") {
			t.Error("the log has no stack")
		}
		close(release)
	})
}

func TestHostFails(t *testing.T) {
	for name, run := range map[string]func(context.Context, func()) error{
		"broken": func(context.Context, func()) error { return errors.New("broken") },
		"panicked; the log has the stack": func(_ context.Context, ready func()) error {
			ready()
			panic("with a secret")
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHosted(run)
			h.begin(t.Context())
			if err := <-h.ended; err == nil || err.Error() != name {
				t.Errorf("%v, want %s", err, name)
			}
			if strings.Contains(h.log.String(), "with a secret") {
				t.Error("the log has the text of the panic")
			}
		})
	}
}

func TestHostTellsOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosted(serves)
		h.begin(t.Context())
		h.send(ControlSession, 5)
		h.send(ControlSession, 8)
		h.send(ControlSession, 99)
		h.send(ControlPower, 4) // it goes to sleep
		h.send(ControlPower, 18)
		h.send(ControlStop, 0)
		<-h.ended
		want := "[somebody logged on a session was unlocked the computer resumed from sleep]"
		if got := fmt.Sprint(h.moved); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
