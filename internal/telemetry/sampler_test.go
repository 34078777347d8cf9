package telemetry

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// ask sends one request through the door, with token.get inside as in the broker,
// and gives the span context that its handler saw.
func ask(t *testing.T, tel *Telemetry, traceparent string) (seen trace.SpanContext) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/token?resource=graph", nil)
	if traceparent != "" {
		req.Header.Set("Traceparent", traceparent)
	}
	tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = trace.SpanContextFromContext(r.Context())
		tel.SetRoute(r.Context(), "GET /v1/token")
		ctx, call := tel.TokenGet(r.Context(), "crm", opsGraph)
		tel.Logger().InfoContext(ctx, "asked")
		call.Done(TokenResult{Key: opsGraph, Source: "cache"})
	})).ServeHTTP(httptest.NewRecorder(), req)
	return seen
}

const (
	traceOfCaller = "0af7651916cd43dd8448eb211c80319c"
	sampledParent = "00-" + traceOfCaller + "-b7ad6b7169203331-01"
	droppedParent = "00-" + traceOfCaller + "-b7ad6b7169203331-00"
)

func TestSamplers(t *testing.T) {
	for _, c := range []struct {
		sampler, ratio         string
		root, sampled, dropped bool // is it traced: without a parent, with a sampled one, with one that is not
	}{
		{"", "", true, true, false},
		{"always_on", "", true, true, true},
		{"always_off", "", false, false, false},
		{"parentbased_always_on", "", true, true, false},
		{"Parentbased_Always_Off", "", false, true, false}, // values are not case-sensitive
		{"traceidratio", "", true, true, true},
		{"traceidratio", "0", false, false, false},
		{"traceidratio", "1", true, true, true},
		{"parentbased_traceidratio", "0", false, true, false},
		{"parentbased_traceidratio", "2", true, true, false}, // wrong: 1
		{"parentbased_traceidratio", "x", true, true, false},
		{"parentbased_traceidratio", "NaN", true, true, false},
		{"jaeger_remote", "", true, true, false}, // not known: the default
	} {
		t.Run(c.sampler+c.ratio, func(t *testing.T) {
			for parent, want := range map[string]bool{"": c.root, sampledParent: c.sampled, droppedParent: c.dropped, "00-nonsense": c.root} {
				checkSampled(t, map[string]string{"OTEL_TRACES_SAMPLER": c.sampler, "OTEL_TRACES_SAMPLER_ARG": c.ratio}, parent, want)
			}
		})
	}
}

// checkSampled sees that a request leaves its two spans in one trace, or none.
func checkSampled(t *testing.T, env map[string]string, parent string, want bool) {
	t.Helper()
	c, log := &collector{}, &bytes.Buffer{}
	env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = c.serveHTTP(t) + "/v1/traces"
	tel := start(t, log, env)
	seen := ask(t, tel, parent)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !seen.IsValid() || seen.IsSampled() != want || seen.IsRemote() {
		t.Errorf("parent %q: the handler sees %+v, want sampled %v", parent, seen, want)
	}
	if len(parent) == traceRefLength && seen.TraceID().String() != traceOfCaller {
		t.Errorf("parent %q: its trace is not continued but %s", parent, seen.TraceID())
	}
	if !strings.Contains(log.String(), `"msg":"asked","trace_id":"`+seen.TraceID().String()) {
		t.Errorf("parent %q: no trace ID %s in the log: %s", parent, seen.TraceID(), log)
	}
	spans := 0
	if want {
		spans = 2
	}
	if len(c.spans) != spans {
		t.Fatalf("parent %q: %d spans, want %d", parent, len(c.spans), spans)
	}
	for _, s := range c.spans {
		if got := hex.EncodeToString(s.GetTraceId()); got != seen.TraceID().String() {
			t.Errorf("parent %q: %s is of trace %s, the handler of %s", parent, s.GetName(), got, seen.TraceID())
		}
	}
}

// The coin is tossed once for a request: the door's decision is the provider's.
func TestRatioIsKept(t *testing.T) {
	const requests, ratio = 20000, 0.01
	c := &collector{}
	tel := start(t, io.Discard, map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.serveHTTP(t) + "/v1/traces", "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
		"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": fmt.Sprint(ratio),
	})
	sampled, all := map[string]bool{}, map[trace.TraceID]bool{}
	for range requests {
		seen := ask(t, tel, "")
		all[seen.TraceID()] = true
		if seen.IsSampled() {
			sampled[seen.TraceID().String()] = true
		}
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(all) != requests {
		t.Errorf("%d requests have %d traces", requests, len(all))
	}
	if n := len(sampled); n < 110 || n > 310 { // 200 are expected, the standard deviation is 14
		t.Errorf("%d of %d requests were sampled", n, requests)
	}
	spans := map[string]int{}
	for _, s := range c.spans {
		spans[hex.EncodeToString(s.GetTraceId())]++
	}
	if len(spans) != len(sampled) {
		t.Errorf("%d traces were sampled, %d arrived", len(sampled), len(spans))
	}
	for id, n := range spans {
		if n != 2 || !sampled[id] {
			t.Errorf("trace %s: %d spans, sampled at the door: %v", id, n, sampled[id])
		}
	}
}

func TestWrongSamplerIsSaid(t *testing.T) {
	for env, want := range map[[2]string]string{
		{"jaeger_remote", ""}:                 `OTEL_TRACES_SAMPLER=\"jaeger_remote\" is not known`,
		{"traceidratio", "1 %"}:               `OTEL_TRACES_SAMPLER_ARG=\"1 %\" is no ratio`,
		{"parentbased_traceidratio", "-0.01"}: `OTEL_TRACES_SAMPLER_ARG=\"-0.01\" is no ratio`,
	} {
		var log bytes.Buffer
		tel := start(t, &log, map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": env[0], "OTEL_TRACES_SAMPLER_ARG": env[1]})
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the log: %s", want, log.String())
		}
	}
}

// Most requests of a sampled broker go this way.
func BenchmarkDoorNotSampled(b *testing.B) {
	tel, err := Setup(b.Context(), Config{Getenv: func(name string) string {
		return map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "always_off"}[name]
	}})
	if err != nil {
		b.Fatal(err)
	}
	h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, call := tel.TokenGet(r.Context(), "crm", opsGraph)
		call.Done(TokenResult{Key: opsGraph, Source: "cache"})
	}))
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/token", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
