package main

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// bubbleOptions are those of a world in a bubble: a fixed address, and no files
// to sync.
func bubbleOptions() worldOptions {
	return worldOptions{yaml: "listen: 127.0.0.1:8477\nstore: memory\n"}
}

// kindOutcome is how a scenario shows to a consumer, as the contract's table says.
type kindOutcome struct {
	status int
	code   httpapi.ProblemCode
	action httpapi.ProblemUserAction
	state  httpapi.AccountState
	hold   time.Duration // for so long the authority is left alone
	wide   bool          // the account's other resource is held too
	claims bool          // the problem says what to sign in with

	scenario string
}

// refreshOutcomes is what becomes of a renewal in each scenario. A step-up, a
// missing consent and a policy may be about one resource, so the other one is
// tried on its own.
var refreshOutcomes = map[string]kindOutcome{
	"bad_token":         {409, "sign-in-required", "sign-in", "sign_in_required", 2 * time.Minute, true, false, ""},
	"token_expired":     {409, "sign-in-required", "sign-in", "sign_in_required", 2 * time.Minute, true, false, ""},
	"sign_in_frequency": {409, "sign-in-required", "sign-in", "sign_in_required", 2 * time.Minute, true, false, ""},
	"login_required":    {409, "sign-in-required", "sign-in", "sign_in_required", 2 * time.Minute, true, false, ""},
	"password_expired":  {409, "sign-in-required", "sign-in", "sign_in_required", 2 * time.Minute, true, false, ""},
	"basic_action":      {409, "sign-in-required", "sign-in", "degraded", 2 * time.Minute, false, true, ""},
	"claims_challenge":  {409, "sign-in-required", "sign-in", "degraded", 2 * time.Minute, false, true, ""},
	"consent_required":  {409, "sign-in-required", "sign-in", "degraded", 2 * time.Minute, false, false, ""},

	"message_only":      {403, "policy-blocked", "contact-admin", "degraded", 15 * time.Minute, false, true, ""},
	"additional_action": {403, "policy-blocked", "contact-admin", "degraded", 15 * time.Minute, false, false, ""},
	"disabled":          {403, "policy-blocked", "contact-admin", "degraded", 15 * time.Minute, false, false, ""},
	"admin_consent":     {403, "policy-blocked", "contact-admin", "degraded", 15 * time.Minute, false, false, ""},

	"public_client_off": {500, "configuration", "contact-admin", "degraded", time.Minute, false, false, ""},
	"app_not_found":     {500, "configuration", "contact-admin", "degraded", time.Minute, false, false, ""},
	"invalid_scope":     {500, "configuration", "contact-admin", "degraded", time.Minute, false, false, ""},
	"invalid_resource":  {500, "configuration", "contact-admin", "degraded", time.Minute, false, false, ""},
	"wrong_cloud":       {500, "configuration", "contact-admin", "degraded", time.Minute, false, false, ""},

	"loop":              {503, "throttled", "none", "degraded", 5 * time.Minute, true, false, ""},
	"throttled":         {503, "throttled", "none", "degraded", 30 * time.Second, true, false, ""},
	"throttled_bare":    {503, "throttled", "none", "degraded", time.Minute, true, false, ""},
	"server_error":      {503, "upstream-unavailable", "none", "degraded", time.Minute, true, false, ""},
	"unavailable":       {503, "upstream-unavailable", "none", "degraded", time.Minute, true, false, ""},
	"unavailable_retry": {503, "upstream-unavailable", "none", "degraded", 30 * time.Second, true, false, ""},
	"bad_gateway":       {503, "upstream-unavailable", "none", "degraded", time.Minute, true, false, ""},
	"gateway_timeout":   {503, "upstream-unavailable", "none", "degraded", time.Minute, true, false, ""},
	"reset":             {503, "upstream-unavailable", "none", "degraded", 5 * time.Second, true, false, ""},
	"cut":               {503, "upstream-unavailable", "none", "degraded", 5 * time.Second, true, false, ""},
	"lost":              {503, "upstream-unavailable", "none", "degraded", 5 * time.Second, true, false, ""},
	"proxy_auth":        {503, "upstream-unavailable", "none", "degraded", 5 * time.Second, true, false, ""},
	"hang":              {504, "upstream-timeout", "none", "degraded", 5 * time.Second, true, false, ""},

	"portal":          {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"redirect":        {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"redirect_post":   {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"empty":           {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"error_200":       {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"huge":            {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"truncated":       {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"no_access_token": {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},
	"no_expires_in":   {502, "upstream-invalid", "none", "degraded", 5 * time.Second, true, false, ""},

	// Answers that serve all the same.
	"slow":             {status: 200, state: "ok"},
	"no_refresh_token": {status: 200, state: "ok"},
	"no_id_token":      {status: 200, state: "ok"},
	"no_client_info":   {status: 200, state: "ok"},
	"scope_declined":   {status: 200, state: "ok"}, // .default stands for what was consented
}

// Every scenario at the renewal of a token, cold: what the consumer is told, for
// how long the authority is left alone, and that it heals by itself.
func TestEveryScenarioOfARenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, bubbleOptions())
		defer w.close()
		w.ready()
		for _, sc := range sandbox.Scenarios() {
			if !slices.Contains(sc.Endpoints, sandbox.EndpointTokenRefresh) {
				continue
			}
			want, known := refreshOutcomes[sc.Name]
			if !known {
				t.Errorf("scenario %s has no outcome in this test", sc.Name)
				continue
			}
			want.scenario = sc.Name
			w.playRenewal(t, want)
		}
	})
}

// playRenewal plays one scenario on a new sign-in.
func (w *world) playRenewal(t *testing.T, want kindOutcome) {
	t.Helper()
	w.sb.ClearFaults()
	w.signIn(alice)
	w.sb.ResetStats()
	w.fault(sandbox.Fault{Scenario: want.scenario, Endpoint: sandbox.EndpointTokenRefresh})
	began := time.Now()
	first := w.get("graph")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("%s: the caller waited %v", want.scenario, took)
	}
	if first.status != want.status {
		t.Errorf("%s: status %d, want %d: %s", want.scenario, first.status, want.status, first.body)
	}
	if got := w.account(alice).State; got != want.state {
		t.Errorf("%s: account is %s, want %s", want.scenario, got, want.state)
	}
	if first.status == http.StatusOK {
		return
	}
	checkProblem(t, first, want)
	checkProblem(t, w.get("graph"), want)
	if got := w.redemptions(); got != 1 {
		t.Errorf("%s: the failure is not remembered: %d requests to the authority", want.scenario, got)
	}
	w.get("ews")
	if wide := w.redemptions() == 1; wide != want.wide {
		t.Errorf("%s: the other resource is held: %v, want %v", want.scenario, wide, want.wide)
	}
	w.checkHealing(t, want)
}

// checkHealing looks at the first request after the time for which a failure is
// remembered, and at the last before.
func (w *world) checkHealing(t *testing.T, want kindOutcome) {
	t.Helper()
	w.sb.ClearFaults()
	w.sb.ResetStats()
	time.Sleep(want.hold - 100*time.Millisecond)
	if a := w.get("graph"); a.status != want.status || w.redemptions() != 0 {
		t.Errorf("%s: a moment before its time: status %d, %d requests to the authority", want.scenario, a.status, w.redemptions())
	}
	time.Sleep(200 * time.Millisecond)
	w.token("graph")
	if a := w.account(alice); a.State != httpapi.AccountStateOk && want.wide {
		t.Errorf("%s: healed, but the account is %s: %+v", want.scenario, a.State, a.Problem)
	}
}

// checkProblem holds a problem to its row of the contract.
func checkProblem(t *testing.T, a answer, want kindOutcome) {
	t.Helper()
	p := a.problem()
	retryable := want.action == "none"
	if a.status != want.status || p.Code != want.code || p.UserAction != want.action || p.Retryable != retryable {
		t.Errorf("%s: status %d, %+v; want %+v", want.scenario, a.status, p, want)
	}
	seconds, _ := strconv.Atoi(a.header.Get("Retry-After"))
	if retryable != (seconds > 0) || p.RetryAfter != seconds || seconds > int(want.hold.Seconds()) {
		t.Errorf("%s: Retry-After %q, retry_after %d; the broker itself waits %v", want.scenario, a.header.Get("Retry-After"), p.RetryAfter, want.hold)
	}
	if (p.Claims != "") != want.claims {
		t.Errorf("%s: claims %q", want.scenario, p.Claims)
	}
	if signIn := want.code == "sign-in-required"; signIn != (p.SignIn != "") {
		t.Errorf("%s: sign_in %q", want.scenario, p.SignIn)
	}
	if p.Detail == "" || p.Instance == "" {
		t.Errorf("%s: no detail or instance: %+v", want.scenario, p)
	}
}

// A token that is still valid is served through any failure; the account is
// degraded, and the status says why.
func TestAValidTokenOutlivesItsRenewal(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"unavailable", "throttled", "portal", "hang", "reset", "message_only", "basic_action", "public_client_off"} {
		t.Run(scenario, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := bubbleOptions()
				o.sandbox.AccessTokenLifetime = time.Hour
				w := newBubble(t, o)
				defer w.close()
				w.ready()
				had := w.token("graph")
				w.fault(sandbox.Fault{Scenario: scenario, Endpoint: sandbox.EndpointTokenRefresh})
				time.Sleep(55 * time.Minute) // the schedule has tried
				if w.redemptions() < 2 {
					t.Fatal("no renewal was tried")
				}
				got := w.token("graph")
				if got.AccessToken != had.AccessToken || got.Source != "cache" || got.ExpiresIn > 300 {
					t.Errorf("served: %+v", got)
				}
				var forced httpapi.Token
				w.call(w.key, http.MethodGet, "/v1/token?resource=graph&min_validity=1800", "").into(&forced)
				if forced.AccessToken != had.AccessToken {
					t.Error("the wish for more validity was not answered with the token in hand")
				}
				w.checkDegraded(t, refreshOutcomes[scenario].code)
				time.Sleep(6 * time.Minute)
				if a := w.get("graph"); a.problem().Code != refreshOutcomes[scenario].code {
					t.Errorf("after its end: status %d, %s", a.status, a.body)
				}
			})
		})
	}
}

