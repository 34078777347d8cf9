package sandbox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seen is what a client sees of a fault.
type seen struct {
	status   int // 0: no answer
	code     string
	aadsts   int
	suberror string
	claims   bool
	retry    string
	body     string // how the body begins
	broken   bool   // the body ends in the middle
	reset    bool
}

// wanted is what each scenario looks like at its default endpoint.
var wanted = map[string]seen{
	"pending":           {status: 400, code: "authorization_pending", aadsts: 70016},
	"slow_down":         {status: 400, code: "slow_down"},
	"declined":          {status: 400, code: "authorization_declined", aadsts: 65004},
	"expired":           {status: 400, code: "expired_token", aadsts: 70020},
	"bad_code":          {status: 400, code: "bad_verification_code", aadsts: 70018},
	"blocked_page":      {status: 403, body: "<!DOCTYPE html>"},
	"access_denied":     {status: 302},
	"bad_token":         {status: 400, code: "invalid_grant", aadsts: 50173, suberror: "bad_token"},
	"token_expired":     {status: 400, code: "invalid_grant", aadsts: 700082, suberror: "token_expired"},
	"sign_in_frequency": {status: 400, code: "invalid_grant", aadsts: 70043, suberror: "token_expired"},
	"basic_action":      {status: 400, code: "invalid_grant", aadsts: 50076, suberror: "basic_action", claims: true},
	"claims_challenge":  {status: 400, code: "interaction_required", aadsts: 50079, suberror: "basic_action", claims: true},
	"login_required":    {status: 400, code: "login_required", aadsts: 50058},
	"consent_required":  {status: 400, code: "invalid_grant", aadsts: 65001, suberror: "consent_required"},
	"password_expired":  {status: 400, code: "invalid_grant", aadsts: 50055, suberror: "user_password_expired"},
	"message_only":      {status: 400, code: "invalid_grant", aadsts: 53003, suberror: "message_only", claims: true},
	"additional_action": {status: 400, code: "invalid_grant", aadsts: 53000, suberror: "additional_action"},
	"disabled":          {status: 400, code: "invalid_grant", aadsts: 50057},
	"admin_consent":     {status: 400, code: "access_denied", aadsts: 90094},
	"public_client_off": {status: 401, code: "invalid_client", aadsts: 7000218},
	"not_mobile":        {status: 401, code: "invalid_client", aadsts: 70002},
	"other_cloud":       {status: 200, body: `{"authorization_endpoint"`},
	"app_not_found":     {status: 400, code: "unauthorized_client", aadsts: 700016},
	"invalid_scope":     {status: 400, code: "invalid_scope", aadsts: 70011},
	"invalid_resource":  {status: 400, code: "invalid_resource", aadsts: 500011},
	"wrong_cloud":       {status: 400, code: "invalid_request", aadsts: 900432},
	"tenant_not_found":  {status: 400, code: "invalid_tenant", aadsts: 90002},
	"loop":              {status: 400, code: "invalid_grant", aadsts: 50196},
	"throttled":         {status: 429, code: "temporarily_unavailable", aadsts: 90055, retry: "30"},
	"throttled_bare":    {status: 429, code: "temporarily_unavailable", aadsts: 90055},
	"server_error":      {status: 500, code: "server_error", aadsts: 90033},
	"unavailable":       {status: 503, code: "temporarily_unavailable", aadsts: 90033},
	"unavailable_retry": {status: 503, code: "temporarily_unavailable", aadsts: 90033, retry: "30"},
	"bad_gateway":       {status: 502, body: "<html>"},
	"gateway_timeout":   {status: 504},
	"reset":             {reset: true},
	"hang":              {},
	"slow":              {status: 200, body: `{"token_type"`},
	"portal":            {status: 200, body: "<!DOCTYPE html>"},
	"redirect":          {status: 302},
	"redirect_post":     {status: 307},
	"proxy_auth":        {status: 407, body: "<html>"},
	"empty":             {status: 200},
	"error_200":         {status: 200, code: "server_error", aadsts: 90033},
	"huge":              {status: 200, body: `{"padding"`},
	"truncated":         {status: 200, body: `{"token_type"`},
	"cut":               {status: 200, body: `{"token_type"`, broken: true},
	"lost":              {reset: true},
	"no_refresh_token":  {status: 200, body: `{"access_token"`},
	"no_access_token":   {status: 200, body: `{"client_info"`},
	"no_expires_in":     {status: 200, body: `{"access_token"`},
	"no_id_token":       {status: 200, body: `{"access_token"`},
	"no_client_info":    {status: 200, body: `{"access_token"`},
	"scope_declined":    {status: 200, body: `{"access_token"`},
	"cae":               {status: 401, body: `{"error":{"code":"InvalidAuthenticationToken"`},
	"token_rejected":    {status: 401, body: `{"error":{"code":"InvalidAuthenticationToken"`},
	"ews_disabled":      {status: 403, body: "EWS is disabled"},
	"ews_blocked":       {status: 403, body: "EWS is disabled"},
}

