package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/m365-token-broker/broker/internal/token"
)

func sum(t *testing.T, m metricdata.Metrics) int64 {
	t.Helper()
	data, ok := m.Data.(metricdata.Sum[int64])
	if !ok {
		t.Fatalf("%s is %T", m.Name, m.Data)
	}
	total := int64(0)
	for _, p := range data.DataPoints {
		total += p.Value
	}
	return total
}

func TestOffMeansOff(t *testing.T) {
	tel := start(t, io.Discard, nil)
	next := http.NewServeMux()
	if got := tel.Handler(next); got != http.Handler(next) {
		t.Errorf("tracing is off, and Handler returns %T", got)
	}
	transport := &http.Transport{}
	if got := tel.Transport(transport); got != http.RoundTripper(transport) {
		t.Errorf("tracing is off, and Transport returns %T", got)
	}
	ctx, end := tel.Span(t.Context(), SpanSignIn, Attr{AttrFlow, "device"})
	tel.SetSpan(ctx, Attr{AttrSignInState, "failed"})
	tel.SetRoute(ctx, "GET /v1/token")
	end(errors.New("x"))
	ctx, end = tel.TokenRefresh(ctx, opsGraph)
	if ctx != t.Context() || tel.TraceRef(ctx) != "" {
		t.Error("a span was made")
	}
	end(nil)
}

