package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/notify"
)

// The end of a service is bounded: its tasks get the first part of the ten
// seconds, what they leave is stored in the rest.
const serviceTasksEnd = 7 * time.Second

// serviceHost is `broker serve` under a service manager.
type serviceHost struct {
	o      *options
	places config.Places
	fault  error // the places could not be found
	file   *lifecycle.LogFile
	log    *slog.Logger
	tell   func(notify.Event) error // nil: there is no event log
	parts  atomic.Pointer[parts]    // once it serves
}

// newServiceHost finds the places, and opens nothing yet.
func newServiceHost(o options) *serviceHost {
	h := &serviceHost{o: o.asService(), tell: notify.EventLog()}
	h.places, h.fault = places(h.o)
	h.file = &lifecycle.LogFile{Path: serviceLog(h.places.StateDir)}
	h.log = slog.New(slog.NewJSONHandler(h.file, nil))
	return h
}

// asService are the options of the service: where nothing else is said, its
// places are those under %ProgramData%, whether or not they are there yet. So a
// missing file is an error that names it, and the log is where people look.
func (o options) asService() *options {
	if data := programData(); data != "" {
		getenv := o.env.getenv
		o.env.environ = append(slices.Clip(o.env.environ), "ProgramData="+data) // the last one counts
		o.env.getenv = func(name string) string {
			if name == "ProgramData" {
				return data
			}
			return getenv(name)
		}
	}
	_, file, state := config.ServicePlaces(o.env.getenv)
	if o.stateDir == "" && o.env.getenv("BROKER_STATE_DIR") == "" {
		o.stateDir = state
	}
	if p, err := places(&o); o.config == "" && o.env.getenv("BROKER_CONFIG") == "" && (err != nil || !p.Shared) {
		o.config = file
	}
	return &o
}

// serviceLog is the log of a service, in its state directory.
func serviceLog(stateDir string) string { return filepath.Join(stateDir, "logs", "broker.log") }

// service is the broker as its manager runs it.
func (h *serviceHost) service() *lifecycle.Service {
	return &lifecycle.Service{
		Log: h.log, Moved: h.moved, Code: codeOf,
		Run: func(ctx context.Context, ready func()) error {
			err := h.asTold(ctx, h.run(ctx, ready))
			h.ended(context.WithoutCancel(ctx), err)
			return err
		},
	}
}

// run serves until ctx ends.
func (h *serviceHost) run(ctx context.Context, ready func()) error {
	if h.fault != nil {
		return h.fault
	}
	if err := lifecycle.EnsureStateDir(h.places.StateDir); err != nil {
		return err
	}
	crash, err := lifecycle.KeepCrashes(filepath.Join(filepath.Dir(h.file.Path), "crash.txt"))
	if crash != "" {
		h.log.ErrorContext(ctx, "the service crashed before", slog.String("crash", crash))
	}
	if err != nil {
		h.log.WarnContext(ctx, "a crash would not be seen in the log", slog.Any("error", err))
	}
	o := *h.o
	o.env.stderr = h.file
	w := wiring{env: o.env, served: func(p *parts) {
		h.parts.Store(p)
		h.event(ctx, notify.Event{
			ID: notify.IDServiceStarted, Severity: notify.Info, State: "started",
			Text: fmt.Sprintf("The broker %s serves at %s. Its log is %s.", version(), p.listener.Addr(), h.file.Path),
		})
		ready()
	}}
	// Outlook is the agent's: a service is in no person's session.
	return serve(ctx, &o, &seatFlags{agent: agentSeparate}, w, "")
}

// asTold is the error of a service that has ended: none where it was told to and
// did, whatever it could not write before. With a code Windows would start it again.
func (h *serviceHost) asTold(ctx context.Context, err error) error {
	_, stuck := errors.AsType[*lifecycle.StuckError](err)
	if err == nil || stuck || ctx.Err() == nil {
		return err
	}
	h.log.ErrorContext(ctx, "the service ends as it was told to, but could not do all that comes before", slog.Any("error", err))
	return nil
}

// moved is told of what happens to the machine.
func (h *serviceHost) moved(reason string) {
	if p := h.parts.Load(); p != nil {
		p.clockMoved(reason)
		p.outlook.Wake()
	}
}

// ended says how it ended, where nobody looks at a terminal.
func (h *serviceHost) ended(ctx context.Context, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		h.event(ctx, notify.Event{ID: notify.IDServiceStopped, Severity: notify.Info, State: "stopped", Text: "The broker has stopped."})
		return
	}
	code := codeOf(err)
	h.log.ErrorContext(ctx, "the service ends", slog.Any("error", err), slog.Int("code", int(code)))
	h.event(ctx, notify.Event{
		ID: notify.IDServiceFailed, Severity: notify.Error, State: "failed", Reason: causeOf(code).name,
		Text: "The broker could not go on: " + sentence(err), Action: causeOf(code).remedy,
	})
}

// event writes to the event log, past all settings: where they are wrong, this
// is what says so.
func (h *serviceHost) event(ctx context.Context, e notify.Event) {
	e.Subject, e.On = "service", time.Now()
	if h.tell == nil {
		return
	}
	if err := h.tell(e); err != nil {
		h.log.WarnContext(ctx, "the event log refuses the event", slog.Int("event", e.ID), slog.Any("error", err))
	}
}
