package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/m365-token-broker/broker/internal/token"
)

// instruments are the metrics that are counted rarely enough for the SDK.
type instruments struct {
	refreshes       metric.Int64Counter
	gateRefusals    metric.Int64Counter
	credstoreErrors metric.Int64Counter
	auditLost       metric.Int64Counter
	mapiTriggers    metric.Int64Counter
	ewsCalls        metric.Int64Counter
	proxyRequests   metric.Int64Counter
	proxyDuration   metric.Float64Histogram
	mapiState       metric.Int64ObservableGauge
	mapiFreshness   metric.Int64ObservableGauge
	mapiProofAge    metric.Float64ObservableGauge
	expiresIn       metric.Float64ObservableGauge
	accountState    metric.Int64ObservableGauge
	refreshTokenAge metric.Float64ObservableGauge
	predictedEnd    metric.Float64ObservableGauge
}

func newInstruments(m metric.Meter) (instruments, error) {
	b := builder{meter: m}
	i := instruments{
		refreshes:       b.counter(MetricTokenRefreshes),
		gateRefusals:    b.counter(MetricGateRefusals),
		credstoreErrors: b.counter(MetricCredstoreErrors),
		auditLost:       b.counter(MetricAuditLost),
		mapiTriggers:    b.counter(MetricMAPITriggers),
		ewsCalls:        b.counter(MetricEWSCalls),
		proxyRequests:   b.counter(MetricProxyRequests),
		proxyDuration:   b.seconds(MetricProxyDuration),
		mapiState:       b.intGauge(MetricMAPIState),
		mapiFreshness:   b.intGauge(MetricMAPIFreshness),
		mapiProofAge:    b.floatGauge(MetricMAPIProofAge),
		expiresIn:       b.floatGauge(MetricTokenExpiresIn),
		accountState:    b.intGauge(MetricAccountState),
		refreshTokenAge: b.floatGauge(MetricRefreshTokenAge),
		predictedEnd:    b.floatGauge(MetricPredictedEnd),
	}
	return i, b.err
}

// builder makes instruments from their rows and keeps the first error.
type builder struct {
	meter metric.Meter
	err   error
}

func (b *builder) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) counter(name string) metric.Int64Counter {
	row := describe(name)
	c, err := b.meter.Int64Counter(name, metric.WithUnit(row.unit), metric.WithDescription(row.about))
	b.keep(err)
	return c
}

// seconds makes a histogram of times, with the buckets of durationBounds.
func (b *builder) seconds(name string) metric.Float64Histogram {
	row := describe(name)
	bounds := make([]float64, len(durationBounds))
	for i, d := range durationBounds {
		bounds[i] = d.Seconds()
	}
	h, err := b.meter.Float64Histogram(name, metric.WithUnit(row.unit), metric.WithDescription(row.about), metric.WithExplicitBucketBoundaries(bounds...))
	b.keep(err)
	return h
}

func (b *builder) floatGauge(name string) metric.Float64ObservableGauge {
	row := describe(name)
	g, err := b.meter.Float64ObservableGauge(name, metric.WithUnit(row.unit), metric.WithDescription(row.about))
	b.keep(err)
	return g
}

func (b *builder) intGauge(name string) metric.Int64ObservableGauge {
	row := describe(name)
	g, err := b.meter.Int64ObservableGauge(name, metric.WithUnit(row.unit), metric.WithDescription(row.about))
	b.keep(err)
	return g
}

// GateRefusal counts a request that the gate refused. reason is one of the
// gate's own words ("host", "origin", …).
func (t *Telemetry) GateRefusal(ctx context.Context, reason string) {
	t.instruments.gateRefusals.Add(ctx, 1, metric.WithAttributes(attribute.String(AttrGateReason, label(reason))))
}

// CredstoreError counts a failed operation of the credential store: operation
// is save, load, delete or list, reason one of the store's own words.
func (t *Telemetry) CredstoreError(ctx context.Context, operation, reason string) {
	t.instruments.credstoreErrors.Add(ctx, 1, metric.WithAttributes(
		attribute.String(AttrOperation, label(operation)), attribute.String(AttrReason, label(reason))))
}

// AuditLost counts lines of the audit log that could not be written.
func (t *Telemetry) AuditLost(ctx context.Context, lines int64) {
	t.instruments.auditLost.Add(ctx, lines)
}