// strike sends the request that a fault at e strikes.
func (c *client) strike(ctx context.Context, e Endpoint, a answer) (*http.Response, error) {
	form := url.Values{"client_id": {clientID}}
	method, path := http.MethodPost, "/"+tenantID+"/oauth2/v2.0/token"
	bearer := ""
	switch e {
	case EndpointTokenPoll:
		form.Set("grant_type", grantDevice)
		form.Set("device_code", c.deviceCode(graphScope).DeviceCode)
		form.Set("client_info", "1")
	case EndpointTokenRefresh:
		form = refreshForm(a.RefreshToken, graphScope)
		form.Set("client_id", clientID)
	case EndpointDeviceCode:
		path = "/" + tenantID + "/oauth2/v2.0/devicecode"
		form.Set("scope", graphScope)
	case EndpointDiscovery:
		method, path = http.MethodGet, "/"+tenantID+"/v2.0/.well-known/openid-configuration"
	case EndpointAuthorize:
		method, path = http.MethodGet, authorizePath+authorizeQuery("query", "").Encode()
	case EndpointDevicePage:
		method, path = http.MethodGet, "/devicelogin"
	case EndpointGraph:
		method, path, bearer = http.MethodGet, "/v1.0/me", a.AccessToken
	case EndpointEWS:
		path, bearer = "/EWS/Exchange.asmx", a.AccessToken
	default:
		c.t.Fatalf("no request for %s", e)
	}
	req := c.request(method, path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer "+bearer)
	return c.hc.Do(req.WithContext(ctx))
}

// look describes what a client sees.
func look(t *testing.T, resp *http.Response, err error, want seen) seen {
	t.Helper()
	var got seen
	if err != nil {
		got.reset = !errors.Is(err, context.DeadlineExceeded)
		return got
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	body := string(b)
	got.broken = err != nil
	got.status, got.retry = resp.StatusCode, resp.Header.Get("Retry-After")
	if strings.HasPrefix(body, want.body) {
		got.body = want.body
	}
	var e errorBody
	if decode(body, &e) == nil {
		got.code, got.suberror, got.claims = e.Error, e.SubError, e.Claims != ""
		if len(e.Codes) > 0 {
			got.aadsts = e.Codes[0]
		}
	}
	return got
}

// TestEveryScenario plays every scenario over TLS and in memory: both must look
// the same.
func TestEveryScenario(t *testing.T) {
	tls := overTLS(t, Config{AutoApprove: true})
	tls.hc.Transport.(*http.Transport).DisableKeepAlives = true // no retry on a reused connection
	for _, sc := range Scenarios() {
		want, ok := wanted[sc.Name]
		if !ok {
			t.Errorf("scenario %q has no test", sc.Name)
			continue
		}
		if sc.Text == "" || len(sc.Endpoints) == 0 {
			t.Errorf("scenario %q is not described", sc.Name)
		}
		check := func(t *testing.T, c *client) {
			t.Helper()
			a := c.signIn("alice@contoso.example", graphScope)
			c.fault(Fault{Scenario: sc.Name, Count: 1})
			ctx, cancel := context.WithTimeout(t.Context(), waitFor(sc.Name, c))
			defer cancel()
			e := sc.Endpoints[len(sc.Endpoints)-1]
			if sc.Name == "cae" || sc.Name == "token_rejected" || sc.Name == "blocked_page" {
				e = sc.Endpoints[0]
			}
			resp, err := c.strike(ctx, e, a)
			if diff := cmp.Diff(want, look(t, resp, err, want), cmp.AllowUnexported(seen{})); diff != "" {
				t.Error(diff)
			}
			if left := c.s.Faults(); len(left) != 0 {
				t.Errorf("still in force: %v", left)
			}
		}
		t.Run("memory/"+sc.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { check(t, inMemory(t, Config{AutoApprove: true})) })
		})
		if sc.Name != "slow" { // 5 s of real time
			t.Run("tls/"+sc.Name, func(t *testing.T) {
				c := *tls
				c.t = t
				check(t, &c)
			})
		}
	}
	if len(wanted) != len(Scenarios()) {
		t.Errorf("%d scenarios, %d tests", len(Scenarios()), len(wanted))
	}
}

// waitFor keeps a request that hangs short in real time.
func waitFor(scenario string, c *client) time.Duration {
	if scenario == "hang" && c.s.caPEM != nil {
		return 50 * time.Millisecond
	}
	return 20 * time.Second
}

