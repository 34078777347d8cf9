package telemetry

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/m365-token-broker/broker/internal/token"
)

// Attr is one attribute of a span. Its key is one of the Attr constants;
// anything else is removed before export.
type Attr struct{ Key, Value string }

// endNothing ends a span that was never started.
var endNothing = func(error) {}

// Span starts a span around one operation: call the returned function with the
// operation's error, once. It costs nothing to speak of while tracing is off.
func (t *Telemetry) Span(ctx context.Context, name string, attrs ...Attr) (context.Context, func(error)) {
	ctx, span := t.start(ctx, name)
	if span == nil {
		return ctx, endNothing
	}
	setAttrs(span, attrs)
	return ctx, func(err error) { endSpan(span, err) }
}

// SetSpan adds attributes to the span that ctx carries, for what is known only
// later (how a sign-in ended, for example).
func (t *Telemetry) SetSpan(ctx context.Context, attrs ...Attr) {
	if t.tracer != nil {
		setAttrs(trace.SpanFromContext(ctx), attrs)
	}
}

func setAttrs(span trace.Span, attrs []Attr) {
	if !span.IsRecording() {
		return
	}
	for _, a := range attrs {
		if a.Value != "" {
			span.SetAttributes(attribute.String(a.Key, a.Value))
		}
	}
}

// endSpan ends span with the codes of err. Texts stay out: an error's sentence
// may name an account.
func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(errorAttributes(token.AsError(err))...)
	}
	span.End()
}

func errorAttributes(e *token.Error) []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.String(AttrErrorType, e.Kind.Code())}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, attribute.String(key, value))
		}
	}
	add(AttrEntraError, e.OAuthError)
	add(AttrEntraSub, e.SubError)
	add(AttrEntraCorrID, e.CorrelationID)
	add(AttrEntraReqID, e.RequestID)
	if e.AADSTS != 0 {
		add(AttrEntraAADSTS, strconv.Itoa(e.AADSTS))
	}
	if e.Status != 0 {
		attrs = append(attrs, attribute.Int(AttrHTTPStatus, e.Status))
	}
	return attrs
}

// TraceRef is a reference to the span in ctx in the form of W3C traceparent
// (Trace Context section 3.2), for token.Token.Trace and token.Error.Trace. It
// is empty where nothing is traced or the trace is not sampled: a link to a
// span that nobody exports would lead nowhere.
func (t *Telemetry) TraceRef(ctx context.Context) string {
	if t.tracer == nil {
		return ""
	}
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() || !sc.IsSampled() {
		return ""
	}
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01"
}

// traceRefLength is that of version 00: 2-32-16-2 hex digits and three dashes.
const traceRefLength = 55

// parseTraceRef reads what TraceRef wrote.
func parseTraceRef(ref string) (trace.SpanContext, bool) {
	if len(ref) != traceRefLength || ref[:3] != "00-" || ref[35] != '-' || ref[52] != '-' {
		return trace.SpanContext{}, false
	}
	traceID, err := trace.TraceIDFromHex(ref[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	spanID, err := trace.SpanIDFromHex(ref[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled}), true
}