// checkDegraded looks for one problem everywhere it is to be seen.
func (w *world) checkDegraded(t *testing.T, code httpapi.ProblemCode) {
	t.Helper()
	a := w.account(alice)
	if a.State != httpapi.AccountStateDegraded || a.Problem.Code != code {
		t.Errorf("account is %s, %s", a.State, a.Problem.Code)
	}
	i := slices.IndexFunc(a.Resources, func(r httpapi.AccountResource) bool { return r.Resource == "graph" })
	if i < 0 || a.Resources[i].Problem.Code != code || a.Resources[i].ExpiresOn == 0 {
		t.Errorf("resources %+v", a.Resources)
	}
	var st httpapi.Status
	w.call(w.admin, http.MethodGet, "/v1/status", "").into(&st)
	if len(st.Problems) == 0 || st.Problems[0].Problem.Code != code || st.Problems[0].Account != alice || st.Problems[0].Resource != "graph" {
		t.Errorf("problems of the status: %+v", st.Problems)
	}
	if !slices.ContainsFunc(st.Accounts, func(a httpapi.Account) bool { return a.State == httpapi.AccountStateDegraded }) {
		t.Errorf("accounts of the status: %+v", st.Accounts)
	}
	if retryable := refreshRetryable(code); retryable == a.NextTryAt.IsZero() {
		t.Errorf("next try at %v for %s", a.NextTryAt, code)
	}
	if got := w.call("", http.MethodGet, "/readyz", ""); got.status != http.StatusServiceUnavailable {
		t.Errorf("no account is ok, yet the broker is ready: %s", got.body)
	}
}

