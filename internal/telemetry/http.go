package telemetry

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Handler puts a server span around next, where the request is sampled, and
// continues the consumer's W3C traceparent. While tracing is off it returns next
// itself, so that nothing of OpenTelemetry is on the request's way.
func (t *Telemetry) Handler(next http.Handler) http.Handler {
	if t.tracer == nil {
		return next
	}
	traced := otelhttp.NewHandler(next, "",
		otelhttp.WithTracerProvider(t.traces),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // our own metrics say more for less
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return serverSpanName(r) }),
	)
	return door{sampler: t.sampler, byID: t.byID, traced: traced, next: next}
}

// serverSpanName is the name of a server span until SetRoute gives the real
// one: never the path, which may hold an account's name.
func serverSpanName(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return r.Method
	}
	return "HTTP"
}

// SetRoute names the server span by the route's pattern, for example
// "GET /v1/accounts/:account", once the router knows it. Call it with the
// request's own context, before another span is started in it.
func (t *Telemetry) SetRoute(ctx context.Context, pattern string) {
	if t.tracer == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetName(pattern)
	if _, route, ok := strings.Cut(pattern, " "); ok {
		span.SetAttributes(attribute.String(AttrRoute, route))
	}
}

// TransportOption changes what Transport does.
type TransportOption func(*transportConfig)

type transportConfig struct {
	propagator propagation.TextMapPropagator
	noPath     bool
}

// SendTraceparent hands the trace on to the server, for a proxy: where the request
// has a traceparent, because its caller asked for it by sending one.
func SendTraceparent() TransportOption {
	return func(c *transportConfig) { c.propagator = onlyInPlace{} }
}

// onlyInPlace puts the trace in the place of the one that a request came with.
type onlyInPlace struct{ propagation.TraceContext }

// Inject implements propagation.TextMapPropagator.
func (p onlyInPlace) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	if carrier.Get("traceparent") != "" {
		p.TraceContext.Inject(ctx, carrier)
	}
}

// WithoutPath keeps the path out of the spans, where it is not ours to tell: it
// can hold names and search words.
func WithoutPath() TransportOption {
	return func(c *transportConfig) { c.noPath = true }
}

// pathless keeps paths from the transport within it, which makes the span.
type pathless struct{ traced http.RoundTripper }

// fullURL is the key of the URL in the context of a request whose path is hidden.
type fullURL struct{}

// RoundTrip implements http.RoundTripper.
func (p pathless) RoundTrip(r *http.Request) (*http.Response, error) {
	hidden := r.WithContext(context.WithValue(r.Context(), fullURL{}, r.URL))
	hidden.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}
	return p.traced.RoundTrip(hidden)
}

// shown gives them back behind it.
type shown struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s shown) RoundTrip(r *http.Request) (*http.Response, error) {
	if full, ok := r.Context().Value(fullURL{}).(*url.URL); ok {
		r = r.WithContext(r.Context()) // a copy
		r.URL = full
	}
	return s.next.RoundTrip(r)
}

// Transport puts a client span around every request of next: method, host,
// path without query, status; never a header or a body. While tracing is off
// it returns next itself.
//
// No traceparent is sent unless SendTraceparent is given: the trace ID is ours,
// Microsoft's login does nothing with it (it has client-request-id for
// support), and a header that is the same in the requests of several accounts
// would tie these accounts together for everybody on the way.
func (t *Telemetry) Transport(next http.RoundTripper, opts ...TransportOption) http.RoundTripper {
	if t.tracer == nil {
		return next
	}
	cfg := transportConfig{propagator: propagation.NewCompositeTextMapPropagator()}
	for _, opt := range opts {
		opt(&cfg)
	}
	if cfg.noPath {
		next = shown{next}
	}
	traced := otelhttp.NewTransport(next,
		otelhttp.WithTracerProvider(t.traces),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(cfg.propagator),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method }),
	)
	if cfg.noPath {
		return pathless{traced}
	}
	return traced
}
