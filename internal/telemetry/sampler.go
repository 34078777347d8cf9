package telemetry

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The sampler decides at the door which requests are traced, before otelhttp,
// which costs several microseconds even where no span is recorded. It is the
// provider's sampler as well, so that there is one decision for a trace.

// samplerOf reads OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG as the SDK does
// (OpenTelemetry specification, "SDK environment variables"): a value that is
// not known is parentbased_always_on, a ratio that is none is 1. byID reports
// whether the decision on a new trace depends on its ID.
func samplerOf(getenv func(string) string) (s sdktrace.Sampler, byID bool, warning string) {
	const name = "OTEL_TRACES_SAMPLER"
	switch value := strings.ToLower(strings.TrimSpace(getenv(name))); value {
	case "", "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), false, ""
	case "always_on":
		return sdktrace.AlwaysSample(), false, ""
	case "always_off":
		return sdktrace.NeverSample(), false, ""
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample()), false, ""
	case "traceidratio":
		ratio, warning := ratioOf(getenv)
		return sdktrace.TraceIDRatioBased(ratio), true, warning
	case "parentbased_traceidratio":
		ratio, warning := ratioOf(getenv)
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), true, warning
	default:
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), false,
			fmt.Sprintf("%s=%q is not known, every trace is sampled; use one of always_on, always_off, traceidratio, or these with parentbased_ before them", name, value)
	}
}

func ratioOf(getenv func(string) string) (ratio float64, warning string) {
	const name = "OTEL_TRACES_SAMPLER_ARG"
	value := strings.TrimSpace(getenv(name))
	if value == "" {
		return 1, ""
	}
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) { // not a number is neither
		return 1, fmt.Sprintf("%s=%q is no ratio, every trace is sampled; use a number from 0 to 1, such as 0.01", name, value)
	}
	return ratio, ""
}

// door sends a request that is sampled through otelhttp, and any other straight
// on, with a span context that is not sampled: what follows is not traced
// either, and its log lines still have a trace ID in common.
type door struct {
	sampler sdktrace.Sampler
	byID    bool
	traced  http.Handler // otelhttp around next
	next    http.Handler
}

// ServeHTTP implements http.Handler.
func (d door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if len(r.Header["Traceparent"]) > 0 {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	parent := trace.SpanContextFromContext(ctx)
	traceID := parent.TraceID()
	if !parent.IsValid() {
		traceID = newTraceID()
	}
	decided := d.sampler.ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: traceID, Kind: trace.SpanKindServer})
	switch {
	case decided.Decision == sdktrace.Drop:
		sc := trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: traceID, SpanID: newSpanID(),
			TraceFlags: parent.TraceFlags() &^ trace.FlagsSampled, TraceState: decided.Tracestate,
		})
		d.next.ServeHTTP(w, r.WithContext(trace.ContextWithSpanContext(ctx, sc)))
	case d.byID && !parent.IsValid():
		d.traced.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), decidedID{}, traceID)))
	default:
		d.traced.ServeHTTP(w, r)
	}
}

// decidedID is the key of the trace ID that the door has decided on.
type decidedID struct{}

// idGenerator makes random IDs, but begins a trace with the ID that its door has
// decided on, so that the provider's sampler decides likewise.
type idGenerator struct{}

// NewIDs implements sdktrace.IDGenerator.
func (idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if id, ok := ctx.Value(decidedID{}).(trace.TraceID); ok {
		return id, newSpanID()
	}
	return newTraceID(), newSpanID()
}

// NewSpanID implements sdktrace.IDGenerator.
func (idGenerator) NewSpanID(context.Context, trace.TraceID) trace.SpanID { return newSpanID() }

// newTraceID draws an ID. Trace IDs are labels and need not be hard to guess;
// one of zeros is not valid (W3C Trace Context section 3.2.2.3).
func newTraceID() (id trace.TraceID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // a label, no secret
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // a label, no secret
	}
	return id
}

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // a label, no secret
	}
	return id
}

// start begins a span, or gives nil where it would not be recorded because the
// one around it is not: under all of samplerOf's samplers the parts of a trace
// share its fate. (What comes from outside has passed a door.)
func (t *Telemetry) start(ctx context.Context, name string) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	if around := trace.SpanContextFromContext(ctx); around.IsValid() && !around.IsSampled() && !around.IsRemote() {
		return ctx, nil
	}
	return t.tracer.Start(ctx, name)
}
