package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// otlpReceiver is an OTLP receiver over HTTP.
type otlpReceiver struct {
	mu      sync.Mutex
	spans   []*tracepb.Span
	metrics map[string]bool // names
	logs    int
	texts   []string // every message, decoded and as it came
}

// newReceiver starts a receiver and points the OTEL_* variables of this process
// at it: the SDK reads them itself. It gives those that the broker reads.
func newReceiver(t *testing.T) (*otlpReceiver, map[string]string) {
	t.Helper()
	c := &otlpReceiver{metrics: map[string]bool{}}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_LOGS_EXPORTER": "otlp",
	}
	for k, v := range env {
		t.Setenv(k, v)
	}
	return c, env
}

// ServeHTTP takes one export.
func (c *otlpReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cut off", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var m proto.Message
	switch r.URL.Path {
	case "/v1/traces":
		m = &coltrace.ExportTraceServiceRequest{}
	case "/v1/metrics":
		m = &colmetrics.ExportMetricsServiceRequest{}
	case "/v1/logs":
		m = &collogs.ExportLogsServiceRequest{}
	default:
		http.NotFound(w, r)
		return
	}
	if err := proto.Unmarshal(body, m); err != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	c.take(m)
	c.texts = append(c.texts, string(body), protojson.Format(m))
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *otlpReceiver) take(m proto.Message) {
	switch m := m.(type) {
	case *coltrace.ExportTraceServiceRequest:
		for _, r := range m.GetResourceSpans() {
			for _, s := range r.GetScopeSpans() {
				c.spans = append(c.spans, s.GetSpans()...)
			}
		}
	case *colmetrics.ExportMetricsServiceRequest:
		for _, r := range m.GetResourceMetrics() {
			for _, s := range r.GetScopeMetrics() {
				for _, one := range s.GetMetrics() {
					c.metrics[one.GetName()] = true
				}
			}
		}
	case *collogs.ExportLogsServiceRequest:
		for _, r := range m.GetResourceLogs() {
			for _, s := range r.GetScopeLogs() {
				c.logs += len(s.GetLogRecords())
			}
		}
	}
}

// named finds the spans of a name.
func (c *otlpReceiver) named(name string) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*tracepb.Span
	for _, s := range c.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

// one finds the only span of a name.
func (c *otlpReceiver) one(t *testing.T, name string) *tracepb.Span {
	t.Helper()
	all := c.named(name)
	if len(all) != 1 {
		t.Fatalf("%d spans named %s, want 1; there are %s", len(all), name, c.names())
	}
	return all[0]
}

func (c *otlpReceiver) names() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, s := range c.spans {
		all = append(all, s.GetName())
	}
	return strings.Join(all, ", ")
}

// attribute is a text attribute of a span.
func attribute(s *tracepb.Span, key string) string {
	for _, kv := range s.GetAttributes() {
		if kv.GetKey() != key {
			continue
		}
		if v, ok := kv.GetValue().GetValue().(*commonpb.AnyValue_StringValue); ok {
			return v.StringValue
		}
		return kv.GetValue().String()
	}
	return ""
}

func traceOf(s *tracepb.Span) string  { return hex.EncodeToString(s.GetTraceId()) }
func spanOf(s *tracepb.Span) string   { return hex.EncodeToString(s.GetSpanId()) }
func parentOf(s *tracepb.Span) string { return hex.EncodeToString(s.GetParentSpanId()) }
