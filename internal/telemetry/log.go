package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// Logger is the broker's log: on Config.LogWriter, and in OpenTelemetry where
// logs are switched on. It is safe for concurrent use.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// SetLevel changes the log level at once: debug, info, warn or error.
func (t *Telemetry) SetLevel(level string) error {
	l, err := parseLevel(level)
	if err != nil {
		return err
	}
	t.level.Set(l)
	return nil
}

func parseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is not known; use debug, info, warn or error", s)
}

// localHandler writes text or JSON.
func localHandler(w io.Writer, format string) (slog.Handler, error) {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug} // cleanHandler decides
	switch strings.ToLower(format) {
	case "text":
		return slog.NewTextHandler(w, opts), nil
	case "json":
		return slog.NewJSONHandler(w, opts), nil
	}
	return nil, fmt.Errorf("log format %q is not known; use auto, text or json", format)
}

// autoFormat is text for a character device (a terminal, on Windows a console)
// and json for everything else.
func autoFormat(w io.Writer) string {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return "text"
		}
	}
	return "json"
}

// cleanHandler asks the level and redacts what it hands on.
type cleanHandler struct {
	level slog.Leveler
	red   *redactor
	next  slog.Handler
}

// Enabled implements slog.Handler.
func (h cleanHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h cleanHandler) Handle(ctx context.Context, rec slog.Record) error {
	clean := slog.NewRecord(rec.Time, rec.Level, h.red.text(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.red.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h cleanHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.next = h.next.WithAttrs(h.red.attrs(attrs))
	return h
}

// WithGroup implements slog.Handler.
func (h cleanHandler) WithGroup(name string) slog.Handler {
	h.next = h.next.WithGroup(name)
	return h
}

// traceHandler adds trace_id and span_id at the top of a record, outside every
// group. slog can only add to the innermost group, so the groups and attributes
// of the logger are remembered and put on again after the IDs.
type traceHandler struct {
	root  slog.Handler // without groups and attributes
	full  slog.Handler // with them
	steps []func(slog.Handler) slog.Handler
}

// Enabled implements slog.Handler.
func (h traceHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.full.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h traceHandler) Handle(ctx context.Context, rec slog.Record) error {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return h.full.Handle(ctx, rec)
	}
	next := h.root.WithAttrs([]slog.Attr{
		slog.String("trace_id", sc.TraceID().String()),
		slog.String("span_id", sc.SpanID().String()),
	})
	for _, step := range h.steps {
		next = step(next)
	}
	return next.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(n slog.Handler) slog.Handler { return n.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return h.with(func(n slog.Handler) slog.Handler { return n.WithGroup(name) })
}

func (h traceHandler) with(step func(slog.Handler) slog.Handler) slog.Handler {
	h.full = step(h.full)
	h.steps = append(slices.Clip(h.steps), step)
	return h
}

// lockedWriter lets the log and the console exporters share one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
