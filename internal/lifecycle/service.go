package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// A service is a program that the system's service manager starts and stops. It
// reports what it is doing, and must go on reporting while it starts and stops,
// or the manager takes it for dead. This file has the rules; service_windows.go
// carries them to the Service Control Manager of Windows.

// ServiceState is what a service is doing, as its manager knows it.
type ServiceState string

// The states of a service that cannot be paused.
const (
	ServiceStopped  ServiceState = "stopped"
	ServiceStarting ServiceState = "starting"
	ServiceRunning  ServiceState = "running"
	ServiceStopping ServiceState = "stopping"
	ServiceOther    ServiceState = "other" // paused, for example: no state of ours
)

// ServiceCode says why a service ended; 0 is as it should. The manager keeps it
// as the service-specific exit code.
type ServiceCode uint32

// ServiceStatus is one report to the manager.
type ServiceStatus struct {
	State      ServiceState
	CheckPoint uint32        // rises while the service is starting or stopping
	WaitHint   time.Duration // the next report comes before
}

// Control is what the manager asks of a service, or tells it.
type Control string

// The controls that the host knows. All three ends are one to it: at a shutdown
// Windows sends the early one (pre-shutdown), which gives more time.
const (
	ControlInterrogate Control = "interrogate"
	ControlStop        Control = "stop"
	ControlShutdown    Control = "shutdown"
	ControlPreShutdown Control = "preshutdown"
	ControlSession     Control = "session change"
	ControlPower       Control = "power event"
)

// ServiceRequest is one control. Event says which session change or power event.
type ServiceRequest struct {
	Control Control
	Event   uint32
}

// How often a starting or stopping service reports, and how long its manager is
// asked to wait for the next report.
const (
	reportEvery = time.Second
	reportHint  = 20 * time.Second
)

// Service is a program as its manager runs it.
type Service struct {
	Log *slog.Logger
	// Run is the program. It calls ready once it serves, and ends with its context.
	Run func(ctx context.Context, ready func()) error
	// Moved is told of what happens to the machine: a resume from sleep, somebody
	// who logs on. It should return soon; nil: nobody wants to know.
	Moved func(reason string)
	// Code says what the manager is to know of an error.
	Code func(error) ServiceCode
	// StopTimeout is how long Run may take to end; zero means DefaultStopTimeout.
	StopTimeout time.Duration
}

// host is a service while it runs.
type host struct {
	*Service
	report  func(ServiceStatus)
	current ServiceStatus
}

// Host runs the service until its program ends, by itself or because a request
// says so. A program that does not end in time is left behind, with every stack
// in the log; the process should exit then. It calls report from one goroutine.
// The error is that of Run, or a *StuckError.
func (s *Service) Host(ctx context.Context, requests <-chan ServiceRequest, report func(ServiceStatus)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &host{Service: s, report: report}
	h.begin(ServiceStarting)
	ready := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- Guard(ctx, s.Log, "service", func() error {
			return s.Run(ctx, func() {
				select {
				case ready <- struct{}{}:
				default: // it is told already
				}
			})
		})
	}()

	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var watchdog <-chan time.Time
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				err = nil
			}
			h.begin(ServiceStopping)
			return err
		case <-ready:
			if h.current.State == ServiceStarting {
				h.begin(ServiceRunning)
			}
		case <-tick.C:
			h.goOn()
		case <-watchdog:
			stuck := &StuckError{Tasks: []string{"service"}, After: s.stopTimeout()}
			(&Group{Log: s.Log, StopTimeout: s.stopTimeout()}).logStacks(ctx, stuck.Tasks)
			return stuck
		case r := <-requests:
			if h.obey(ctx, r) && watchdog == nil {
				cancel()
				timer := time.NewTimer(s.stopTimeout())
				defer timer.Stop()
				watchdog = timer.C
			}
		}
	}
}

func (s *Service) stopTimeout() time.Duration {
	if s.StopTimeout > 0 {
		return s.StopTimeout
	}
	return DefaultStopTimeout
}

// begin reports a new state.
func (h *host) begin(state ServiceState) {
	if h.current.State == state {
		return
	}
	h.current = ServiceStatus{State: state}
	if state != ServiceRunning {
		h.current.CheckPoint, h.current.WaitHint = 1, reportHint
	}
	h.report(h.current)
}

// goOn reports that a start or a stop makes progress.
func (h *host) goOn() {
	if h.current.State == ServiceRunning {
		return
	}
	h.current.CheckPoint++
	h.report(h.current)
}

// obey does what the manager says, and reports whether that is to stop.
func (h *host) obey(ctx context.Context, r ServiceRequest) (stop bool) {
	switch r.Control {
	case ControlStop, ControlShutdown, ControlPreShutdown:
		h.Log.InfoContext(ctx, "the service is told to end", slog.String("control", string(r.Control)))
		h.begin(ServiceStopping)
		return true
	case ControlSession, ControlPower:
		if why := eventWords(r); why != "" && h.Moved != nil && h.current.State == ServiceRunning {
			h.Moved(why)
		}
	case ControlInterrogate:
		h.report(h.current)
	}
	return false
}

// eventWords says what happened, where it matters to a broker: who logs on or
// unlocks can renew Outlook's access, and a machine that slept has old tokens.
// The numbers are those of WM_WTSSESSION_CHANGE and WM_POWERBROADCAST.
func eventWords(r ServiceRequest) string {
	words := map[uint32]string{
		1: "a session was connected to the console", 2: "a session was disconnected from the console",
		3: "somebody connected by remote desktop", 4: "a remote desktop session was disconnected",
		5: "somebody logged on", 6: "somebody logged off", 7: "a session was locked", 8: "a session was unlocked",
	}
	if r.Control == ControlPower {
		words = map[uint32]string{7: "the computer resumed from sleep", 18: "the computer resumed from sleep"}
	}
	return words[r.Event]
}

// NotAServiceError says that no service manager started this program.
type NotAServiceError struct{ System string }

// Error says what to do instead.
func (e *NotAServiceError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("only the service manager of %s can start this", e.System))
}
