package telemetry

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/m365-token-broker/broker/internal/token"
)

var opsGraph = token.Key{Account: "ops@contoso.com", Resource: "graph"}

// story lets one redemption serve two waiters, with everything around it.
func story(t *testing.T, tel *Telemetry) {
	t.Helper()
	var ref string
	handler := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tel.SetRoute(r.Context(), "GET /v1/token")
		ctx, first := tel.TokenGet(r.Context(), "crm", token.Key{Resource: "graph"})

		refreshCtx, refreshed := tel.TokenRefresh(context.WithoutCancel(ctx), opsGraph)
		ref = tel.TraceRef(refreshCtx)
		redeemCtx, redeemed := tel.Span(refreshCtx, SpanEntraRedeem, Attr{AttrAccountHash, tel.AccountHash(opsGraph.Account)})
		tel.Logger().InfoContext(redeemCtx, "redeeming", slog.String("account", opsGraph.Account), slog.String("user", tel.AccountHash(opsGraph.Account)))
		redeemed(nil)
		_, saved := tel.Span(refreshCtx, SpanCredstoreSave)
		saved(token.NewError(token.KindStore, "save", "the store of ops@contoso.com is locked"))
		refreshed(nil)
		first.Done(TokenResult{Key: opsGraph, Source: "refresh", Trace: ref})

		_, second := tel.TokenGet(r.Context(), "mailer", token.Key{Resource: "graph"})
		second.Done(TokenResult{Key: opsGraph, Source: "refresh", Trace: ref})
	}))
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/token?resource=graph", nil)
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	handler.ServeHTTP(httptest.NewRecorder(), req)

	tel.GateRefusal(t.Context(), "host")
	tel.CredstoreError(t.Context(), "save", "locked")
	tel.EWSCall(t.Context(), "crm", "FindItem")
	tel.AuditLost(t.Context(), 3)
	tel.ProxyRequest(t.Context(), ProxyResult{Consumer: "crm", Resource: "ews", Status: 200, Took: time.Millisecond})
	stop, err := tel.Observe(func() []AccountSample {
		return []AccountSample{{
			Account: "ops@contoso.com", State: "degraded", RefreshTokenOn: time.Now().Add(-time.Hour), PredictedEnd: time.Now(), EndReason: "idle",
			Tokens: []TokenSample{{Resource: "graph", ExpiresOn: time.Now().Add(time.Hour)}},
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	stopMAPI := renewalStory(t, tel)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	stopMAPI()
}

func TestOTLP(t *testing.T) {
	for _, proto := range []string{"http/protobuf", "grpc"} {
		t.Run(strings.ReplaceAll(proto, "/", "-"), func(t *testing.T) {
			c := &collector{}
			endpoint := ""
			if proto == "grpc" {
				endpoint = c.serveGRPC(t)
			} else {
				endpoint = c.serveHTTP(t)
			}
			tel := start(t, &bytes.Buffer{}, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
				"OTEL_EXPORTER_OTLP_PROTOCOL": proto,
				"OTEL_RESOURCE_ATTRIBUTES":    "deployment.environment=test",
			})
			story(t, tel)
			checkSpans(t, c, tel)
			checkMetrics(t, c)
			checkLogs(t, c, tel)
			if strings.Contains(c.wire(), "contoso") {
				t.Error("a mail address left the process")
			}
		})
	}
}

func checkSpans(t *testing.T, c *collector, tel *Telemetry) {
	t.Helper()
	server := c.span(t, "GET /v1/token")
	if got := hex.EncodeToString(server.GetTraceId()); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the consumer's trace is not continued: %s", got)
	}
	if got := hex.EncodeToString(server.GetParentSpanId()); got != "b7ad6b7169203331" {
		t.Errorf("parent is %s", got)
	}
	refresh := c.span(t, SpanTokenRefresh)
	gets := c.spansOf(SpanTokenGet)
	if len(gets) != 2 {
		t.Fatalf("got %d spans token.get, want 2", len(gets))
	}
	for _, get := range gets {
		if len(get.GetLinks()) != 1 || !bytes.Equal(get.GetLinks()[0].GetSpanId(), refresh.GetSpanId()) {
			t.Errorf("token.get has no link to token.refresh: %v", get.GetLinks())
		}
	}
	want := map[string]string{AttrConsumer: "mailer", AttrResource: "graph", AttrAccountHash: tel.AccountHash("OPS@contoso.com"), AttrSource: "refresh"}
	i := slices.IndexFunc(gets, func(s *tracepb.Span) bool { return attrMap(s.GetAttributes())[AttrConsumer] == "mailer" })
	if diff := cmp.Diff(want, attrMap(gets[max(i, 0)].GetAttributes())); diff != "" {
		t.Error(diff)
	}
	if redeem := c.span(t, SpanEntraRedeem); !bytes.Equal(redeem.GetParentSpanId(), refresh.GetSpanId()) {
		t.Error("entra.redeem is not inside token.refresh")
	}
	save := c.span(t, SpanCredstoreSave)
	if got := attrMap(save.GetAttributes())[AttrErrorType]; got != "store-unavailable" || save.GetStatus().GetMessage() != "" {
		t.Errorf("credstore.save: error.type %q, status %v", got, save.GetStatus())
	}
	for k, v := range map[string]string{"service.name": "m365-token-broker", "service.version": "1.2.3", "deployment.environment": "test"} {
		if c.resource[k] != v {
			t.Errorf("resource %s = %q, want %q", k, c.resource[k], v)
		}
	}
}

func checkMetrics(t *testing.T, c *collector) {
	t.Helper()
	for _, row := range metricTable {
		m := c.metric(row.name)
		if m == nil {
			t.Errorf("metric %s did not arrive", row.name)
			continue
		}
		if m.GetUnit() != row.unit || m.GetDescription() != row.about {
			t.Errorf("metric %s: unit %q, description %q", row.name, m.GetUnit(), m.GetDescription())
		}
	}
	points := c.metric(MetricTokenRequests).GetSum().GetDataPoints()
	if len(points) != 2 || points[0].GetAsInt() != 1 {
		t.Errorf("requests: %v", points)
	}
	if h := c.metric(MetricTokenDuration).GetHistogram().GetDataPoints(); len(h) != 2 || h[0].GetCount() != 1 || h[0].GetSum() < 0 { // 0 on the coarse clock of Wine
		t.Errorf("durations: %v", h)
	}
	for _, p := range c.metric(MetricAccountState).GetGauge().GetDataPoints() {
		if want := attrMap(p.GetAttributes())[AttrAccountState] == "degraded"; (p.GetAsInt() == 1) != want {
			t.Errorf("account state: %v", p)
		}
	}
}

func checkLogs(t *testing.T, c *collector, tel *Telemetry) {
	t.Helper()
	for _, l := range c.logs {
		if l.GetBody().GetStringValue() != "redeeming" {
			continue
		}
		if !bytes.Equal(l.GetSpanId(), c.span(t, SpanEntraRedeem).GetSpanId()) {
			t.Error("the log record is not tied to its span")
		}
		for _, key := range []string{"account", "user"} { // by its name, and by the hash of it
			if got := attrMap(l.GetAttributes())[key]; got != tel.AccountHash(opsGraph.Account) {
				t.Errorf("%s in the exported log: %q", key, got)
			}
		}
		return
	}
	t.Errorf("the log record did not arrive: %v", c.logs)
}

func TestErrorOfRefreshIsLinkedAndCoded(t *testing.T) {
	c := &collector{}
	tel := start(t, &bytes.Buffer{}, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.serveHTTP(t) + "/v1/traces"})
	ctx, done := tel.TokenRefresh(t.Context(), opsGraph)
	e := &token.Error{
		Kind: token.KindSignInRequired, Detail: "Sign in as ops@contoso.com.", OAuthError: "invalid_grant", SubError: "bad_token",
		AADSTS: 50173, Status: 400, CorrelationID: "c0ffee00-0000-0000-0000-000000000001", Claims: "CANARY", Trace: tel.TraceRef(ctx), Err: errors.New("CANARY"),
	}
	done(e)
	_, call := tel.TokenGet(t.Context(), "crm", opsGraph)
	call.Done(TokenResult{Err: e})
	_, call = tel.TokenGet(t.Context(), "crm", opsGraph)
	call.Done(TokenResult{Key: opsGraph, Source: "cache", Warning: e})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	refresh := c.span(t, SpanTokenRefresh)
	attrs := attrMap(refresh.GetAttributes())
	for k, want := range map[string]string{
		AttrErrorType: "sign-in-required", AttrEntraError: "invalid_grant", AttrEntraSub: "bad_token",
		AttrEntraAADSTS: "50173", AttrEntraCorrID: "c0ffee00-0000-0000-0000-000000000001", AttrHTTPStatus: "int_value:400",
	} {
		if attrs[k] != want {
			t.Errorf("%s = %q, want %q", k, attrs[k], want)
		}
	}
	gets := c.spansOf(SpanTokenGet)
	if l := gets[0].GetLinks(); len(l) != 1 || !bytes.Equal(l[0].GetSpanId(), refresh.GetSpanId()) {
		t.Errorf("the failed request has no link to its refresh: %v", l)
	}
	if got := attrMap(gets[1].GetAttributes())[AttrWarning]; got != "sign-in-required" {
		t.Errorf("warning = %q", got)
	}
	if strings.Contains(c.wire(), "CANARY") || strings.Contains(c.wire(), "contoso") {
		t.Error("a text left the process")
	}
}

func TestUnsampledLeavesNoReference(t *testing.T) {
	c := &collector{}
	tel := start(t, &bytes.Buffer{}, map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.serveHTTP(t) + "/v1/traces", "OTEL_TRACES_SAMPLER": "always_off",
	})
	ctx, done := tel.TokenRefresh(t.Context(), opsGraph)
	if ref := tel.TraceRef(ctx); ref != "" {
		t.Errorf("reference to a span that nobody exports: %s", ref)
	}
	done(nil)
	_ = tel.Shutdown(t.Context())
	if len(c.spans) != 0 {
		t.Errorf("%d spans arrived", len(c.spans))
	}
}

func TestParseTraceRef(t *testing.T) {
	good := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if sc, ok := parseTraceRef(good); !ok || sc.TraceID().String() != good[3:35] || sc.SpanID().String() != good[36:52] {
		t.Errorf("%v %v", sc, ok)
	}
	for _, bad := range []string{
		"", "x", good[:54], good + "0", "01" + good[2:], strings.Replace(good, "0af7", "zzzz", 1), strings.Repeat("0", 55),
		"00-00000000000000000000000000000000-b7ad6b7169203331-01",
	} {
		if _, ok := parseTraceRef(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}
