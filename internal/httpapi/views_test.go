package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
	"github.com/m365-token-broker/broker/openapi"
)

// In synctest bubbles the clock starts at 2000-01-01, so goldens hold times.

func pending() signin.View {
	return signin.View{
		ID: "3sXq0m1fQb2o5v0yJr8u7A", State: signin.StatePending, Flow: token.FlowDevice, UserCode: "FJ5T2KZ8M",
		VerificationURI: "https://login.microsoft.com/device", Message: "Open https://login.microsoft.com/device & enter FJ5T2KZ8M.",
		ExpiresOn: time.Now().Add(15 * time.Minute), Interval: 5 * time.Second, Account: "ops",
	}
}

func TestSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.signIns.set(pending())
		golden(t, "signin-started", s.do(call{method: "POST", path: "/v1/signins", key: s.admin, body: `{"account":"ops"}`}))
		golden(t, "signin-found", s.do(call{method: "POST", path: "/v1/signins", key: s.admin, body: `{"account":"ops","flow":"browser","resource":"ews"}`}))
		if got := strings.Join(s.signIns.started, " "); got != "ops/device/ ops/browser/ews" {
			t.Errorf("started %s", got)
		}
		id := "/v1/signins/" + pending().ID
		golden(t, "signin-pending", s.do(call{path: id, key: s.admin}))
		golden(t, "signin-cancelled", s.do(call{method: "DELETE", path: id, key: s.admin}))

		time.AfterFunc(7*time.Second, func() {
			s.signIns.set(signin.View{ID: pending().ID, State: signin.StateSucceeded, Flow: token.FlowDevice, Message: "Signed in.", Account: "ops"})
		})
		for _, wait := range []struct {
			query string
			state SignInState
			took  time.Duration
		}{{"?wait=5", SignInStatePending, 5 * time.Second}, {"?wait=60", SignInStateSucceeded, 2 * time.Second}, {"?wait=60", SignInStateSucceeded, 0}} {
			begin := time.Now()
			got := want[SignIn](s, s.do(call{path: id + wait.query, key: s.admin}), 200)
			if took := time.Since(begin); got.State != wait.state || took != wait.took {
				t.Errorf("%s: %s after %v, want %s after %v", wait.query, got.State, took, wait.state, wait.took)
			}
		}
		s.problem(s.do(call{path: "/v1/signins/other", key: s.admin}), 404, token.KindNotFound)
		s.problem(s.do(call{method: "DELETE", path: "/v1/signins/other", key: s.admin}), 404, token.KindNotFound)
		s.problem(s.do(call{method: "POST", path: "/v1/signins", key: s.admin, body: `{"flow":"password"}`}), 400, token.KindInvalidRequest)
		s.signIns.err = token.NewError(token.KindUnknownAccount, "", "There is no such account.")
		s.problem(s.do(call{method: "POST", path: "/v1/signins", key: s.admin, body: `{"account":"x"}`}), 400, token.KindUnknownAccount)
	})
}

func TestAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		s := newStack(t)
		golden(t, "accounts-none", s.do(call{path: "/v1/accounts", key: s.admin}))
		s.accounts.views = []account.View{{
			Name: "ops", Username: "ops@contoso.com", Tenant: "11111111-2222-3333-4444-555555555555", ClientID: "66666666-7777-8888-9999-000000000000",
			State: account.StateDegraded, Problem: token.NewError(token.KindUnavailable, "redeem refresh token", "Microsoft Entra ID cannot be reached; check the network."),
			Since: now.Add(-time.Minute), NextTry: now.Add(time.Minute), Flow: token.FlowDevice, SignedInOn: now.Add(-48 * time.Hour),
			LastRefresh: now.Add(-time.Hour), RefreshTokenOn: now.Add(-time.Hour), PredictedEnd: now.Add(28 * 24 * time.Hour), PredictedWhy: account.EndFrequency, Persisted: true,
			Frequency: account.Frequency{Every: 30 * 24 * time.Hour, Times: 2},
			Resources: []account.ResourceView{
				{Name: "graph", ExpiresOn: now.Add(time.Minute), RefreshOn: now, LastAsked: now.Add(-time.Second)},
				{Name: "ews", Problem: token.NewError(token.KindUnavailable, "", "")},
			},
		}, {Name: "fresh@contoso.com", Username: "fresh@contoso.com", State: account.StateSignInRequired, Since: now}}
		golden(t, "accounts", s.do(call{path: "/v1/accounts", key: s.admin}))
		golden(t, "account", s.do(call{path: "/v1/accounts/ops", key: s.admin}))
		for _, name := range []string{"fresh@contoso.com", "fresh%40contoso.com"} {
			if got := want[Account](s, s.do(call{path: "/v1/accounts/" + name, key: s.admin}), 200); got.Account != "fresh@contoso.com" {
				t.Errorf("account %+v", got)
			}
		}
		s.problem(s.do(call{path: "/v1/accounts/nobody", key: s.admin}), 404, token.KindUnknownAccount)
		s.problem(s.do(call{method: "DELETE", path: "/v1/accounts/nobody", key: s.admin}), 404, token.KindUnknownAccount)
		if res := s.do(call{method: "DELETE", path: "/v1/accounts/ops", key: s.admin}); res.StatusCode != http.StatusNoContent || len(s.accounts.out) != 1 {
			t.Errorf("status %d, signed out %v", res.StatusCode, s.accounts.out)
		}
	})
}

func TestConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.tokens.set(entry(t, "CANARY"))
		if err := s.registry.Replace(nil); err != nil {
			t.Fatal(err)
		}
		golden(t, "consumers-none", s.do(call{path: "/v1/consumers", key: s.admin}))
		post := func(path, body string) *http.Response {
			return s.do(call{method: "POST", path: path, key: s.admin, body: body})
		}
		res := post("/v1/consumers", `{"name":"crm","accounts":["ops"],"resources":["graph"],"mapi":["archive"],"rate":"50/s burst 100","executable":"C:\\Crm\\sync.exe"}`)
		golden(t, "consumer-added", res)
		key := want[ConsumerKey](s, res, 201).Key
		golden(t, "consumer-rotated", post("/v1/consumers/crm/rotate", ""))
		golden(t, "consumer-rotated-again", post("/v1/consumers/crm/rotate", `{"overlap_seconds":0}`))
		s.problem(s.do(call{path: graph, key: key}), 401, token.KindUnauthenticated)
		golden(t, "consumer-leased", post("/v1/consumers", `{"name":"run","same_as":"crm","lease_seconds":60}`))
		leased := want[ConsumerKey](s, post("/v1/consumers", `{"accounts":["ops"],"resources":["graph"],"lease_seconds":60}`), 201)
		want[Token](s, s.do(call{path: graph, key: leased.Key}), 200)
		time.Sleep(30 * time.Second)
		renewed := want[Consumer](s, post("/v1/consumers/run/renew", `{"lease_seconds":60}`), 200)
		if !renewed.LeaseEndsAt.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("lease ends at %v", renewed.LeaseEndsAt)
		}
		time.Sleep(30 * time.Second)
		s.problem(s.do(call{path: graph, key: leased.Key}), 401, token.KindUnauthenticated)
		made := consumer.HashKey(consumer.NewKey())
		res = post("/v1/consumers", `{"name":"exec-1","same_as":"crm","lease_seconds":60,"note":"report.sh","key_sha256":"`+made+`"}`)
		golden(t, "consumer-leased-with-a-key", res)
		if k := want[ConsumerKey](s, res, 201); k.Key != "" || k.Consumer.Note != "report.sh" {
			t.Errorf("answer %+v", k)
		}
		tied := `{"name":"erp","accounts":["ops"],"resources":["graph"],"hours":"mon-fri  07:00-19:00","client_id":"66666666-7777-8888-9999-000000000000",` +
			`"executable":"/opt/erp/sync","sha256":"` + strings.Repeat("AB", 32) + `","user":"svc-erp","sink":"/run/erp/token","sink_format":"header","note":"ERP"}`
		golden(t, "consumer-tied", post("/v1/consumers", tied))
		golden(t, "consumers", s.do(call{path: "/v1/consumers", key: s.admin}))
		for _, name := range []string{"crm", "erp"} {
			if res := s.do(call{method: "DELETE", path: "/v1/consumers/" + name, key: s.admin}); res.StatusCode != http.StatusNoContent {
				t.Errorf("status %d", res.StatusCode)
			}
		}
		golden(t, "consumers-none", s.do(call{path: "/v1/consumers", key: s.admin}))
		s.problem(s.do(call{method: "DELETE", path: "/v1/consumers/crm", key: s.admin}), 404, token.KindNotFound)
	})
}

