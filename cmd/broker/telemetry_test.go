package main

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// contractMetrics are those of the contract that this broker has.
var contractMetrics = []string{
	"broker.token.requests", "broker.token.request.duration", "broker.token.refreshes", "broker.token.expires_in",
	"broker.account.state", "broker.refresh_token.age", "broker.gate.refusals", "broker.credstore.errors",
}

// One redemption for a starter and nine who wait: the starter's trace, which the
// consumer began, goes down to the request to the authority, and the others'
// spans link to it.
func TestTracesFromTheConsumerToTheAuthority(t *testing.T) {
	c, env := newReceiver(t)
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{Latency: 300 * time.Millisecond}, env: env})
	w.ready()
	const consumerTrace, consumerSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	var group sync.WaitGroup
	group.Go(func() {
		w.try(w.key, http.MethodGet, "/v1/token?resource=graph", "", "Traceparent: 00-"+consumerTrace+"-"+consumerSpan+"-01")
	})
	w.eventually("the redemption starts", func() bool { return w.redemptions() > 0 })
	for range 9 {
		group.Go(func() { w.try(w.key, http.MethodGet, "/v1/token?resource=graph", "") })
	}
	group.Wait()
	w.token("graph")
	w.account(alice)
	w.call(w.key, http.MethodGet, "/v1/token?resource=graph", "", "Origin: https://example.com")
	w.stop()

	refresh := c.one(t, "token.refresh")
	redeem := c.one(t, "entra.redeem")
	server, starter := findStarter(t, c, consumerTrace)
	if parentOf(server) != consumerSpan {
		t.Errorf("the consumer's span is not the parent: %s", parentOf(server))
	}
	chain := []*tracepb.Span{server, starter, refresh, redeem}
	for i, s := range chain[1:] {
		if parent := chain[i]; traceOf(s) != consumerTrace || parentOf(s) != spanOf(parent) {
			t.Errorf("%s is in trace %s under %s; want %s under %s (%s)", s.GetName(), traceOf(s), parentOf(s), consumerTrace, spanOf(parent), parent.GetName())
		}
	}
	checkUpstream(t, c, redeem)
	checkWaiters(t, c, refresh)
	if got := attribute(server, "http.route"); got != "/v1/token" {
		t.Errorf("http.route is %q", got)
	}
	view := c.one(t, "GET /v1/accounts/{account}")
	if got := attribute(view, "http.route"); got != "/v1/accounts/{account}" {
		t.Errorf("http.route is %q", got)
	}
	for _, name := range []string{"POST /v1/signins", "GET /v1/signins/{id}", "POST /v1/consumers", "signin", "credstore.save", "credstore.load"} {
		if len(c.named(name)) == 0 {
			t.Errorf("there is no span %s among %s", name, c.names())
		}
	}
	for _, name := range contractMetrics {
		if !c.metrics[name] && name != "broker.credstore.errors" { // which nothing caused
			t.Errorf("metric %s was not exported: %v", name, c.metrics)
		}
	}
	if c.logs == 0 {
		t.Error("no log was exported")
	}
}

// findStarter finds the server span and the token.get of the consumer's trace.
func findStarter(t *testing.T, c *otlpReceiver, trace string) (server, get *tracepb.Span) {
	t.Helper()
	for _, s := range c.named("GET /v1/token") {
		if traceOf(s) == trace {
			server = s
		}
	}
	for _, s := range c.named("token.get") {
		if traceOf(s) == trace {
			get = s
		}
	}
	if server == nil || get == nil {
		t.Fatalf("the consumer's trace is not continued among %s", c.names())
	}
	return server, get
}

// checkUpstream looks at the request to the authority, below entra.redeem.
func checkUpstream(t *testing.T, c *otlpReceiver, redeem *tracepb.Span) {
	t.Helper()
	for _, s := range c.named("POST") {
		if parentOf(s) == spanOf(redeem) && s.GetKind() == tracepb.Span_SPAN_KIND_CLIENT {
			if url := attribute(s, "url.full"); !strings.HasSuffix(url, "/oauth2/v2.0/token") {
				t.Errorf("url.full is %q", url)
			}
			return
		}
	}
	t.Errorf("no client span below entra.redeem among %s", c.names())
}

// checkWaiters looks at token.get: ten of the redemption, each with its link,
// and one from the cache without.
func checkWaiters(t *testing.T, c *otlpReceiver, refresh *tracepb.Span) {
	t.Helper()
	linked, cached, hash := 0, 0, ""
	for _, s := range c.named("token.get") {
		switch attribute(s, "broker.token.source") {
		case "refresh":
			linked++
			if l := s.GetLinks(); len(l) != 1 || !bytes.Equal(l[0].GetSpanId(), refresh.GetSpanId()) || !bytes.Equal(l[0].GetTraceId(), refresh.GetTraceId()) {
				t.Errorf("a waiter has no link to the redemption: %v", l)
			}
		case "cache":
			cached++
			if len(s.GetLinks()) != 0 {
				t.Errorf("a token from the cache links to %v", s.GetLinks())
			}
		}
		if attribute(s, "broker.consumer") != "app" || attribute(s, "broker.resource") != "graph" {
			t.Errorf("attributes %v", s.GetAttributes())
		}
		if hash == "" {
			hash = attribute(s, "broker.account.hash")
		}
		if got := attribute(s, "broker.account.hash"); got == "" || got != hash {
			t.Errorf("account hash %q, want %q", got, hash)
		}
	}
	if linked != 10 || cached != 1 {
		t.Errorf("%d spans token.get of the redemption, %d of the cache; want 10 and 1", linked, cached)
	}
	if got := attribute(refresh, "broker.account.hash"); got != hash {
		t.Errorf("token.refresh has account hash %q, want %q", got, hash)
	}
}

// Metrics are counted with no exporter at all.
func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	newInBubble(t, bubbleOptions(), func(w *world) {
		w.ready()
		w.token("graph")
		w.token("graph")
		w.get("nosuch")
		w.call(w.key, http.MethodGet, "/v1/token?resource=graph", "", "Origin: https://example.com")
		w.fault(sandbox.Fault{Scenario: "unavailable", Endpoint: sandbox.EndpointTokenRefresh})
		w.get("ews")
		text := string(w.call(w.admin, http.MethodGet, "/metrics", "").body)
		for _, want := range []string{
			`broker_token_requests_total{broker_consumer="app",broker_outcome="ok",broker_resource="graph",broker_token_source="cache"} 1`,
			`broker_token_requests_total{broker_consumer="app",broker_outcome="ok",broker_resource="graph",broker_token_source="refresh"} 1`,
			`broker_outcome="unknown-resource"`,
			`broker_token_refreshes_total{broker_outcome="upstream-unavailable",broker_resource="ews"} 1`,
			`broker_token_request_duration_seconds_count`,
			`broker_token_expires_in_seconds{`, `broker_refresh_token_age_seconds{`,
			`broker_gate_refusals_total{broker_gate_reason="origin"} 1`,
			`broker_account_state="degraded"} 1`,
		} {
			if !strings.Contains(text, want) {
				w.t.Errorf("/metrics lacks %s", want)
			}
		}
		if w.t.Failed() {
			w.t.Log(text)
		}
		if got := w.call(w.key, http.MethodGet, "/metrics", ""); got.status != http.StatusForbidden {
			w.t.Errorf("a consumer without metrics: %d", got.status)
		}
	})
}