func TestFaultsPlayInOrder(t *testing.T) {
	c := inMemory(t, Config{})
	rt := c.signIn("alice@contoso.example", graphScope).RefreshToken
	c.fault(Fault{Scenario: "unavailable", Count: 2, Skip: 1})
	c.fault(Fault{Scenario: "throttled", Count: 1, RetryAfter: 90 * time.Second})
	c.fault(Fault{Scenario: "reset", Endpoint: EndpointTokenRefresh, Count: 1})
	var got []int
	for range 6 {
		a, err := c.post("token", refreshForm(rt, graphScope))
		if err != nil {
			got = append(got, 0)
			continue
		}
		got = append(got, a.Status)
		if a.Status == 429 && a.Header.Get("Retry-After") != "90" {
			t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
		}
	}
	// While the first is skipping, the second may strike.
	if diff := cmp.Diff([]int{429, 503, 503, 0, 200, 200}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFaultOfOneUser(t *testing.T) {
	c := inMemory(t, Config{})
	alice := c.signIn("alice@contoso.example", graphScope)
	bob := c.signIn("bob@contoso.example", graphScope)
	id := c.fault(Fault{Scenario: "bad_token", User: "Bob@contoso.example"})
	c.fault(Fault{Scenario: "token_rejected", Endpoint: EndpointGraph, User: "bob@contoso.example"})
	if a := c.refresh(alice.RefreshToken, graphScope); a.Status != 200 {
		t.Errorf("alice: %s", a.Raw)
	}
	wantError(t, c.refresh(bob.RefreshToken, graphScope), 400, "invalid_grant", 50173)
	if resp, _ := c.get("/v1.0/me", alice.AccessToken); resp.StatusCode != http.StatusOK {
		t.Errorf("Graph, alice: %d", resp.StatusCode)
	}
	if resp, _ := c.get("/v1.0/me", bob.AccessToken); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("Graph, bob: %d", resp.StatusCode)
	}
	if got := c.s.Faults(); len(got) != 2 || got[0].Hits != 1 || got[0].ID != id {
		t.Errorf("faults: %+v", got)
	}
	if !c.s.ClearFault(id) || c.s.ClearFault(id) {
		t.Error("clearing a fault works once")
	}
	if a := c.refresh(bob.RefreshToken, graphScope); a.Status != 200 {
		t.Errorf("bob, cleared: %s", a.Raw)
	}
	if c.s.ClearFaults(); len(c.s.Faults()) != 0 {
		t.Error("a fault is left")
	}
}

func TestFaultIsChecked(t *testing.T) {
	c := inMemory(t, Config{})
	for name, f := range map[string]Fault{
		"scenario": {Scenario: "flood"}, "endpoint": {Scenario: "reset", Endpoint: "moon"}, "only": {Scenario: "ews_blocked", Endpoint: EndpointGraph},
		"count": {Scenario: "reset", Count: -1}, "user": {Scenario: "reset", User: "nobody@contoso.example"},
	} {
		if _, err := c.s.Fault(f); err == nil {
			t.Errorf("%s: %+v was accepted", name, f)
		}
	}
}

// TestLostAnswerRotates: the client never saw the new refresh token.
func TestLostAnswerRotates(t *testing.T) {
	c := inMemory(t, Config{RevokeUsed: true})
	rt := c.signIn("alice@contoso.example", graphScope).RefreshToken
	c.fault(Fault{Scenario: "lost", Count: 1})
	if _, err := c.post("token", refreshForm(rt, graphScope)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v", err)
	}
	wantError(t, c.refresh(rt, graphScope), 400, "invalid_grant", 50173)
}

func TestTransportKeepsToTheSandbox(t *testing.T) {
	c := inMemory(t, Config{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://login.microsoftonline.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.s.Transport().RoundTrip(req); err == nil {
		_ = resp.Body.Close()
		t.Error("another host was reached")
	}
	_ = c.s.Close()
	_ = c.s.Close()
	c.fault(Fault{Scenario: "hang"})
	if _, err := c.post("token", refreshForm("x", graphScope)); !errors.Is(err, errClosed) {
		t.Errorf("a closed sandbox: %v", err)
	}
}

// TestFaultsSpeakTheEndpointsLanguage: the same outage at Graph, EWS and the
// pages has their form.
func TestFaultsSpeakTheEndpointsLanguage(t *testing.T) {
	c := inMemory(t, Config{})
	a := c.signIn("alice@contoso.example", graphScope)
	for e, want := range map[Endpoint]string{
		EndpointGraph: `{"error":{"code":"serviceNotAvailable"`, EndpointEWS: "A transient error", EndpointDevicePage: "<!DOCTYPE html>",
		EndpointAuthorize: "<!DOCTYPE html>", EndpointDiscovery: `{"error":"temporarily_unavailable"`,
	} {
		c.fault(Fault{Scenario: "unavailable_retry", Endpoint: e, Count: 1})
		resp, err := c.strike(t.Context(), e, a)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "30" || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s: %d %.80s", e, resp.StatusCode, body)
		}
	}
	for status, want := range map[int]string{429: "TooManyRequests", 500: "generalException", 403: "Authorization_RequestDenied", 401: "InvalidAuthenticationToken", 400: "BadRequest"} {
		if got := graphCode(status); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

// TestSpoiltAnswersLeaveErrorsAlone: there is no field to take out of an error.
func TestSpoiltAnswersLeaveErrorsAlone(t *testing.T) {
	c := inMemory(t, Config{})
	c.fault(Fault{Scenario: "no_refresh_token"})
	wantError(t, c.refresh("1.unknown", graphScope), 400, "invalid_grant", 70000)
}