func TestTokenGetAllocatesNothing(t *testing.T) {
	tel := start(t, io.Discard, nil)
	ctx := t.Context()
	err := token.NewError(token.KindDenied, "", "")
	for name, r := range map[string]TokenResult{"served": {Key: opsGraph, Source: "cache"}, "failed": {Err: err}} {
		if n := testing.AllocsPerRun(100, func() {
			_, call := tel.TokenGet(ctx, "crm", token.Key{Resource: "graph"})
			call.Done(r)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkTokenGet(b *testing.B) {
	tel, err := Setup(b.Context(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, result := b.Context(), TokenResult{Key: opsGraph, Source: "cache"}
	b.ReportAllocs()
	for b.Loop() {
		_, call := tel.TokenGet(ctx, "crm", opsGraph)
		call.Done(result)
	}
}

func BenchmarkTokenGetTraced(b *testing.B) {
	b.Setenv("OTEL_TRACES_EXPORTER", "console")
	tel, err := Setup(b.Context(), Config{Getenv: os.Getenv})
	if err != nil {
		b.Fatal(err)
	}
	ctx, result := b.Context(), TokenResult{Key: opsGraph, Source: "cache"}
	b.ReportAllocs()
	for b.Loop() {
		_, call := tel.TokenGet(ctx, "crm", opsGraph)
		call.Done(result)
	}
	_ = tel.Shutdown(context.Background())
}

func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	rec := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func TestPrometheus(t *testing.T) {
	tel := start(t, io.Discard, nil)
	stop, err := tel.Observe(func() []AccountSample {
		return []AccountSample{{
			Account: "ops@contoso.com", State: "ok", RefreshTokenOn: time.Now(),
			PredictedEnd: time.Now().Add(24 * time.Hour), EndReason: "sign_in_frequency",
			Tokens: []TokenSample{{"graph", time.Now().Add(time.Hour)}},
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, call := tel.TokenGet(t.Context(), "crm", token.Key{})
	call.Done(TokenResult{Key: opsGraph, Source: "cache"})
	_, call = tel.TokenGet(t.Context(), "crm", token.Key{Resource: "whatever the caller wrote"})
	call.Done(TokenResult{Err: token.NewError(token.KindUnknownResource, "", "")})
	_, end := tel.TokenRefresh(t.Context(), opsGraph)
	end(context.DeadlineExceeded)
	tel.GateRefusal(t.Context(), "origin")
	tel.CredstoreError(t.Context(), "load", "locked")
	tel.EWSCall(t.Context(), "crm", "FindItem")
	tel.AuditLost(t.Context(), 3)
	tel.ProxyRequest(t.Context(), ProxyResult{Consumer: "crm", Resource: "ews", Status: 200, Took: time.Millisecond})

	text := scrape(t, tel)
	hash := tel.AccountHash("ops@contoso.com")
	for _, want := range []string{
		`broker_token_requests_total{broker_consumer="crm",broker_outcome="ok",broker_resource="graph",broker_token_source="cache"} 1`,
		`broker_token_requests_total{broker_consumer="crm",broker_outcome="unknown-resource",broker_resource="_other",broker_token_source="none"} 1`,
		`broker_token_request_duration_seconds_count{broker_consumer="crm",broker_outcome="ok",broker_resource="graph",broker_token_source="cache"} 1`,
		`broker_token_refreshes_total{broker_outcome="upstream-timeout",broker_resource="graph"} 1`,
		`broker_ews_calls_total{broker_consumer="crm",broker_ews_operation="FindItem"} 1`,
		`broker_proxy_requests_total{broker_consumer="crm",broker_outcome="ok",broker_resource="ews",http_response_status_code="200"} 1`,
		`broker_proxy_request_duration_seconds_count{broker_consumer="crm",broker_outcome="ok",broker_resource="ews",http_response_status_code="200"} 1`,
		`broker_token_expires_in_seconds{broker_account_hash="` + hash + `",broker_resource="graph"}`,
		`broker_account_state{broker_account_hash="` + hash + `",broker_account_state="ok"} 1`,
		`broker_account_state{broker_account_hash="` + hash + `",broker_account_state="sign_in_required"} 0`,
		`broker_refresh_token_age_seconds{broker_account_hash="` + hash + `"}`,
		`broker_account_predicted_end_seconds{broker_account_end_reason="sign_in_frequency",broker_account_hash="` + hash + `"}`,
		`broker_gate_refusals_total{broker_gate_reason="origin"} 1`,
		`broker_credstore_errors_total{broker_credstore_operation="load",broker_credstore_reason="locked"} 1`,
		"go_goroutines", "process_start_time_seconds", `service_version="1.2.3"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, grepBroker(text))
		}
	}
	stop()
	if text := scrape(t, tel); strings.Contains(text, "broker_account_state{") {
		t.Error("the gauges go on after stop")
	}
}

func grepBroker(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "broker_") }), "\n")
}

func TestManyAccountsAreAllShown(t *testing.T) {
	tel := start(t, io.Discard, nil)
	samples := make([]AccountSample, 3000) // past the SDK's default limit of 2,000 points
	for i := range samples {
		samples[i] = AccountSample{Account: "user" + string(rune('0'+i%10)) + strings.Repeat("x", i/10), State: "ok"}
	}
	if _, err := tel.Observe(func() []AccountSample { return samples }); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(scrape(t, tel), `broker_account_state="ok"} 1`); n != len(samples) {
		t.Errorf("%d accounts are shown, want %d", n, len(samples))
	}
}

func TestSDKDisabled(t *testing.T) {
	var log bytes.Buffer
	tel := start(t, &log, map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"})
	_, call := tel.TokenGet(t.Context(), "crm", opsGraph)
	call.Done(TokenResult{Source: "cache"})
	_, end := tel.TokenRefresh(t.Context(), opsGraph)
	end(nil)
	tel.GateRefusal(t.Context(), "host")
	if _, err := tel.Observe(func() []AccountSample { return nil }); err != nil {
		t.Error(err)
	}
	tel.Logger().Info("still logs")
	if text := scrape(t, tel); strings.Contains(text, "broker_") || !strings.Contains(text, "go_goroutines") {
		t.Errorf("got %s", grepBroker(text))
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "still logs") || strings.Contains(log.String(), "token.get") {
		t.Errorf("log: %s", log.String())
	}
}

func TestConsoleGoesToTheLogWriter(t *testing.T) {
	var out bytes.Buffer
	tel := start(t, &out, map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console"})
	ctx, call := tel.TokenGet(t.Context(), "crm", opsGraph)
	tel.Logger().WithGroup("g").With(slog.Int("a", 1)).InfoContext(ctx, "hello", slog.Int("b", 2))
	ref := tel.TraceRef(ctx)
	call.Done(TokenResult{Key: opsGraph, Source: "cache"})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Name":"token.get"`, `"Name":"broker.token.requests"`, `"trace_id":"` + ref[3:35] + `"`, `"g":{"a":1,"b":2}`, `"Body":`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}

// Server and client spans of otelhttp, given every secret a request can carry.
func TestSpansHoldNoSecret(t *testing.T) {
	c := &collector{}
	tel := start(t, io.Discard, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.serveHTTP(t) + "/v1/traces"})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" && r.URL.Path != "/proxied" {
			t.Error("traceparent was sent to the login")
		}
		if got := r.Header.Get("Traceparent"); r.URL.Path == "/proxied" && got != "" && (got == theirs || r.URL.RawQuery != "") {
			t.Errorf("the proxy sent on the traceparent %s", got)
		}
		if r.Header.Get("Traceparent") == "" && r.URL.Path == "/proxied" && r.URL.RawQuery == "" {
			t.Error("traceparent was not sent on by the proxy")
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, canary)
	}))
	defer upstream.Close()
	handler := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tel.SetRoute(r.Context(), "GET /v1/accounts/:account")
		fetch(t, tel.Transport(http.DefaultTransport), r.Context(), strings.Replace(upstream.URL, "://", "://user:"+canary+"@", 1)+
			"/users/"+canary+"@contoso.com/token?refresh_token="+canary+"#"+canary)
		proxy := tel.Transport(http.DefaultTransport, SendTraceparent(), WithoutPath())
		fetch(t, proxy, r.Context(), upstream.URL+"/proxied?asked=no")
		fetch(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Traceparent", theirs)
			return proxy.RoundTrip(r)
		}), r.Context(), upstream.URL+"/proxied")
		ctx, end := tel.Span(r.Context(), SpanSignIn, Attr{"user_code", canary}, Attr{AttrFlow, secrets[2]})
		tel.SetSpan(ctx, Attr{AttrSignInState, "failed"})
		end(errors.New(canary))
		panic(canary)
	}))
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/accounts/"+canary+"@contoso.com?code="+canary, strings.NewReader(canary))
	for _, h := range []string{"Authorization", "User-Agent", "X-Forwarded-For", "X-Broker-Key"} {
		req.Header.Set(h, canary)
	}
	func() {
		defer func() { _ = recover() }()
		handler.ServeHTTP(httptest.NewRecorder(), req)
	}()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(c.wire(), canary) || strings.Contains(c.wire(), "contoso") {
		t.Errorf("a span holds a secret: %v", c.spans)
	}
	if got := attrMap(c.span(t, "GET /v1/accounts/:account").GetAttributes())[AttrRoute]; got != "/v1/accounts/:account" {
		t.Errorf("route %q", got)
	}
	if got := attrMap(c.spansOf("POST")[0].GetAttributes())[AttrURLFull]; got != upstream.URL+"/users/_/token" {
		t.Errorf("url.full %q", got)
	}
	if got := attrMap(c.spansOf("POST")[1].GetAttributes())[AttrURLFull]; got != upstream.URL {
		t.Errorf("url.full of the proxy %q", got)
	}
	for _, s := range c.spans {
		for k := range attrMap(s.GetAttributes()) {
			if !slices.Contains(attributeNames, k) {
				t.Errorf("%s has an attribute %s that is not listed", s.GetName(), k)
			}
		}
	}
}

