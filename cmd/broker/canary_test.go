package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
	"github.com/m365-token-broker/broker/internal/token"
)

// newInBubble plays on a world in a bubble and gives what is left of it.
func newInBubble(t *testing.T, o worldOptions, play func(*world)) (w *world) {
	t.Helper()
	o.dir = t.TempDir() // the bubble's own goes with the bubble
	synctest.Test(t, func(t *testing.T) {
		w = newBubble(t, o)
		defer w.close()
		play(w)
	})
	w.t = t
	return w
}

// The canary over a day in the life: everything that a person, a consumer and an
// administrator do, right and wrong, on real HTTP, with every exporter on.
func TestCanary(t *testing.T) {
	c, env := newReceiver(t)
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{Canary: true, Interval: time.Second}, env: env})
	s := &searched{t: t, bytes: map[string]int{}}
	w.ready()
	w.signIn(bob)
	w.playSignIns()
	w.playTokens()
	w.playConsumers()
	w.playMistakes()
	w.playDialects()
	w.playProxy()
	w.playServices(t)
	w.playFailures(s)
	metrics := w.call(w.admin, http.MethodGet, "/metrics", "")
	s.look("the metrics", string(metrics.body), true)
	for _, path := range []string{"/v1/status", "/v1/accounts", "/v1/consumers", "/v1/doctor", "/livez", "/readyz"} {
		s.look("the views", string(w.call(w.admin, http.MethodGet, path, "").body), false)
	}
	w.stop()
	if c.logs == 0 || len(c.metrics) == 0 || len(c.spans) == 0 {
		t.Errorf("exported: %d logs, %d metrics, %d spans", c.logs, len(c.metrics), len(c.spans))
	}
	for _, text := range c.texts {
		s.look("the telemetry", text, true)
	}
	s.look("the log", w.log.String(), true)
	s.problems(w)
	s.files(w)
	s.looked("the metrics", "the views", "the telemetry", "the log", "an error", "standard error")
	s.looked("file " + filepath.Join("state", "audit", "audit.jsonl"))
	if !slices.ContainsFunc(slices.Collect(maps.Keys(s.bytes)), func(name string) bool { return strings.Contains(name, "record-") }) {
		t.Errorf("the store's files were not searched: %v", slices.Sorted(maps.Keys(s.bytes)))
	}
}

// playSignIns declines one sign-in, cancels one and leaves one pending.
func (w *world) playSignIns() {
	v := w.begin(`{"account":"` + alice + `","flow":"device","resource":"ews"}`)
	if !strings.Contains(v.UserCode, sandbox.CanaryMarker) {
		w.t.Errorf("user code %s is not marked", v.UserCode)
	}
	if err := w.sb.Decline(v.UserCode); err != nil {
		w.t.Fatal(err)
	}
	if v = w.follow(v.ID); v.State != httpapi.SignInStateDeclined {
		w.t.Errorf("sign-in is %s", v.State)
	}
	v = w.begin(`{"account":"` + alice + `"}`)
	w.call(w.admin, http.MethodDelete, "/v1/signins/"+v.ID, "")
	wrong := w.begin(`{"account":"` + alice + `","flow":"browser"}`)
	if err := w.sb.Browse(w.t.Context(), wrong.VerificationURI, bob); err != nil {
		w.t.Fatal(err)
	}
	if v = w.follow(wrong.ID); v.State != httpapi.SignInStateFailed || v.Problem.Code != "conflict" {
		w.t.Errorf("bob signed in for alice: %+v", v)
	}
	w.begin(`{}`)
}

