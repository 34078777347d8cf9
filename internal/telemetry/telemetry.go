// Package telemetry wraps the broker's seams in spans, metrics and logs. It is
// the only package that knows OpenTelemetry: others call its functions with
// plain types, or are called through the adapters in cmd/broker.
//
// Everything is switched by OpenTelemetry's own OTEL_* variables and off by
// default, except the metrics of GET /metrics, which are always counted. An
// exporter that is slow, broken or gone never slows or fails a request: spans
// and log records are queued without waiting and dropped when the queue is
// full. docs/telemetry.md lists every name; names.go is the same list.
//
// No token, key, user code, claims value, mail address or profile name stands
// in telemetry. Three things hold that: nobody passes one in, the span
// exporter lets only listed attributes out (filter.go), and the log is redacted
// (redact.go).
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// shutdownTimeout bounds Shutdown, whatever a collector does.
const shutdownTimeout = 3 * time.Second

// Config is what Setup needs.
type Config struct {
	ServiceVersion string

	// Getenv reads the environment, os.Getenv in the program. It decides which
	// signals are on; the exporters then read the process's own environment.
	Getenv func(string) string

	LogWriter io.Writer // usually os.Stderr; nil discards
	LogLevel  string    // debug, info (also ""), warn, error
	LogFormat string    // auto (also ""): text on a terminal, else json; text; json

	// HashKey is a secret of this installation, for example its admin key; the
	// key of the account hash is derived from it. Without it account hashes
	// change at every start.
	HashKey []byte

	// Redact are further literal texts to keep out of logs and spans.
	Redact []string
}

// Telemetry is the broker's tracing, metrics and log. It is safe for concurrent
// use. Make it with Setup.
type Telemetry struct {
	epoch    time.Time // start of the monotonic clock of sinceEpoch
	hasher   *accountHasher
	level    *slog.LevelVar
	logger   *slog.Logger
	traces   trace.TracerProvider
	tracer   trace.Tracer // nil: tracing is off
	sampler  sdktrace.Sampler
	byID     bool // see samplerOf
	meter    metric.Meter
	registry *prometheus.Registry
	requests *requestSeries // nil: OTEL_SDK_DISABLED

	instruments instruments
	shutdowns   []func(context.Context) error
}

// Setup reads the OTEL_* variables and starts what they ask for. It returns an
// error only for a log level or format that is not known; a wrong OTEL_*
// variable or an exporter that cannot be made switches its signal off and says
// so in the log.
//
// OpenTelemetry's error handler and diagnostic log are global to the process;
// Setup points both at this Telemetry's log. It sets no other global.
func Setup(ctx context.Context, cfg Config) (*Telemetry, error) {
	s, err := newSetup(cfg)
	if err != nil {
		return nil, err
	}
	t := s.t
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.cfg.Getenv("OTEL_SDK_DISABLED") == "true" {
		t.meter = metricnoop.NewMeterProvider().Meter(scopeName)
		t.instruments, err = newInstruments(t.meter)
		return t, err
	}
	diagnostics := &exportErrors{log: t.logger}
	otel.SetErrorHandler(diagnostics)
	otel.SetLogger(logr.New(diagnostics))

	res := s.resource(ctx)
	s.startTraces(ctx, res)
	if err := s.startMetrics(ctx, res); err != nil {
		return nil, err
	}
	s.startLogs(ctx, res)
	return t, nil
}

// setup is a Telemetry in the making.
type setup struct {
	t   *Telemetry
	cfg Config
	out io.Writer // shared by the log and the console exporters
}

func newSetup(cfg Config) (*setup, error) {
	if cfg.LogWriter == nil {
		cfg.LogWriter = io.Discard
	}
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	level, err := parseLevel(cfg.LogLevel)
	if err != nil {
		return nil, err
	}
	if cfg.LogFormat == "" || cfg.LogFormat == "auto" {
		cfg.LogFormat = autoFormat(cfg.LogWriter)
	}
	t := &Telemetry{
		epoch:    time.Now(),
		hasher:   newAccountHasher(cfg.HashKey),
		level:    new(slog.LevelVar),
		registry: prometheus.NewRegistry(),
	}
	t.level.Set(level)
	s := &setup{t: t, cfg: cfg, out: &lockedWriter{w: cfg.LogWriter}}
	local, err := localHandler(s.out, cfg.LogFormat)
	if err != nil {
		return nil, err
	}
	clean := cleanHandler{level: t.level, red: s.redactor(false), next: local}
	t.logger = slog.New(traceHandler{root: clean, full: clean})
	return s, nil
}

// redactor makes one for the local log, or for what leaves the machine.
func (s *setup) redactor(exported bool) *redactor {
	return &redactor{hasher: s.t.hasher, words: s.cfg.Redact, accounts: exported}
}

// off says why a signal stays off.
func (s *setup) off(sig signal, why string) {
	s.t.logger.Warn("telemetry is off for one signal", slog.String("signal", string(sig)), slog.String("cause", why))
}