// refreshRetryable reports whether the broker tries again by itself.
func refreshRetryable(code httpapi.ProblemCode) bool {
	for _, o := range refreshOutcomes {
		if o.code == code {
			return o.action == "none"
		}
	}
	return false
}

// A scope that one resource is not given says nothing of the others.
func TestConsentOfOneResource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, bubbleOptions())
		defer w.close()
		w.ready()
		w.fault(sandbox.Fault{Scenario: "scope_declined", Endpoint: sandbox.EndpointTokenRefresh, Count: 1})
		checkProblem(t, w.get("ews"), kindOutcome{409, "sign-in-required", "sign-in", "", 2 * time.Minute, false, false, ""})
		w.token("graph")
		if got := w.account(alice).State; got != httpapi.AccountStateDegraded {
			t.Errorf("the account is %s", got)
		}
	})
}

// While a person signs in, consumers are told that it pays to ask again.
func TestASignInIsRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, bubbleOptions())
		defer w.close()
		w.ready()
		if err := w.sb.Revoke(alice); err != nil {
			t.Fatal(err)
		}
		if p := w.get("graph").problem(); p.Code != "sign-in-required" || p.SignIn != "/v1/signins" {
			t.Errorf("before: %+v", p)
		}
		v := w.begin(`{"account":"` + alice + `"}`)
		a := w.get("graph")
		p := a.problem()
		if a.status != http.StatusConflict || p.Code != "sign-in-pending" || !p.Retryable || p.UserAction != "sign-in" || a.header.Get("Retry-After") != "5" {
			t.Errorf("while it runs: status %d, Retry-After %s, %+v", a.status, a.header.Get("Retry-After"), p)
		}
		var st httpapi.Status
		if w.call(w.admin, http.MethodGet, "/v1/status", "").into(&st); st.SignInsPending != 1 {
			t.Errorf("the status says that %d sign-ins are pending", st.SignInsPending)
		}
		if again := w.begin(`{"account":"` + alice + `"}`); again.ID != v.ID {
			t.Error("a second sign-in was started")
		}
		if err := w.sb.Approve(v.UserCode, alice); err != nil {
			t.Fatal(err)
		}
		w.follow(v.ID)
		w.token("graph")
		st = httpapi.Status{}
		if w.call(w.admin, http.MethodGet, "/v1/status", "").into(&st); st.SignInsPending != 0 {
			t.Errorf("the status says that %d sign-ins are still pending", st.SignInsPending)
		}
	})
}