// playTokens asks for tokens in every way.
func (w *world) playTokens() {
	first := w.get("graph")
	etag := first.header.Get("ETag")
	if got := w.call(w.key, http.MethodGet, "/v1/token?resource=graph&wait=1", "", "If-None-Match: "+etag); got.status != http.StatusNotModified {
		w.t.Errorf("status %d with the ETag in hand", got.status)
	}
	w.token("ews")
	claims := `{"access_token":{"nbf":{"essential":true,"value":"` + claimsCanary + `"}}}`
	for _, body := range []string{
		`{"resource":"graph","force_refresh":true}`,
		`{"resource":"graph","claims":` + claims + `}`,
		`{"resource":"ews","min_validity":86400}`,
	} {
		if got := w.call(w.key, http.MethodPost, "/v1/token", body); got.status != http.StatusOK {
			w.t.Errorf("POST %s: %d %s", body, got.status, got.body)
		}
	}
	for range 4 { // past the limit of forced redemptions
		w.call(w.key, http.MethodPost, "/v1/token", `{"resource":"graph","force_refresh":true}`)
	}
}

// playConsumers adds, rotates, leases and removes.
func (w *world) playConsumers() {
	w.consumer("other", bob)
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPost, "/v1/consumers/other/rotate", `{"overlap_seconds":0}`},
		{http.MethodPost, "/v1/consumers", `{"name":"leased","same_as":"other","lease_seconds":60}`},
		{http.MethodPost, "/v1/consumers/leased/renew", `{"lease_seconds":90}`},
		{http.MethodDelete, "/v1/consumers/other", ""},
		{http.MethodPost, "/v1/consumers", `{"name":"app","accounts":["` + alice + `"],"resources":["graph"]}`},
		{http.MethodGet, "/v1/accounts/" + alice, ""},
		{http.MethodDelete, "/v1/accounts/" + bob, ""},
	} {
		w.call(w.admin, c.method, c.path, c.body)
	}
}

// playMistakes sends what callers get wrong, with secrets where they do not
// belong.
func (w *world) playMistakes() {
	access := w.token("graph").AccessToken
	for _, c := range []struct{ key, method, path, body string }{
		{"", http.MethodGet, "/v1/token?resource=graph", ""},
		{w.key + "x", http.MethodGet, "/v1/token?resource=graph", ""},
		{access, http.MethodGet, "/v1/token?resource=graph", ""},
		{strings.Replace(w.key, "brk_", "bra_", 1), http.MethodGet, "/v1/accounts", ""},
		{w.key, http.MethodGet, "/v1/accounts", ""},
		{w.key, http.MethodGet, "/v1/token?resource=" + access, ""},
		{w.key, http.MethodGet, "/v1/token?resource=" + w.key, ""},
		{w.key, http.MethodGet, "/v1/token?resource=graph&account=" + w.key, ""},
		{w.key, http.MethodGet, "/v1/token?resource=imap", ""},
		{w.key, http.MethodGet, "/v1/token?resource=graph&" + w.key + "=1", ""},
		{w.key, http.MethodGet, "/v1/token?resource=graph&scope=" + access, ""},
		{w.key, http.MethodGet, "/v1/token/" + w.key, ""},
		{w.key, http.MethodPost, "/v1/token", `{"resource":"graph","claims":"` + access + `"}`},
		{w.key, http.MethodPost, "/v1/token", `{"` + w.key + `":1}`},
		{w.key, http.MethodPost, "/v1/token", w.key + access},
		{w.admin, http.MethodPost, "/v1/signins", `{"flow":"` + w.admin + `"}`},
		{w.admin, http.MethodGet, "/v1/signins/" + strings.ToLower(w.key), ""},
		{w.admin, http.MethodPut, "/v1/consumers/app", access},
	} {
		if got := w.call(c.key, c.method, c.path, c.body); got.status < http.StatusBadRequest {
			w.t.Errorf("%s %s is not refused: %d", c.method, c.path, got.status)
		}
	}
	for _, header := range []string{"Origin: https://" + alice, "X-Forwarded-For: 192.0.2.1", "Authorization: Basic " + w.key, "Host: " + w.key} {
		if got := w.call(w.key, http.MethodGet, "/v1/token?resource=graph", "", header); got.status < http.StatusBadRequest && !strings.HasPrefix(header, "Host") {
			w.t.Errorf("%s is not refused: %d", header, got.status)
		}
	}
}