func TestConsumersRefuse(t *testing.T) {
	s := newStack(t)
	for _, tt := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/v1/consumers", `{}`, 400, "name is missing"},
		{"/v1/consumers", `{"name":"Crm"}`, 400, `"name"`},
		{"/v1/consumers", `{"name":"x","lease_seconds":1}`, 400, `"lease_seconds"`},
		{"/v1/consumers", `{"name":"x","lease_seconds":0}`, 400, `"lease_seconds"`},
		{"/v1/consumers", `{"name":"x","rate":"fast"}`, 400, `"rate"`},
		{"/v1/consumers", `{"name":"x","rate":"9999999/s"}`, 400, "rate"},
		{"/v1/consumers", `{"name":"x","accounts":"ops"}`, 400, `"accounts" must be a list`},
		{"/v1/consumers", `{"name":"x","accounts":[1]}`, 400, `"accounts.0" must be a text`},
		{"/v1/consumers", `{"name":"x","key_sha256":["00"]}`, 400, `"key_sha256" must be a text`},
		{"/v1/consumers", `{"name":"x","key_sha256":"` + strings.Repeat("a", 64) + `"}`, 400, "need lease_seconds"},
		{"/v1/consumers", `{"name":"x","process":1}`, 400, "need lease_seconds"},
		{"/v1/consumers", `{"process":1,"lease_seconds":60}`, 400, "leave process out"},
		{"/v1/consumers", `{"name":"x","key":"brk_x"}`, 400, `no member "key"`},
		{"/v1/consumers", `{"name":"x","hours":"office"}`, 400, "hours are not hours"},
		{"/v1/consumers", `{"name":"x","executable":"sync"}`, 400, "absolute path"},
		{"/v1/consumers", `{"name":"x","sha256":"00"}`, 400, `"sha256"`},
		{"/v1/consumers", `{"name":"x","sink":"/run/t"}`, 400, "exactly one account and one resource"},
		{"/v1/consumers", `{"name":"x","accounts":["ops"],"resources":["graph"],"sink":"/run/t","sink_format":"xml"}`, 400, `"sink_format"`},
		{"/v1/consumers", `{"name":"x","same_as":"crm"}`, 400, "same_as needs lease_seconds"},
		{"/v1/consumers", `{"name":"crm"}`, 409, "exists already"},
		{"/v1/consumers", `{"same_as":"nobody","lease_seconds":60}`, 404, "nobody"},
		{"/v1/consumers/nobody/rotate", ``, 404, "nobody"},
		{"/v1/consumers/crm/rotate", `{"overlap":1}`, 400, "overlap_seconds"},
		{"/v1/consumers/crm/rotate", `{"overlap_seconds":2592001}`, 400, "overlap_seconds"},
		{"/v1/consumers/crm/renew", `{"lease_seconds":60}`, 409, "no lease"},
		{"/v1/consumers/crm/renew", `{}`, 400, `"lease_seconds" is missing`},
		{"/v1/consumers/nobody/renew", `{"lease_seconds":60}`, 404, "nobody"},
	} {
		res := s.do(call{method: "POST", path: tt.path, key: s.admin, body: tt.body})
		var p Problem
		if err := json.Unmarshal(read(t, res), &p); err != nil || res.StatusCode != tt.status || !strings.Contains(p.Detail, tt.want) {
			t.Errorf("%s %s: status %d, %q; want %d, %q", tt.path, tt.body, res.StatusCode, p.Detail, tt.status, tt.want)
		}
	}
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		golden(t, "status-least", s.do(call{path: "/v1/status", key: s.admin}))
		s.status.Commit, s.status.Pid, s.status.ConfigFile, s.status.StateDir, s.status.Cloud = "0123abc", 42, "/etc/broker.yaml", "/var/lib/broker", "global"
		s.status.SignInsPending, s.status.Warnings = 1, []string{"The secret store is in memory."}
		s.status.Store = StoreStatus{Kind: StoreStatusKindFile, Description: "files", Problem: ProblemOf(token.NewError(token.KindStore, "", "The disk is full."))}
		s.status.Problems = []LastProblem{{At: time.Now(), Account: "ops", Resource: "graph", Problem: ProblemOf(token.NewError(token.KindUnavailable, "", ""))}}
		s.accounts.views = []account.View{{Name: "ops", State: account.StateOK, Since: time.Now()}}
		time.Sleep(90 * time.Second)
		golden(t, "status", s.do(call{path: "/v1/status", key: s.admin}))
	})
}

