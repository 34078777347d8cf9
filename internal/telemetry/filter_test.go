package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// requestSpans are the two spans of n requests, as otelhttp and TokenGet leave
// them.
func requestSpans(n int) []sdktrace.ReadOnlySpan {
	server := []attribute.KeyValue{
		attribute.String("server.address", "127.0.0.1"), attribute.String("http.request.method", "GET"), attribute.String("url.scheme", "http"),
		attribute.Int("server.port", 8477), attribute.String("network.peer.address", "127.0.0.1"), attribute.Int("network.peer.port", 50000),
		attribute.String("client.address", "127.0.0.1"), attribute.String("url.path", "/v1/token"), attribute.String("network.protocol.version", "1.1"),
		attribute.String(AttrRoute, "/v1/token"), attribute.Int("http.response.body.size", 2000), attribute.Int(AttrHTTPStatus, 200),
	}
	get := []attribute.KeyValue{
		attribute.String(AttrConsumer, "crm"), attribute.String(AttrResource, "graph"),
		attribute.String(AttrAccountHash, "0123456789abcdef"), attribute.String(AttrSource, "cache"),
	}
	var spans tracetest.SpanStubs
	for range n {
		spans = append(spans, tracetest.SpanStub{Name: "GET /v1/token", Attributes: server}, tracetest.SpanStub{Name: SpanTokenGet, Attributes: get})
	}
	return spans.Snapshots()
}

func exported(t *testing.T, f *filterExporter, into *tracetest.InMemoryExporter, spans []sdktrace.ReadOnlySpan) tracetest.SpanStubs {
	t.Helper()
	into.Reset()
	if err := f.ExportSpans(t.Context(), spans); err != nil {
		t.Fatal(err)
	}
	return into.GetSpans()
}

// The spans of a batch share memory and must not mix; what is remembered must not
// change what leaves the process.
func TestFilterKeepsSpansApart(t *testing.T) {
	into := tracetest.NewInMemoryExporter()
	f := newFilterExporter(into, &redactor{hasher: newAccountHasher([]byte("key"))})
	for range 2 { // the second time from memory
		out := exported(t, f, into, requestSpans(3))
		for i, s := range out {
			want := []string{"server.address", "http.request.method", "url.scheme", "server.port", "network.protocol.version", "http.route", "http.response.body.size", "http.response.status_code"}
			if i%2 == 1 {
				want = []string{AttrConsumer, AttrResource, AttrAccountHash, AttrSource}
			}
			var got []string
			for _, kv := range s.Attributes {
				got = append(got, string(kv.Key))
			}
			if !slices.Equal(got, want) {
				t.Errorf("span %d: %v, want %v", i, got, want)
			}
		}
	}
}

func TestFilterRemembersNothingUnclean(t *testing.T) {
	into := tracetest.NewInMemoryExporter()
	f := newFilterExporter(into, &redactor{hasher: newAccountHasher([]byte("key"))})
	bad := tracetest.SpanStub{Attributes: []attribute.KeyValue{
		attribute.String(AttrConsumer, "brk_CANARY-CANARY"), attribute.String(AttrResource, "ops@contoso.com"),
		attribute.String(AttrURLFull, "https://graph.microsoft.com/v1.0/users/ops@contoso.com?code=CANARY"),
	}}
	var first string
	for k := range 3 {
		text := fmt.Sprint(exported(t, f, into, tracetest.SpanStubs{bad}.Snapshots())[0].Attributes)
		if k == 0 {
			first = text
		}
		if text != first || strings.Contains(text, "CANARY") || strings.Contains(text, "contoso") {
			t.Errorf("time %d: %s, at first %s", k, text, first)
		}
	}
	if want := f.red.text("ops@contoso.com"); f.allowed[AttrResource]["ops@contoso.com"].Value.AsString() != want {
		t.Errorf("remembered %v, want %s", f.allowed[AttrResource], want)
	}
	if len(f.allowed[AttrURLFull]) != 0 {
		t.Error("an address with its query is kept in memory")
	}
	for i := range 3 * maxCleaned {
		f.clean(attribute.String(AttrEntraCorrID, fmt.Sprint(i)), f.allowed[AttrEntraCorrID])
	}
	if n := len(f.allowed[AttrEntraCorrID]); n > maxCleaned {
		t.Errorf("%d texts are remembered", n)
	}
}

func BenchmarkFilter(b *testing.B) {
	const requests = 256 // a batch of the SDK's default size
	f := newFilterExporter(tracetest.NewNoopExporter(), &redactor{hasher: newAccountHasher([]byte("key"))})
	spans := requestSpans(requests)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.ExportSpans(b.Context(), spans); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/requests, "ns/request")
}