// exporter decides on a signal's exporter and logs what was odd about it.
func (s *setup) exporter(sig signal) string {
	exporter, warning := choose(s.cfg.Getenv, sig)
	if warning != "" {
		s.off(sig, warning)
	}
	if exporter != exporterNone {
		s.t.logger.Info("telemetry is exported", slog.String("signal", string(sig)), slog.String("exporter", exporter))
	}
	return exporter
}

// resource describes this process. OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES win over what we say ourselves. The process's
// arguments and its user are left out.
func (s *setup) resource(ctx context.Context) *resource.Resource {
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithOSType(),
		resource.WithAttributes(
			attribute.String("service.name", serviceName),
			attribute.String("service.version", s.cfg.ServiceVersion),
			attribute.String("service.instance.id", uuid.NewString()),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		s.t.logger.WarnContext(ctx, "OTEL_RESOURCE_ATTRIBUTES or the host's name could not be read whole", slog.String("cause", err.Error()))
	}
	return res
}

// startTraces leaves the tracer nil where no exporter is asked for: then no
// span is ever made.
func (s *setup) startTraces(ctx context.Context, res *resource.Resource) {
	kind := s.exporter(signalTraces)
	if kind == exporterNone {
		return
	}
	exporter, err := spanExporter(ctx, kind, s.out)
	if err != nil {
		s.off(signalTraces, err.Error())
		return
	}
	var warning string
	if s.t.sampler, s.t.byID, warning = samplerOf(s.cfg.Getenv); warning != "" {
		s.t.logger.WarnContext(ctx, "a setting of the traces is wrong", slog.String("cause", warning))
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithSampler(s.t.sampler),
		sdktrace.WithIDGenerator(idGenerator{}),
		sdktrace.WithBatcher(newFilterExporter(exporter, s.redactor(true))), // drops when full, OTEL_BSP_* apply
	)
	s.t.traces = provider
	s.t.tracer = provider.Tracer(scopeName, trace.WithInstrumentationVersion(s.cfg.ServiceVersion))
	s.t.shutdowns = append(s.t.shutdowns, provider.Shutdown)
}

// startMetrics always serves Prometheus, and exports where that is asked for.
func (s *setup) startMetrics(ctx context.Context, res *resource.Resource) error {
	t := s.t
	t.requests = newRequestSeries()
	scrape, err := promexporter.New(
		promexporter.WithRegisterer(t.registry),
		promexporter.WithProducer(t.requests),
		promexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		promexporter.WithoutScopeInfo(),
	)
	if err != nil {
		return fmt.Errorf("prometheus exporter: %w", err)
	}
	opts := []sdkmetric.Option{
		sdkmetric.WithResource(res),
		sdkmetric.WithReader(scrape),
		sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter),
		sdkmetric.WithCardinalityLimit(0), // accounts are bounded by the configuration, labels by label
	}
	if kind := s.exporter(signalMetrics); kind != exporterNone {
		exporter, err := metricExporter(ctx, kind, protocol(s.cfg.Getenv, signalMetrics), s.out)
		if err != nil {
			s.off(signalMetrics, err.Error())
		} else {
			opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(t.requests))))
		}
	}
	provider := sdkmetric.NewMeterProvider(opts...)
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	t.meter = provider.Meter(scopeName, metric.WithInstrumentationVersion(s.cfg.ServiceVersion))
	t.instruments, err = newInstruments(t.meter)
	return err
}

// startLogs sends the log to OpenTelemetry too, where that is asked for.
func (s *setup) startLogs(ctx context.Context, res *resource.Resource) {
	kind := s.exporter(signalLogs)
	if kind == exporterNone {
		return
	}
	exporter, err := logExporter(ctx, kind, s.out)
	if err != nil {
		s.off(signalLogs, err.Error())
		return
	}
	provider := sdklog.NewLoggerProvider(
		sdklog.WithResource(res),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)), // drops when full, OTEL_BLRP_* apply
	)
	s.t.shutdowns = append(s.t.shutdowns, provider.Shutdown)
	local := s.t.logger.Handler()
	exported := cleanHandler{level: s.t.level, red: s.redactor(true), next: otelslog.NewHandler(scopeName,
		otelslog.WithLoggerProvider(provider), otelslog.WithVersion(s.cfg.ServiceVersion))}
	s.t.logger = slog.New(slog.NewMultiHandler(local, exported))
}

// Shutdown sends what is queued and stops the exporters, all at the same time
// and within 3 seconds or ctx, whichever is shorter. Its error is for the log:
// the program has done its work by then.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	results := make(chan error, len(t.shutdowns))
	for _, stop := range t.shutdowns {
		go func() { results <- stop(ctx) }()
	}
	var all error
	for range t.shutdowns {
		select {
		case err := <-results:
			all = errors.Join(all, err)
		case <-ctx.Done():
			return errors.Join(all, errors.New("telemetry was not sent whole: the collector did not take it in time"))
		}
	}
	return all
}
