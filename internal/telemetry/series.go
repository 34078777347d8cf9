package telemetry

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/m365-token-broker/broker/internal/token"
)

// A token request that the cache answers takes about a microsecond; two
// instruments of the OpenTelemetry SDK (a counter and a histogram, 200 ns each)
// would be half of it. So these two metrics are counted here with atomic adds
// and handed to the SDK when it collects, as a metric.Producer.

// maxSeries bounds the number of attribute combinations. Consumers and
// resources come from the configuration, so a real broker has some dozens; past
// the bound everything is counted under the name "_other".
const maxSeries = 1000

// Values of metric attributes that stand for something else.
const (
	other = "_other" // a value that is not one of ours
	none  = "none"   // no value
)

// durationBounds are the upper bounds of the histogram's buckets: cache hits
// are microseconds, redemptions 100 ms to 20 s.
var durationBounds = [...]time.Duration{
	10 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 20 * time.Second,
}

// outcomeOK is the outcome of a call without an error; other outcomes are the
// numbers of token.Kind.
const outcomeOK = -1

func outcomeName(outcome int) string {
	if outcome == outcomeOK {
		return "ok"
	}
	return token.Kind(outcome).Code()
}

// seriesKey is one combination of attributes.
type seriesKey struct {
	consumer, resource, source string
	outcome                    int
}

// series counts one combination. The number of requests is the sum of buckets.
type series struct {
	attributes attribute.Set
	buckets    [len(durationBounds) + 1]atomic.Uint64
	nanos      atomic.Int64
}

// requestSeries holds every combination seen. Readers load an immutable map;
// writers copy it under mu.
type requestSeries struct {
	started time.Time
	byKey   atomic.Pointer[map[seriesKey]*series]
	mu      sync.Mutex
}

func newRequestSeries() *requestSeries {
	s := &requestSeries{started: time.Now()}
	s.byKey.Store(&map[seriesKey]*series{})
	return s
}

// record counts one request.
func (s *requestSeries) record(key seriesKey, took time.Duration) {
	one, ok := (*s.byKey.Load())[key]
	if !ok {
		one = s.add(key)
	}
	bucket := len(durationBounds)
	for i, bound := range durationBounds {
		if took <= bound {
			bucket = i
			break
		}
	}
	one.buckets[bucket].Add(1)
	one.nanos.Add(int64(took))
}

// add makes the series of key, or finds the one that stands for it where key
// holds foreign text or there are too many.
func (s *requestSeries) add(key seriesKey) *series {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.byKey.Load()
	if one, ok := old[key]; ok {
		return one
	}
	clean := seriesKey{label(key.consumer), label(key.resource), label(key.source), key.outcome}
	if one, ok := old[clean]; ok {
		return one
	}
	if len(old) >= maxSeries {
		clean.consumer, clean.resource = other, other
		if one, ok := old[clean]; ok {
			return one
		}
	}
	one := &series{attributes: attribute.NewSet(
		attribute.String(AttrConsumer, clean.consumer),
		attribute.String(AttrResource, clean.resource),
		attribute.String(AttrSource, clean.source),
		attribute.String(AttrOutcome, outcomeName(clean.outcome)),
	)}
	next := maps.Clone(old)
	next[clean] = one
	s.byKey.Store(&next)
	return one
}

// Produce implements metric.Producer of the SDK.
func (s *requestSeries) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now, all := time.Now(), *s.byKey.Load()
	if len(all) == 0 {
		return nil, nil
	}
	bounds := make([]float64, len(durationBounds))
	for i, b := range durationBounds {
		bounds[i] = b.Seconds()
	}
	counts := metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	times := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
	for _, one := range all {
		point := metricdata.HistogramDataPoint[float64]{
			Attributes: one.attributes, StartTime: s.started, Time: now, Bounds: bounds,
			BucketCounts: make([]uint64, len(one.buckets)), Sum: time.Duration(one.nanos.Load()).Seconds(),
		}
		for i := range one.buckets {
			point.BucketCounts[i] = one.buckets[i].Load()
			point.Count += point.BucketCounts[i]
		}
		times.DataPoints = append(times.DataPoints, point)
		counts.DataPoints = append(counts.DataPoints, metricdata.DataPoint[int64]{
			Attributes: one.attributes, StartTime: s.started, Time: now, Value: int64(point.Count),
		})
	}
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: scopeName},
		Metrics: []metricdata.Metrics{
			produced(MetricTokenRequests, counts),
			produced(MetricTokenDuration, times),
		},
	}}, nil
}

func produced(name string, data metricdata.Aggregation) metricdata.Metrics {
	row := describe(name)
	return metricdata.Metrics{Name: name, Description: row.about, Unit: row.unit, Data: data}
}

// label holds a metric attribute to what configured names look like, so that
// no caller's text becomes a time series.
func label(s string) string {
	if s == "" {
		return none
	}
	if len(s) > 64 {
		return other
	}
	for _, c := range []byte(s) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
		if !ok {
			return other
		}
	}
	return s
}

// orNone is none for an empty string.
func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}
