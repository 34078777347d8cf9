package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/m365-token-broker/broker/internal/token"
)

// TokenCall is one consumer's token request on its way. It is a value, so that
// a request without tracing allocates nothing. Call Done once.
type TokenCall struct {
	t        *Telemetry
	span     trace.Span
	started  time.Duration // since t.epoch
	consumer string
	key      token.Key
}

// TokenResult is how a token request ended.
type TokenResult struct {
	Key     token.Key // the token that was served, in canonical names; zero where none was
	Source  string    // "cache" or "refresh"; empty with an error
	Trace   string    // token.Token.Trace; that of a *token.Error is found in Err
	Warning error     // why renewing failed, while the token served is still valid
	Err     error     // why no token was served
}

// TokenGet starts the span token.get and the clock of the request's metrics.
// key holds what the consumer asked for.
func (t *Telemetry) TokenGet(ctx context.Context, consumer string, key token.Key) (context.Context, TokenCall) {
	call := TokenCall{t: t, consumer: consumer, key: key, started: t.sinceEpoch()}
	ctx, call.span = t.start(ctx, SpanTokenGet)
	return ctx, call
}

// Done counts the request and ends its span. The span gets a link to the one
// redemption that served, or failed, this request and all that waited with it.
func (c *TokenCall) Done(r TokenResult) {
	key, outcome := c.key, outcomeOK
	if r.Key != (token.Key{}) {
		key = r.Key
	}
	if r.Err != nil {
		kind := token.KindOf(r.Err)
		outcome = int(kind)
		if unresolved(kind) {
			key.Resource = other // the caller's own text, not a configured name
		}
	}
	if c.t.requests != nil {
		took := c.t.sinceEpoch() - c.started
		c.t.requests.record(seriesKey{orNone(c.consumer), orNone(key.Resource), orNone(r.Source), outcome}, took)
	}
	if c.span != nil {
		c.endSpan(key, r)
	}
}

func (c *TokenCall) endSpan(key token.Key, r TokenResult) {
	if !c.span.IsRecording() {
		c.span.End()
		return
	}
	attrs := make([]attribute.KeyValue, 0, 5)
	attrs = append(attrs, attribute.String(AttrConsumer, label(c.consumer)), attribute.String(AttrResource, label(key.Resource)))
	if key.Account != "" {
		attrs = append(attrs, attribute.String(AttrAccountHash, c.t.AccountHash(key.Account)))
	}
	if r.Source != "" {
		attrs = append(attrs, attribute.String(AttrSource, r.Source))
	}
	if r.Warning != nil {
		attrs = append(attrs, attribute.String(AttrWarning, token.KindOf(r.Warning).Code()))
	}
	c.span.SetAttributes(attrs...)
	ref := r.Trace
	if ref == "" && r.Err != nil {
		ref = token.AsError(r.Err).Trace
	}
	if sc, ok := parseTraceRef(ref); ok {
		c.span.AddLink(trace.Link{SpanContext: sc})
	}
	endSpan(c.span, r.Err)
}

// unresolved is true of the kinds that end a request before its names were
// found in the configuration.
func unresolved(k token.Kind) bool {
	switch k {
	case token.KindUnknownResource, token.KindInvalidRequest:
		return true
	default:
		return false
	}
}

// TokenRefresh starts the span token.refresh around one upstream redemption.
// Every refresh has a trace of its own or belongs to that of the request that
// started it; TraceRef of the returned context is what its waiters link to.
func (t *Telemetry) TokenRefresh(ctx context.Context, key token.Key) (context.Context, func(error)) {
	ctx, span := t.start(ctx, SpanTokenRefresh)
	if span != nil {
		setAttrs(span, []Attr{{AttrResource, label(key.Resource)}, {AttrAccountHash, t.AccountHash(key.Account)}})
	}
	return ctx, func(err error) {
		outcome := outcomeOK
		if err != nil {
			outcome = int(token.KindOf(err))
		}
		t.instruments.refreshes.Add(ctx, 1, metric.WithAttributes(
			attribute.String(AttrResource, label(key.Resource)), attribute.String(AttrOutcome, outcomeName(outcome))))
		if span != nil {
			endSpan(span, err)
		}
	}
}

// sinceEpoch reads the monotonic clock only, at half the cost of time.Now.
func (t *Telemetry) sinceEpoch() time.Duration { return time.Since(t.epoch) }