func TestDoctor(t *testing.T) {
	var found []DoctorCheck
	var asked []string
	s := newStack(t, func(c *Config) {
		c.Doctor = func(_ context.Context, only []string) []DoctorCheck { asked = only; return found }
	})
	golden(t, "doctor-nothing", s.do(call{path: "/v1/doctor", key: s.admin}))
	found = []DoctorCheck{
		{Name: "store", Result: DoctorCheckResultOk, Text: "The secret store works."},
		{Name: "notifications", Result: DoctorCheckResultWarning, Text: "Nobody would be told.", Remedy: "Set notify.webhook."},
		{Name: "clock", Result: DoctorCheckResultSkipped, Text: "The login host did not say its time."},
	}
	golden(t, "doctor", s.do(call{path: "/v1/doctor", key: s.admin}))
	found[0].Result = DoctorCheckResultProblem
	if got := want[DoctorReport](s, s.do(call{path: "/v1/doctor", key: s.admin}), 200); got.Ok {
		t.Errorf("a problem, and the report is ok: %+v", got)
	}
	if len(asked) > 0 {
		t.Errorf("only %q was asked for", asked)
	}
	s.do(call{path: "/v1/doctor?check=login-host,,tenant", key: s.admin})
	if !slices.Equal(asked, []string{"login-host", "tenant"}) {
		t.Errorf("asked for %q", asked)
	}
	off := newStack(t)
	if got := want[DoctorReport](off, off.do(call{path: "/v1/doctor", key: off.admin}), 200); !got.Ok || len(got.Checks) > 0 {
		t.Errorf("nobody looks, and yet %+v", got)
	}
}

func TestProbes(t *testing.T) {
	s := newStack(t)
	golden(t, "livez", s.do(call{path: "/livez"}))
	golden(t, "readyz", s.do(call{path: "/readyz"}))
	s.checks = append(s.checks, Check{Name: "store", Detail: "The Secret Service is locked; unlock the login keyring."})
	golden(t, "readyz-not", s.do(call{path: "/readyz"}))
	s.checks = nil
	golden(t, "readyz-nothing", s.do(call{path: "/readyz"}))
}

func TestMetrics(t *testing.T) {
	s := newStack(t)
	if b := read(t, s.do(call{path: "/metrics", key: s.scraper})); string(b) != "up 1\n" {
		t.Errorf("metrics %s", b)
	}
	off := newStack(t, func(c *Config) { c.Metrics = nil })
	off.problem(off.do(call{path: "/metrics", key: off.admin}), 404, token.KindNotFound)
}

func TestDocument(t *testing.T) {
	s := newStack(t)
	res := s.do(call{path: "/openapi.yaml"})
	if b := read(t, res); string(b) != openapi.YAML() || res.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%d bytes of %s", len(b), res.Header.Get("Content-Type"))
	}
	doc := want[map[string]any](s, s.do(call{path: "/openapi.json"}), 200)
	if doc["openapi"] != "3.0.3" {
		t.Errorf("openapi %v", doc["openapi"])
	}
	d, err := loadDocument()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.spec.Validate(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestTelemetrySeams(t *testing.T) {
	var routes []string
	wrapped := 0
	s := newStack(t, func(c *Config) {
		c.SetRoute = func(_ context.Context, pattern string) { routes = append(routes, pattern) }
		c.Wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wrapped++; h.ServeHTTP(w, r) })
		}
	})
	s.tokens.set(entry(t, "CANARY"))
	for _, p := range []string{graph, "/v1/signins/x", "/v1/nosuch", "/livez"} {
		s.do(call{path: p, key: s.admin})
	}
	if got := strings.Join(routes, " "); got != "GET /v1/token GET /v1/signins/{id} GET /livez" || wrapped != 4 {
		t.Errorf("routes %s, %d wrapped", got, wrapped)
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
	s := newStack(t)
	cfg := s.server.cfg
	cfg.Listen = []string{"0.0.0.0:1"}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "0.0.0.0:1") {
		t.Errorf("error %v", err)
	}
	cfg = s.server.cfg
	cfg.Log = nil
	if _, err := New(cfg); err == nil {
		t.Error("a Config without a log is accepted")
	}
}
