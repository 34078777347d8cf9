package telemetry

import (
	"bytes"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

var (
	mapiPhases    = []string{"idle", "observe", "needs_user"}
	mapiFreshness = []string{"fresh", "due", "expired", "unknown"}
)

// outlookOn is a moment of the renewals here.
var outlookOn = time.Date(2026, 3, 1, 8, 0, 0, 123456789, time.UTC)

// after is so many seconds later.
func after(seconds int) time.Time { return outlookOn.Add(time.Duration(seconds) * time.Second) }

// outlookRenewal is one that led to proof.
func outlookRenewal() Renewal {
	return Renewal{
		Target: "archive", Account: `CONTOSO\svc-archive`, Action: "start", Result: "idle", OK: true,
		Parts: []RenewalPart{
			{SpanMAPIRenewal, after(0), after(60)},
			{SpanMAPIPrecheck, after(0), after(5)},
			{SpanMAPITrigger, after(5), after(20)},
			{SpanMAPIObserve, after(20), after(60)},
			{SpanMAPIProbe, after(30), after(40)},
		},
		Details: []Attr{{AttrMAPICause, "report"}, {AttrMAPIProof, "evidence"}, {AttrMAPILocked, "true"}},
	}
}

// renewalStory is everything of an Outlook target, for tests of all names.
func renewalStory(t *testing.T, tel *Telemetry) (stop func()) {
	t.Helper()
	tel.Renewal(t.Context(), outlookRenewal())
	stop, err := tel.ObserveMAPI(mapiPhases, mapiFreshness, func() []MAPISample {
		return []MAPISample{{Target: "archive", Phase: "idle", Freshness: "fresh", ProvedOn: time.Now()}}
	})
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

// renewals tells of them, and returns what arrives.
func renewals(t *testing.T, all ...Renewal) (*collector, *Telemetry) {
	t.Helper()
	c := &collector{}
	tel := start(t, io.Discard, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.serveHTTP(t) + "/v1/traces"})
	ctx, end := tel.Span(t.Context(), SpanSignIn) // whatever was going on
	for _, r := range all {
		tel.Renewal(ctx, r)
	}
	end(nil)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, tel
}

func times(s *tracepb.Span) [2]time.Time {
	at := func(nanos uint64) time.Time { return time.Unix(0, int64(nanos)).UTC() }
	return [2]time.Time{at(s.GetStartTimeUnixNano()), at(s.GetEndTimeUnixNano())}
}

func TestRenewalIsATrace(t *testing.T) {
	r := outlookRenewal()
	c, tel := renewals(t, r)
	whole := c.span(t, SpanMAPIRenewal)
	if len(whole.GetParentSpanId()) != 0 || bytes.Equal(whole.GetTraceId(), c.span(t, SpanSignIn).GetTraceId()) {
		t.Error("a renewal is part of another trace")
	}
	for i, p := range r.Parts {
		s := c.span(t, p.Name)
		if got, want := times(s), [2]time.Time{p.Began, p.Ended}; got != want {
			t.Errorf("%s: %v, want %v", p.Name, got, want)
		}
		if i > 0 && (!bytes.Equal(s.GetParentSpanId(), whole.GetSpanId()) || !bytes.Equal(s.GetTraceId(), whole.GetTraceId())) {
			t.Errorf("%s is not below %s", p.Name, SpanMAPIRenewal)
		}
		if s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_UNSET {
			t.Errorf("%s: status %v", p.Name, s.GetStatus())
		}
	}
	want := map[string]string{
		AttrMAPITarget: "archive", AttrAccountHash: tel.AccountHash(`contoso\SVC-archive`), AttrMAPIAction: "start", AttrMAPIResult: "idle",
		AttrMAPICause: "report", AttrMAPIProof: "evidence", AttrMAPILocked: "true",
	}
	if diff := cmp.Diff(want, attrMap(whole.GetAttributes())); diff != "" {
		t.Error(diff)
	}
	if wire := strings.ToLower(c.wire()); strings.Contains(wire, "svc-archive") || strings.Contains(wire, "contoso") {
		t.Error("the account left the process")
	}
}

func TestFailedRenewalHasACodeAndNoText(t *testing.T) {
	r := outlookRenewal()
	r.Result, r.Reason, r.OK = "needs_user", "sign_in", false
	r.Details = append(make([]Attr, 0, 16), Attr{AttrMAPIHResult, "0x8004011D"}, Attr{"profile", canary}, Attr{AttrMAPISession, "ops@contoso.com"})
	kept := slices.Clone(r.Details[:cap(r.Details)])
	c, _ := renewals(t, r)
	whole := c.span(t, SpanMAPIRenewal)
	if s := whole.GetStatus(); s.GetCode() != tracepb.Status_STATUS_CODE_ERROR || s.GetMessage() != "" {
		t.Errorf("status %v", s)
	}
	attrs := attrMap(whole.GetAttributes())
	for k, want := range map[string]string{AttrMAPIResult: "needs_user", AttrMAPIReason: "sign_in", AttrMAPIHResult: "0x8004011D"} {
		if attrs[k] != want {
			t.Errorf("%s = %q, want %q", k, attrs[k], want)
		}
	}
	for _, s := range c.spans {
		for k := range attrMap(s.GetAttributes()) {
			if !slices.Contains(attributeNames, k) {
				t.Errorf("%s has an attribute %s that is not listed", s.GetName(), k)
			}
		}
	}
	if strings.Contains(c.wire(), canary) || strings.Contains(c.wire(), "contoso") {
		t.Error("a secret or a mail address left the process")
	}
	if !slices.Equal(r.Details[:cap(r.Details)], kept) {
		t.Error("the caller's details were written to")
	}
}

// The clock may be set while an attempt is made, and parts may not come.
func TestRenewalPartsAreInOrder(t *testing.T) {
	type part struct{ began, ended int } // seconds
	for name, tc := range map[string]struct{ given, want []part }{
		"set back before the end":     {[]part{{0, -30}, {0, 5}, {5, -30}}, []part{{0, 0}, {0, 0}, {0, 0}}},
		"set back between parts":      {[]part{{0, 60}, {0, 20}, {20, 10}, {10, 60}}, []part{{0, 60}, {0, 20}, {20, 20}, {20, 60}}},
		"set back before the trigger": {[]part{{0, 60}, {0, -90}, {-90, -80}, {-80, 60}}, []part{{0, 60}, {0, 0}, {0, 0}, {0, 60}}},
		"set forward and back again":  {[]part{{0, 60}, {0, 900}, {900, 20}, {20, 60}}, []part{{0, 60}, {0, 60}, {60, 60}, {60, 60}}},
	} {
		var given, want []RenewalPart
		for i := range tc.given {
			given = append(given, RenewalPart{"part", after(tc.given[i].began), after(tc.given[i].ended)})
			want = append(want, RenewalPart{"part", after(tc.want[i].began), after(tc.want[i].ended)})
		}
		before := slices.Clone(given)
		if diff := cmp.Diff(want, clip(given)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !slices.Equal(given, before) {
			t.Errorf("%s: the caller's parts were written to", name)
		}
	}
	r := outlookRenewal()
	r.Parts[3] = RenewalPart{Name: SpanMAPIObserve}
	never := outlookRenewal()
	never.Parts[0].Began = time.Time{}
	none := outlookRenewal()
	none.Parts = nil
	c, _ := renewals(t, r, never, none)
	c.span(t, SpanMAPIRenewal)
	if n := len(c.spansOf(SpanMAPIObserve)); n != 0 {
		t.Errorf("%d spans of a part that did not come", n)
	}
}

func TestRenewalIsCountedWithoutTracing(t *testing.T) {
	tel := start(t, io.Discard, nil)
	tel.Renewal(t.Context(), outlookRenewal())
	tel.Renewal(t.Context(), outlookRenewal())
	tel.Renewal(t.Context(), Renewal{Target: "ops@contoso.com", Action: "send", Result: "backoff", Reason: "no_proof"})
	text := scrape(t, tel)
	for _, want := range []string{
		`broker_mapi_triggers_total{broker_mapi_action="start",broker_mapi_reason="none",broker_mapi_result="idle",broker_mapi_target="archive"} 2`,
		`broker_mapi_triggers_total{broker_mapi_action="send",broker_mapi_reason="no_proof",broker_mapi_result="backoff",broker_mapi_target="_other"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, grepBroker(text))
		}
	}
	c := &collector{}
	endpoint := c.serveHTTP(t)
	tel = start(t, io.Discard, map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint + "/v1/metrics"})
	tel.Renewal(t.Context(), outlookRenewal())
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.spans) != 0 || c.metric(MetricMAPITriggers) == nil {
		t.Errorf("tracing is off, and %d spans and the counter %v arrived", len(c.spans), c.metric(MetricMAPITriggers))
	}
}

func TestOutlookGauges(t *testing.T) {
	tel := start(t, io.Discard, nil)
	samples := []MAPISample{
		{Target: "archive", Phase: "observe", Freshness: "due", ProvedOn: time.Now().Add(-time.Hour)},
		{Target: "crm", Phase: "needs_user", Freshness: "unknown"},
	}
	stop, err := tel.ObserveMAPI(mapiPhases, mapiFreshness, func() []MAPISample { return samples })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, s := range samples {
		for _, p := range mapiPhases {
			want[`broker_mapi_state{broker_mapi_phase="`+p+`",broker_mapi_target="`+s.Target+`"}`] = zeroOrOne(p == s.Phase)
		}
		for _, f := range mapiFreshness {
			want[`broker_mapi_freshness{broker_mapi_freshness="`+f+`",broker_mapi_target="`+s.Target+`"}`] = zeroOrOne(f == s.Freshness)
		}
	}
	got := gauges(t, tel)
	const age = `broker_mapi_proof_age_seconds{broker_mapi_target="archive"}`
	if v := got[age]; !regexp.MustCompile(`^36\d\d(\.|$)`).MatchString(v) {
		t.Errorf("age %q, want an hour", v)
	}
	delete(got, age) // the other target has none
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	samples[0].Phase = "idle"
	got = gauges(t, tel)
	if got[`broker_mapi_state{broker_mapi_phase="observe",broker_mapi_target="archive"}`] != "0" ||
		got[`broker_mapi_state{broker_mapi_phase="idle",broker_mapi_target="archive"}`] != "1" {
		t.Errorf("the phase changed, and there is %v", got)
	}
	stop()
	if got := gauges(t, tel); len(got) != 0 {
		t.Errorf("the gauges go on after stop: %v", slices.Collect(maps.Keys(got)))
	}
}

func zeroOrOne(one bool) string {
	if one {
		return "1"
	}
	return "0"
}

// gauges are the values of broker.mapi that Prometheus sees.
func gauges(t *testing.T, tel *Telemetry) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.SplitSeq(scrape(t, tel), "\n") {
		if name, value, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "broker_mapi_") {
			got[name] = value
		}
	}
	return got
}

func TestOutlookWithoutSDK(t *testing.T) {
	tel := start(t, io.Discard, map[string]string{"OTEL_SDK_DISABLED": "true"})
	defer renewalStory(t, tel)()
	if text := scrape(t, tel); strings.Contains(text, "broker_mapi") {
		t.Errorf("got %s", grepBroker(text))
	}
}

var alertSelector = regexp.MustCompile(`(broker_[a-z_]+)(?:\{([^}]*)\})?`)

// The alerts of the document look at what is served: a name of another spelling
// would stay silent for ever.
func TestDocumentedAlertsLookAtWhatIsServed(t *testing.T) {
	raw, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	tel := start(t, io.Discard, nil)
	defer renewalStory(t, tel)()
	tel.CredstoreError(t.Context(), "load", "locked")
	tel.AuditLost(t.Context(), 3)
	stop, err := tel.Observe(func() []AccountSample {
		return []AccountSample{{Account: "ops", State: "ok", PredictedEnd: time.Now()}}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	series := strings.Split(scrape(t, tel), "\n")
	alerts := 0
	for line := range strings.SplitSeq(string(raw), "\n") {
		if !strings.HasPrefix(line, "- {alert: ") {
			continue
		}
		alerts++
		_, expr, _ := strings.Cut(line, "expr: ")
		m := alertSelector.FindStringSubmatch(expr)
		if m == nil || !slices.ContainsFunc(series, func(s string) bool {
			return (strings.HasPrefix(s, m[1]+"{") || strings.HasPrefix(s, m[1]+" ")) && strings.Contains(s, m[2])
		}) {
			t.Errorf("nothing is served for %s", line)
		}
	}
	if alerts < 5 {
		t.Errorf("%d alerts were found", alerts)
	}
}