// EWSCall counts a call of Exchange Web Services that went through the proxy:
// consumer is its label, operation one of a closed list of names.
func (t *Telemetry) EWSCall(ctx context.Context, consumer, operation string) {
	t.instruments.ewsCalls.Add(ctx, 1, metric.WithAttributes(
		attribute.String(AttrConsumer, label(consumer)), attribute.String(AttrEWSOperation, label(operation))))
}

// ProxyResult is how a request through the proxy ended.
type ProxyResult struct {
	Consumer string        // its label
	Resource string        // configured name; "" where the caller's was none
	Status   int           // of the resource's answer; 0 where there was none
	Err      error         // why there was none, or why it broke off
	Took     time.Duration // until the answer began
}

// ProxyRequest counts a request that went through the proxy.
func (t *Telemetry) ProxyRequest(ctx context.Context, r ProxyResult) {
	outcome := outcomeOK
	if r.Err != nil {
		outcome = int(token.KindOf(r.Err))
	}
	set := metric.WithAttributeSet(attribute.NewSet(
		attribute.String(AttrConsumer, label(r.Consumer)), attribute.String(AttrResource, label(r.Resource)),
		attribute.Int(AttrHTTPStatus, r.Status), attribute.String(AttrOutcome, outcomeName(outcome))))
	t.instruments.proxyRequests.Add(ctx, 1, set)
	t.instruments.proxyDuration.Record(ctx, r.Took.Seconds(), set)
}

// AccountSample is what the gauges show of one account.
type AccountSample struct {
	Account        string    // its name; only its hash leaves this package
	State          string    // ok, degraded or sign_in_required
	RefreshTokenOn time.Time // when its refresh token arrived; zero shows no age
	PredictedEnd   time.Time // when its sign-in ends by itself; zero shows nothing
	EndReason      string    // idle or sign_in_frequency
	Tokens         []TokenSample
}

// TokenSample is what the gauges show of one cached access token.
type TokenSample struct {
	Resource  string
	ExpiresOn time.Time
}

// accountStates are all states, so that a gauge that was 1 becomes 0 and does
// not just vanish.
var accountStates = []string{"ok", "degraded", "sign_in_required"}

// Observe feeds the gauges of accounts and tokens: read is called for every
// collection, from any goroutine, and must not block. It returns a function
// that ends the feeding.
func (t *Telemetry) Observe(read func() []AccountSample) (stop func(), err error) {
	i := t.instruments
	reg, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := time.Now()
		for _, s := range read() {
			t.observeAccount(o, s, now)
		}
		return nil
	}, i.expiresIn, i.accountState, i.refreshTokenAge, i.predictedEnd)
	if err != nil {
		return nil, err
	}
	return func() { _ = reg.Unregister() }, nil
}

func (t *Telemetry) observeAccount(o metric.Observer, s AccountSample, now time.Time) {
	account := attribute.String(AttrAccountHash, t.AccountHash(s.Account))
	for _, state := range accountStates {
		value := int64(0)
		if state == s.State {
			value = 1
		}
		o.ObserveInt64(t.instruments.accountState, value, metric.WithAttributes(account, attribute.String(AttrAccountState, state)))
	}
	if !s.RefreshTokenOn.IsZero() {
		o.ObserveFloat64(t.instruments.refreshTokenAge, now.Sub(s.RefreshTokenOn).Seconds(), metric.WithAttributes(account))
	}
	if !s.PredictedEnd.IsZero() {
		o.ObserveFloat64(t.instruments.predictedEnd, s.PredictedEnd.Sub(now).Seconds(),
			metric.WithAttributes(account, attribute.String(AttrEndReason, label(s.EndReason))))
	}
	for _, tok := range s.Tokens {
		o.ObserveFloat64(t.instruments.expiresIn, tok.ExpiresOn.Sub(now).Seconds(),
			metric.WithAttributes(account, attribute.String(AttrResource, label(tok.Resource))))
	}
}

// MetricsHandler serves all metrics as Prometheus text, with those of the Go
// runtime and the process. It works without any OTEL_* variable and asks no
// one who is calling: whoever mounts it checks the key.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(t.logger.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError,
	})
}
