package telemetry

import (
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// errorInterval is how often a failing exporter may say so.
const errorInterval = time.Minute

// exportErrors is OpenTelemetry's error handler and diagnostic log. It writes
// to the local log only: a failing log exporter must not feed itself.
type exportErrors struct {
	log *slog.Logger

	mu      sync.Mutex
	last    time.Time
	skipped int
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	now := time.Now()
	if !e.last.IsZero() && now.Sub(e.last) < errorInterval {
		e.skipped++
		e.mu.Unlock()
		return
	}
	skipped := e.skipped
	e.last, e.skipped = now, 0
	e.mu.Unlock()

	text := err.Error()
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	e.log.Warn("telemetry could not be exported; tokens are served as before",
		slog.String("cause", text), slog.Int("not_shown", skipped))
}

// The following make exportErrors a logr.LogSink. OpenTelemetry logs its own
// doings there; only its errors are of use, its key-value pairs may hold
// settings (OTEL_EXPORTER_OTLP_HEADERS is a secret) and are dropped.

// Init implements logr.LogSink.
func (e *exportErrors) Init(logr.RuntimeInfo) {}

// Enabled implements logr.LogSink.
func (e *exportErrors) Enabled(int) bool { return false }

// Info implements logr.LogSink.
func (e *exportErrors) Info(int, string, ...any) {}

// Error implements logr.LogSink.
func (e *exportErrors) Error(err error, _ string, _ ...any) { e.Handle(err) }

// WithValues implements logr.LogSink.
func (e *exportErrors) WithValues(...any) logr.LogSink { return e }

// WithName implements logr.LogSink.
func (e *exportErrors) WithName(string) logr.LogSink { return e }