// playServices uses the tokens where they belong, with a claims challenge on the
// way.
func (w *world) playServices(t *testing.T) {
	t.Helper()
	ask := func(access string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.sb.GraphURL()+"/v1.0/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+access)
		res, err := w.sb.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res
	}
	w.signIn(alice) // forced redemptions of this key may be used up
	if res := ask(w.token("graph").AccessToken); res.StatusCode != http.StatusOK {
		t.Errorf("Graph answers %d", res.StatusCode)
	}
	w.fault(sandbox.Fault{Scenario: "cae"})
	defer w.sb.ClearFaults()
	res := ask(w.token("graph").AccessToken)
	_, challenge, _ := strings.Cut(res.Header.Get("WWW-Authenticate"), `claims="`)
	challenge, _, _ = strings.Cut(challenge, `"`)
	if res.StatusCode != http.StatusUnauthorized || challenge == "" {
		t.Fatalf("no challenge: %d", res.StatusCode)
	}
	got := w.call(w.key, http.MethodPost, "/v1/token", `{"resource":"graph","claims":"`+challenge+`"}`)
	if got.status == http.StatusTooManyRequests {
		return // the limit was met before
	}
	var v httpapi.Token
	got.into(&v)
	if res := ask(v.AccessToken); res.StatusCode != http.StatusOK {
		t.Errorf("Graph answers %d to the token of the challenge", res.StatusCode)
	}
}

// playFailures revokes the sign-in and lets the commands fail.
func (w *world) playFailures(s *searched) {
	if err := w.sb.Revoke(alice); err != nil {
		w.t.Fatal(err)
	}
	w.playDialectFailures()
	w.signIn(bob)
	if err := w.sb.Revoke(bob); err != nil {
		w.t.Fatal(err)
	}
	w.fault(sandbox.Fault{Scenario: "message_only", Endpoint: sandbox.EndpointTokenPoll})
	w.fault(sandbox.Fault{Scenario: "portal", Endpoint: sandbox.EndpointDeviceCode})
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"token", "--resource", "ews", "--account", bob}, exitSignIn},
		{[]string{"token", "--resource", "nosuch", "--account", bob}, exitUsage},
		{[]string{"token", "--resource", w.key}, exitUsage},
		{[]string{"login", "--account", "carol@contoso.example", "--output", "json"}, exitNoUpstream},
		{[]string{"login", "--account", "carol@contoso.example"}, exitNoUpstream},
		{[]string{"logout", "--account", "nobody"}, exitUsage},
		{[]string{"consumers", "rotate", "nosuch"}, exitFailed},
	} {
		code, _, stderr := w.run(c.args...)
		if code != c.code {
			w.t.Errorf("broker %v: code %d, want %d: %s", c.args, code, c.code, stderr)
		}
		if !strings.Contains(strings.Join(c.args, " "), w.key) { // what a person typed may be repeated to them
			s.look("standard error", stderr, false)
		}
	}
	w.sb.ClearFaults()
}

