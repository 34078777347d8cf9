package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Renewal is one attempt to get Outlook to renew, told when it has ended.
type Renewal struct {
	Target  string // its configured name
	Account string // the Windows account, DOMAIN\user; only its hash leaves this package. Empty: not known
	Action  string // start, send, observe
	Result  string // the phase that it led to
	Reason  string // why; empty: the phase says it all
	OK      bool   // the target can work; false gives the span the status Error
	Parts   []RenewalPart
	Details []Attr // of the renewal's span
}

// RenewalPart is one part of it, or, the first one, the whole. One that never
// began (its time is zero) is left out.
type RenewalPart struct {
	Name         string // SpanMAPIRenewal, SpanMAPIPrecheck, …
	Began, Ended time.Time
}

// Renewal counts the attempt, and records its span and those of its parts, with
// the times that they had. Parts stand in the order in which they began.
func (t *Telemetry) Renewal(ctx context.Context, r Renewal) {
	t.instruments.mapiTriggers.Add(ctx, 1, metric.WithAttributes(
		attribute.String(AttrMAPITarget, label(r.Target)), attribute.String(AttrMAPIAction, label(r.Action)),
		attribute.String(AttrMAPIResult, label(r.Result)), attribute.String(AttrMAPIReason, label(r.Reason))))
	parts := clip(r.Parts)
	if t.tracer == nil || len(parts) == 0 {
		return
	}
	ctx, whole := t.tracer.Start(ctx, parts[0].Name, trace.WithTimestamp(parts[0].Began), trace.WithNewRoot())
	setAttrs(whole, r.Details)
	setAttrs(whole, []Attr{
		{AttrMAPITarget, r.Target},
		{AttrAccountHash, t.AccountHash(r.Account)},
		{AttrMAPIAction, r.Action},
		{AttrMAPIResult, r.Result},
		{AttrMAPIReason, r.Reason},
	})
	if !r.OK {
		whole.SetStatus(codes.Error, "")
	}
	for _, p := range parts[1:] {
		_, part := t.tracer.Start(ctx, p.Name, trace.WithTimestamp(p.Began))
		part.End(trace.WithTimestamp(p.Ended))
	}
	whole.End(trace.WithTimestamp(parts[0].Ended))
}

// clip keeps what a clock that was set meanwhile would turn over: nothing ends
// before it began, no part leaves the whole, and none begins before the one that
// stands before it. It is nil where the whole never began.
func clip(parts []RenewalPart) []RenewalPart {
	if len(parts) == 0 || parts[0].Began.IsZero() {
		return nil
	}
	whole := parts[0]
	whole.Ended = latest(whole.Began, whole.Ended)
	out, from := []RenewalPart{whole}, whole.Began
	for _, p := range parts[1:] {
		if p.Began.IsZero() {
			continue
		}
		from = earliest(latest(p.Began, from), whole.Ended)
		p.Began, p.Ended = from, earliest(latest(p.Ended, from), whole.Ended)
		out = append(out, p)
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// MAPISample is what the gauges show of one Outlook target.
type MAPISample struct {
	Target    string
	Phase     string
	Freshness string
	ProvedOn  time.Time // zero shows no age
}

// ObserveMAPI feeds the gauges of the Outlook targets. phases and freshness are
// all values there are, so that a gauge that was 1 becomes 0. read is called for
// every collection, from any goroutine, and must not block. It returns a function
// that ends the feeding.
func (t *Telemetry) ObserveMAPI(phases, freshness []string, read func() []MAPISample) (stop func(), err error) {
	i := t.instruments
	reg, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := time.Now()
		for _, s := range read() {
			target := attribute.String(AttrMAPITarget, label(s.Target))
			oneOf(o, i.mapiState, target, attribute.String(AttrMAPIPhase, s.Phase), phases)
			oneOf(o, i.mapiFreshness, target, attribute.String(AttrMAPIFresh, s.Freshness), freshness)
			if !s.ProvedOn.IsZero() {
				o.ObserveFloat64(i.mapiProofAge, now.Sub(s.ProvedOn).Seconds(), metric.WithAttributes(target))
			}
		}
		return nil
	}, i.mapiState, i.mapiFreshness, i.mapiProofAge)
	if err != nil {
		return nil, err
	}
	return func() { _ = reg.Unregister() }, nil
}

// oneOf shows 1 for the value that is true of a target, and 0 for all others.
func oneOf(o metric.Observer, g metric.Int64Observable, target, is attribute.KeyValue, all []string) {
	for _, v := range all {
		value := int64(0)
		if v == is.Value.AsString() {
			value = 1
		}
		o.ObserveInt64(g, value, metric.WithAttributes(target, is.Key.String(v)))
	}
}