// signInOutcomes is how a sign-in ends in each scenario of its polls: the
// scenario strikes twice. What is not the person's word is waited out.
var signInOutcomes = map[string]struct {
	state httpapi.SignInState
	code  httpapi.ProblemCode
}{
	"pending": {"succeeded", ""}, "slow_down": {"succeeded", ""},
	"declined": {"declined", "sign-in-declined"}, "expired": {"expired", "sign-in-expired"}, "bad_code": {"expired", "sign-in-expired"},
	"consent_required": {"failed", "sign-in-required"},
	"message_only":     {"failed", "policy-blocked"}, "additional_action": {"failed", "policy-blocked"},
	"disabled":          {"failed", "policy-blocked"},
	"admin_consent":     {"failed", "policy-blocked"},
	"public_client_off": {"failed", "configuration"}, "app_not_found": {"failed", "configuration"}, "invalid_scope": {"failed", "configuration"},
	"invalid_resource": {"failed", "configuration"}, "wrong_cloud": {"failed", "configuration"},
	"loop": {"succeeded", ""}, "throttled": {"succeeded", ""}, "throttled_bare": {"succeeded", ""}, "server_error": {"succeeded", ""},
	"unavailable": {"succeeded", ""}, "unavailable_retry": {"succeeded", ""}, "bad_gateway": {"succeeded", ""}, "gateway_timeout": {"succeeded", ""},
	"reset": {"succeeded", ""}, "hang": {"succeeded", ""}, "slow": {"succeeded", ""}, "portal": {"succeeded", ""}, "redirect": {"succeeded", ""},
	"redirect_post": {"succeeded", ""}, "proxy_auth": {"succeeded", ""}, "empty": {"succeeded", ""}, "error_200": {"succeeded", ""}, "huge": {"succeeded", ""},
	"no_client_info": {"succeeded", ""}, "scope_declined": {"succeeded", ""},

	// The code was redeemed and its answer is lost: the person must start again.
	"truncated": {"failed", "sign-in-required"}, "cut": {"failed", "sign-in-required"}, "lost": {"failed", "sign-in-required"},
	"no_access_token": {"failed", "upstream-invalid"}, "no_expires_in": {"failed", "upstream-invalid"},
	"no_refresh_token": {"failed", "configuration"},
	"no_id_token":      {"failed", "conflict"}, // nobody can say that it was alice
}

func TestEveryScenarioOfASignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, bubbleOptions())
		defer w.close()
		for _, sc := range sandbox.Scenarios() {
			if !slices.Contains(sc.Endpoints, sandbox.EndpointTokenPoll) {
				continue
			}
			v := w.begin(`{"account":"` + alice + `"}`)
			w.fault(sandbox.Fault{Scenario: sc.Name, Endpoint: sandbox.EndpointTokenPoll, Count: 2})
			if err := w.sb.Approve(v.UserCode, alice); err != nil {
				t.Fatal(err)
			}
			v = w.follow(v.ID)
			if want, known := signInOutcomes[sc.Name]; !known || v.State != want.state || v.Problem.Code != want.code {
				t.Errorf("%s: ended as %s, %s (%s); want %+v", sc.Name, v.State, v.Problem.Code, v.Message, want)
			}
			w.sb.ClearFaults()
		}
	})
}