// theirs is a consumer's own traceparent.
const theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func fetch(t *testing.T, rt http.RoundTripper, ctx context.Context, url string) { //nolint:revive // ctx is a detail here
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("refresh_token="+canary))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

func TestOddMethodIsNoSpanName(t *testing.T) {
	if got := serverSpanName(httptest.NewRequest("CANARY", "/", nil)); got != "HTTP" {
		t.Errorf("got %q", got)
	}
}

func TestAccountHash(t *testing.T) {
	a, b := newAccountHasher([]byte("one")), newAccountHasher([]byte("two"))
	hash := a.hash("ops@contoso.com")
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(hash) {
		t.Errorf("hash %q", hash)
	}
	if a.hash("OPS@Contoso.com") != hash || a.hash("ops@contoso.com") != hash || newAccountHasher([]byte("one")).hash("ops@contoso.com") != hash {
		t.Error("the hash is not stable")
	}
	c, d := newAccountHasher(nil), newAccountHasher(nil)
	if b.hash("ops@contoso.com") == hash || c.hash("x") == d.hash("x") {
		t.Error("the hash does not depend on the key")
	}
	if a.hash(hash) != hash {
		t.Error("what is exported has the hash of a hash")
	}
	if a.hash("") != "" {
		t.Error("no account has a hash")
	}
}