// The canary over every scenario of the sandbox, at every step of a sign-in and
// of a renewal.
func TestCanaryInEveryScenario(t *testing.T) {
	t.Parallel()
	steps := map[sandbox.Endpoint]func(*world){
		sandbox.EndpointTokenRefresh: func(w *world) {
			w.get("graph")
			w.get("ews")
			w.call(w.key, http.MethodPost, "/v1/token", `{"resource":"graph","claims":{"access_token":{"nbf":{"essential":true,"value":"`+claimsCanary+`"}}}}`)
			w.call(w.admin, http.MethodGet, "/v1/status", "")
		},
		sandbox.EndpointTokenPoll: func(w *world) {
			v := w.begin(`{"account":"` + alice + `"}`)
			_ = w.sb.Approve(v.UserCode, alice)
			time.Sleep(time.Minute)
			w.sb.ClearFaults()
			w.follow(v.ID)
		},
		sandbox.EndpointDeviceCode: func(w *world) {
			if a := w.call(w.admin, http.MethodPost, "/v1/signins", `{"account":"`+bob+`"}`); a.status < http.StatusBadRequest {
				var v httpapi.SignIn
				a.into(&v)
				w.call(w.admin, http.MethodGet, "/v1/signins/"+v.ID+"?wait=60", "")
				w.call(w.admin, http.MethodDelete, "/v1/signins/"+v.ID, "")
			}
		},
		sandbox.EndpointDiscovery: func(w *world) { // nothing is known of the authority yet
			w.call(w.admin, http.MethodPost, "/v1/signins", `{"account":"`+bob+`"}`)
			w.call(w.admin, http.MethodPost, "/v1/signins", `{"account":"`+bob+`","flow":"browser"}`)
		},
	}
	for endpoint, step := range steps {
		t.Run(string(endpoint), func(t *testing.T) {
			t.Parallel()
			o := worldOptions{
				sandbox: sandbox.Config{Canary: true}, yaml: "listen: 127.0.0.1:8477\n",
				env: map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console"},
			}
			w := newInBubble(t, o, func(w *world) { w.playScenarios(endpoint, step) })
			s := &searched{t: t, bytes: map[string]int{}}
			s.look("the log", w.log.String(), true)
			s.problems(w)
			s.files(w)
			s.looked("the log", "an error")
			if !strings.Contains(w.log.String(), `"Name"`) {
				t.Error("the console exporter wrote no spans")
			}
		})
	}
}

// playScenarios plays a step in every scenario. The browser's flow needs a
// socket, which a bubble has not: no scenario of discovery lets it come so far.
func (w *world) playScenarios(endpoint sandbox.Endpoint, step func(*world)) {
	discovery := endpoint == sandbox.EndpointDiscovery
	if !discovery {
		w.ready()
	}
	for _, sc := range sandbox.Scenarios() {
		if _, err := w.sb.Fault(sandbox.Fault{Scenario: sc.Name, Endpoint: endpoint}); err != nil {
			continue // it strikes elsewhere only
		}
		if !discovery || !harmlessAtDiscovery(sc.Name) {
			step(w)
		}
		w.sb.ClearFaults()
		if !discovery {
			w.signIn(alice)
		}
	}
	v := w.begin(`{"account":"` + bob + `"}`) // and one that nobody finishes
	if v = w.follow(v.ID); v.State != httpapi.SignInStateExpired {
		w.t.Errorf("the sign-in that nobody finished is %s", v.State)
	}
	w.call(v.ID, http.MethodGet, "/v1/token?resource=graph", "")
}

// harmlessAtDiscovery are the scenarios that leave a discovery document good.
func harmlessAtDiscovery(name string) bool {
	return name == "slow" || name == "lost" || name == "scope_declined" || strings.HasPrefix(name, "no_")
}

// panicking fails as nobody foresaw, with a token in its mouth.
type panicking struct{ httpapi.Tokens }

func (p panicking) Token(context.Context, *consumer.Identity, token.Request) (cache.Answer, error) {
	panic(errors.New("cannot read eyJhbGciOiJub25lIn0.CANARY of " + alice))
}

func TestCanaryInAPanic(t *testing.T) {
	t.Parallel()
	w := newInBubble(t, bubbleOptions(), func(w *world) {
		w.ready()
		cfg := w.parts.apiConfig()
		cfg.Tokens = panicking{}
		server, err := httpapi.New(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		w.client = &http.Client{Transport: server.Transport()}
		for _, a := range []answer{w.get("graph"), w.call(w.key, http.MethodPost, "/v1/token", `{"resource":"graph"}`)} {
			if p := a.problem(); a.status != http.StatusInternalServerError || p.Code != "internal" {
				w.t.Errorf("status %d, %+v", a.status, p)
			}
		}
	})
	s := &searched{t: t, bytes: map[string]int{}}
	s.look("the log", w.log.String(), true)
	s.problems(w)
	s.looked("the log", "an error")
	if !strings.Contains(w.log.String(), "panic") {
		t.Error("the panic is not in the log")
	}
}
