package entra

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestRedeem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.tokens = []answer{ok(tokenDoc(map[string]any{"refresh_in": 2000}))}
		c := a.client()
		const challenge = `{"access_token": {"nbf": {"essential": true, "value": "1700000000"}}}`
		r, err := c.Redeem(t.Context(), testGrant(), graph, challenge)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if got := r.Token.Access.Reveal(); got != canary+"-access" {
			t.Errorf("access token = %q", got)
		}
		if r.Token.ExpiresOn != now.Add(4500*time.Second) || r.Token.RefreshOn != now.Add(2000*time.Second) || r.Token.ObtainedOn != now {
			t.Errorf("times: %+v", r.Token)
		}
		if !r.Rotated || r.RefreshToken.Reveal() != canary+"-refresh-2" {
			t.Errorf("rotated = %v, %q", r.Rotated, r.RefreshToken.Reveal())
		}
		quiet(t, r)
		got := a.requests("/token")
		if len(got) != 1 {
			t.Fatalf("%d token requests", len(got))
		}
		for name, want := range map[string]string{
			"grant_type": "refresh_token", "refresh_token": canary + "-refresh-1", "client_id": testClient, "client_info": "1",
			"scope":  "https://graph.microsoft.com/.default openid offline_access profile",
			"claims": `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`,
		} {
			if v := got[0].form.Get(name); v != want {
				t.Errorf("%s = %q, want %q", name, v, want)
			}
		}
		if got[0].header.Get("x-client-sku") != "MSAL.Go" || !isGUID(got[0].header.Get("client-request-id")) {
			t.Errorf("headers: %v", got[0].header)
		}
	})
}

// Every call is a redemption, also right after another: MSAL's cache must not
// answer.
func TestRedeemNeverFromMSALsCache(t *testing.T) {
	a := newAuthority(t)
	c := a.client()
	for range 3 {
		if _, err := c.Redeem(t.Context(), testGrant(), graph, ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.requests("/token")); n != 3 {
		t.Errorf("%d token requests, want 3", n)
	}
	if n := len(a.requests("/openid-configuration")); n != 1 {
		t.Errorf("%d discovery requests, want 1", n)
	}
}

func TestRedeemTolerates(t *testing.T) {
	tests := map[string]struct {
		edit    map[string]any
		expires time.Duration
		rotated bool
	}{
		"as Entra":           {nil, 4500 * time.Second, true},
		"no client_info":     {map[string]any{"client_info": nil}, 4500 * time.Second, true},
		"no scope":           {map[string]any{"scope": nil}, 4500 * time.Second, true},
		"OIDC scopes only":   {map[string]any{"scope": "openid offline_access"}, 4500 * time.Second, true},
		"scope list":         {map[string]any{"scope": []string{"openid", "x"}}, 4500 * time.Second, true},
		"string expires_in":  {map[string]any{"expires_in": "3600"}, time.Hour, true},
		"fraction":           {map[string]any{"expires_in": 59.9}, 59 * time.Second, true},
		"short":              {map[string]any{"expires_in": 30}, 30 * time.Second, true},
		"expires_on only":    {map[string]any{"expires_in": nil, "expires_on": "946688400"}, time.Hour, true},
		"token type case":    {map[string]any{"token_type": "bEARER"}, 4500 * time.Second, true},
		"no token type":      {map[string]any{"token_type": nil}, 4500 * time.Second, true},
		"no refresh token":   {map[string]any{"refresh_token": nil}, 4500 * time.Second, false},
		"no id_token":        {map[string]any{"id_token": nil, "client_info": nil}, 4500 * time.Second, true},
		"id_token only sub":  {map[string]any{"id_token": jwt(map[string]any{"sub": "s"}), "client_info": nil}, 4500 * time.Second, true},
		"id_token odd":       {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "aud": []string{"a", "b"}, "exp": "x"})}, 4500 * time.Second, true},
		"id_token garbage":   {map[string]any{"id_token": "x"}, 4500 * time.Second, true},
		"client_info broken": {map[string]any{"client_info": "%%"}, 4500 * time.Second, true},
		"extra fields":       {map[string]any{"foci": "1", "x": map[string]any{"y": []int{1}}, "not-before-policy": 0}, 4500 * time.Second, true},
		"refresh_in late":    {map[string]any{"refresh_in": 4500}, 4500 * time.Second, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.tokens = []answer{ok(tokenDoc(tt.edit))}
				r, err := a.client().Redeem(t.Context(), testGrant(), graph, "")
				if err != nil {
					t.Fatal(err)
				}
				if got := r.Token.Lifetime(); got != tt.expires {
					t.Errorf("lifetime = %v, want %v", got, tt.expires)
				}
				if r.Rotated != tt.rotated || r.RefreshToken.IsZero() || !r.Token.RefreshOn.IsZero() {
					t.Errorf("%+v", r)
				}
				if r.Token.Scope == "" {
					t.Error("no scope")
				}
			})
		})
	}
}

type failure struct {
	answer answer
	kind   token.Kind
	retry  time.Duration
	aadsts int
	detail string // a part of it
}

func merge(lists ...[]any) []any {
	var out []any
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func sub(s string) []any { return []any{"suberror", s} }

// failures are the rows of the classification, as Entra sends them.
func failures() map[string]failure {
	const stepUp = `{"access_token":{"capolids":{"essential":true,"values":["x"]}}}`
	html := answer{status: 200, body: "<html>" + canary + "</html>", header: http.Header{"Content-Type": {"text/html"}}}
	return map[string]failure{
		"revoked":              {oauth(400, "invalid_grant", merge(sub("bad_token"), aadsts(50173))...), token.KindSignInRequired, 0, 50173, "revoked"},
		"idle":                 {oauth(400, "invalid_grant", merge(sub("token_expired"), aadsts(700082))...), token.KindSignInRequired, 0, 700082, "unused"},
		"frequency":            {oauth(400, "invalid_grant", merge(sub("token_expired"), aadsts(70043))...), token.KindSignInRequired, 0, 70043, "frequency"},
		"MFA as invalid_grant": {oauth(400, "invalid_grant", merge(sub("basic_action"), aadsts(50079), []any{"claims", stepUp})...), token.KindSignInRequired, 0, 50079, "second factor"},
		"MFA as interaction":   {oauth(400, "interaction_required", merge(aadsts(50076), []any{"claims", stepUp})...), token.KindSignInRequired, 0, 50076, "second factor"},
		"login_required":       {oauth(400, "login_required", aadsts(50058)...), token.KindSignInRequired, 0, 50058, "Sign in again"},
		"consent":              {oauth(400, "invalid_grant", merge(sub("consent_required"), aadsts(65001))...), token.KindSignInRequired, 0, 65001, "consent"},
		"password":             {oauth(400, "invalid_grant", sub("user_password_expired")...), token.KindSignInRequired, 0, 0, "password"},
		"bare invalid_grant":   {oauth(400, "invalid_grant"), token.KindSignInRequired, 0, 0, "Sign in again"},
		"number in text only":  {oauth(400, "invalid_grant", "error_description", "AADSTS50173: gone"), token.KindSignInRequired, 0, 50173, "revoked"},

		"CA block":          {oauth(400, "invalid_grant", merge(sub("message_only"), aadsts(53003))...), token.KindPolicyBlocked, 0, 53003, "Conditional Access"},
		"CA device":         {oauth(400, "interaction_required", merge(sub("additional_action"), aadsts(53000))...), token.KindPolicyBlocked, 0, 53000, "--flow browser"},
		"app protection":    {oauth(400, "unauthorized_client", merge(sub("protection_policy_required"), aadsts(53005))...), token.KindPolicyBlocked, 0, 53005, "Intune"},
		"device auth":       {oauth(400, "invalid_grant", sub("device_authentication_failed")...), token.KindPolicyBlocked, 0, 0, "device"},
		"access denied":     {oauth(403, "access_denied"), token.KindPolicyBlocked, 0, 0, "administrator"},
		"unknown number":    {oauth(400, "invalid_grant", merge(sub("message_only"), aadsts(99999999))...), token.KindPolicyBlocked, 0, 99999999, "Conditional Access"},
		"disabled, no sub":  {oauth(400, "invalid_grant", aadsts(50057)...), token.KindPolicyBlocked, 0, 50057, "disabled"},
		"number is no kind": {oauth(400, "invalid_grant", merge(sub("bad_token"), aadsts(53003))...), token.KindSignInRequired, 0, 53003, "Conditional Access"},

		"declined":         {oauth(400, "authorization_declined"), token.KindSignInRequired, 0, 0, "Sign in again"},
		"expired token":    {oauth(400, "expired_token"), token.KindSignInRequired, 0, 0, "Sign in again"},
		"expired code":     {oauth(400, "code_expired"), token.KindSignInRequired, 0, 0, "Sign in again"},
		"bad verification": {oauth(400, "bad_verification_code"), token.KindSignInRequired, 0, 0, "Sign in again"},

		"public client off":  {oauth(401, "invalid_client", aadsts(7000218)...), token.KindConfiguration, 0, 7000218, "Allow public client flows"},
		"app not in tenant":  {oauth(400, "unauthorized_client", aadsts(700016)...), token.KindConfiguration, 0, 700016, "client_id"},
		"no such tenant":     {oauth(400, "invalid_request", aadsts(90002)...), token.KindConfiguration, 0, 90002, "tenant"},
		"wrong cloud":        {oauth(400, "invalid_request", aadsts(900432)...), token.KindConfiguration, 0, 900432, "cloud"},
		"scope":              {oauth(400, "invalid_scope", aadsts(70011)...), token.KindConfiguration, 0, 70011, "scopes"},
		"resource":           {oauth(400, "invalid_resource"), token.KindConfiguration, 0, 0, "scopes"},
		"first-party client": {oauth(400, "invalid_request", aadsts(65002)...), token.KindConfiguration, 0, 65002, "app of your own"},
		"grant type":         {oauth(400, "unsupported_grant_type"), token.KindConfiguration, 0, 0, "flow"},

		"loop":           {oauth(400, "invalid_grant", aadsts(50196)...), token.KindThrottled, 5 * time.Minute, 50196, "pause"},
		"throttled":      {answer{status: 429, header: http.Header{"Retry-After": {"17"}}, body: "slow"}, token.KindThrottled, 17 * time.Second, 0, "fewer"},
		"throttled long": {answer{status: 429, header: http.Header{"Retry-After": {"86400"}}}, token.KindThrottled, time.Hour, 0, "fewer"},
		"throttled bare": {answer{status: 429}, token.KindThrottled, 0, 0, "fewer"},

		"503":          {answer{status: 503, header: http.Header{"Retry-After": {"3"}}, body: canary}, token.KindUnavailable, 3 * time.Second, 0, "HTTP 503"},
		"500 html":     {answer{status: 500, body: "<html>" + canary}, token.KindUnavailable, 0, 0, "HTTP 500"},
		"transient":    {oauth(400, "temporarily_unavailable", aadsts(90033)...), token.KindUnavailable, 0, 90033, "passing"},
		"server_error": {oauth(400, "server_error"), token.KindUnavailable, 0, 0, "problem of its own"},
		"407":          {answer{status: 407, body: canary}, token.KindUnavailable, 0, 0, "407"},
		"refused":      {answer{err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}, token.KindUnavailable, 0, 0, "cannot be connected"},
		"reset":        {answer{err: &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}}, token.KindUnavailable, 0, 0, "broke"},
		"DNS":          {answer{err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: testHost}}}, token.KindUnavailable, 0, 0, "cannot be resolved"},
		"proxy gone":   {answer{err: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: syscall.ECONNREFUSED}}, token.KindUnavailable, 0, 0, "proxy"},
		"proxy 407":    {answer{err: &proxyError{407}}, token.KindUnavailable, 0, 0, "407"},
		"proxy 403":    {answer{err: &proxyError{403}}, token.KindUnavailable, 0, 0, "403"},
		"EOF":          {answer{err: io.EOF}, token.KindUnavailable, 0, 0, "broke"},
		"odd error":    {answer{err: errors.New(canary + " malformed HTTP")}, token.KindUnavailable, 0, 0, "broke"},
		"hang":         {answer{hang: true}, token.KindTimeout, 0, 0, "in time"},

		"portal":          {html, token.KindInvalid, 0, 0, "captive portal"},
		"portal 403":      {answer{status: 403, body: "<html>" + canary}, token.KindInvalid, 0, 0, "captive portal"},
		"redirect 302":    {answer{status: 302, header: http.Header{"Location": {"https://portal.test/"}}}, token.KindInvalid, 0, 0, "captive portal"},
		"redirect 307":    {answer{status: 307, header: http.Header{"Location": {"https://evil.test/"}}}, token.KindInvalid, 0, 0, "captive portal"},
		"empty":           {answer{status: 200}, token.KindInvalid, 0, 0, "captive portal"},
		"null":            {answer{status: 200, body: "null"}, token.KindInvalid, 0, 0, "captive portal"},
		"empty object":    {answer{status: 200, body: "{}"}, token.KindInvalid, 0, 0, "access_token"},
		"truncated":       {answer{status: 200, body: jsonText(tokenDoc(nil))[:200]}, token.KindInvalid, 0, 0, "not a JSON object"},
		"error in 200":    {oauth(200, "invalid_grant"), token.KindInvalid, 0, 0, "HTTP 200"},
		"no access token": {ok(tokenDoc(map[string]any{"access_token": nil})), token.KindInvalid, 0, 0, "access_token"},
		"no expiry":       {ok(tokenDoc(map[string]any{"expires_in": nil})), token.KindInvalid, 0, 0, "expires_in"},
		"zero expiry":     {ok(tokenDoc(map[string]any{"expires_in": 0})), token.KindInvalid, 0, 0, "expires_in"},
		"endless expiry":  {ok(tokenDoc(map[string]any{"expires_in": 1e300})), token.KindInvalid, 0, 0, "expires_in"},
		"token newline":   {ok(tokenDoc(map[string]any{"access_token": canary + "\r\nX-Evil: 1"})), token.KindInvalid, 0, 0, "characters"},
		"token space":     {ok(tokenDoc(map[string]any{"access_token": canary + " x"})), token.KindInvalid, 0, 0, "characters"},
		"token letter":    {ok(tokenDoc(map[string]any{"access_token": canary + "é"})), token.KindInvalid, 0, 0, "characters"},
		"refresh control": {ok(tokenDoc(map[string]any{"refresh_token": canary + "\x00"})), token.KindInvalid, 0, 0, "characters"},
		"pop":             {ok(tokenDoc(map[string]any{"token_type": "pop"})), token.KindInvalid, 0, 0, "bearer"},
		"wrong types":     {answer{status: 200, body: `{"access_token":{"` + canary + `":1},"expires_in":1}`}, token.KindInvalid, 0, 0, "not a JSON object"},
		"too large":       {answer{status: 200, body: `{"x":"` + strings.Repeat("x", maxBody) + `"}`}, token.KindInvalid, 0, 0, "captive portal"},
		"unknown error":   {oauth(400, "something_new"), token.KindInvalid, 0, 0, "does not know"},
		"odd error code":  {oauth(400, canary+" <script>"), token.KindInvalid, 0, 0, "does not know"},
	}
}

func TestRedeemFailures(t *testing.T) {
	for name, tt := range failures() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.tokens = []answer{tt.answer}
				r, err := a.client().Redeem(t.Context(), testGrant(), graph, "")
				e := problemOf(t, err)
				if e.Kind != tt.kind || e.RetryAfter != tt.retry || e.AADSTS != tt.aadsts {
					t.Errorf("kind %v retry %v aadsts %d, want %v %v %d", e.Kind, e.RetryAfter, e.AADSTS, tt.kind, tt.retry, tt.aadsts)
				}
				if !strings.Contains(e.Detail, tt.detail) {
					t.Errorf("Detail %q lacks %q", e.Detail, tt.detail)
				}
				if !isGUID(e.CorrelationID) {
					t.Errorf("correlation ID %q", e.CorrelationID)
				}
				if tt.answer.err == nil && !tt.answer.hang && (e.Status != tt.answer.status || e.RequestID == "") {
					t.Errorf("status %d, request ID %q", e.Status, e.RequestID)
				}
				if !r.Token.Access.IsZero() || r.RefreshToken.IsZero() {
					t.Errorf("redemption: %+v", r)
				}
				if n := len(a.requests("/token")); n != 1 {
					t.Errorf("%d requests, want 1: entra itself does not retry", n)
				}
			})
		})
	}
}

func TestRedeemClaimsOfTheChallenge(t *testing.T) {
	const claims = `{ "access_token": {"capolids": {"essential": true}}}`
	for name, value := range map[string]any{"string": claims, "object": map[string]any{"access_token": map[string]any{"capolids": map[string]any{"essential": true}}}} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.tokens = []answer{oauth(400, "invalid_grant", "suberror", "basic_action", "claims", value)}
			_, err := a.client().Redeem(t.Context(), testGrant(), graph, "")
			if e := problemOf(t, err); e.Claims != `{"access_token":{"capolids":{"essential":true}}}` {
				t.Errorf("claims = %q", e.Claims)
			}
		})
	}
}

// A rotated refresh token outlives an answer that is no good otherwise.
func TestRedeemKeepsRotatedTokenOnError(t *testing.T) {
	tests := map[string]struct {
		scopes token.Scopes
		edit   map[string]any
		kind   token.Kind
	}{
		"no access token": {graph, map[string]any{"access_token": nil}, token.KindInvalid},
		"no expiry":       {graph, map[string]any{"expires_in": nil}, token.KindInvalid},
		"scope missing": {
			token.Scopes{"https://graph.microsoft.com/Mail.Read", "https://graph.microsoft.com/Mail.Send"},
			map[string]any{"scope": "Mail.Read openid"},
			token.KindSignInRequired,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.tokens = []answer{ok(tokenDoc(tt.edit))}
			r, err := a.client().Redeem(t.Context(), testGrant(), tt.scopes, "")
			e := problemOf(t, err)
			if e.Kind != tt.kind {
				t.Errorf("kind = %v", e.Kind)
			}
			if e.Kind == token.KindSignInRequired && e.AccountWide() {
				t.Error("a scope that one resource lacks must not stop the others")
			}
			if !r.Rotated || r.RefreshToken.Reveal() != canary+"-refresh-2" {
				t.Errorf("rotated = %v", r.Rotated)
			}
		})
	}
}

func TestNotGranted(t *testing.T) {
	const ews = "https://outlook.office365.com/EWS.AccessAsUser.All"
	tests := []struct {
		wanted  token.Scopes
		granted string
		want    string
	}{
		{graph, "", ""},
		{graph, "User.Read openid", ""},
		{token.Scopes{ews}, ews, ""},
		{token.Scopes{ews}, strings.ToUpper(ews), ""},
		{token.Scopes{ews}, "openid profile offline_access", ""},
		{token.Scopes{ews}, "EWS.AccessAsUser.All", ""},
		{token.Scopes{ews}, "https://outlook.office365.com/Mail.Read", ews},
		{token.Scopes{ews, "https://outlook.office365.com/Mail.Read"}, ews, "https://outlook.office365.com/Mail.Read"},
	}
	for _, tt := range tests {
		if got := notGranted(tt.wanted, tt.granted); got != tt.want {
			t.Errorf("notGranted(%v, %q) = %q, want %q", tt.wanted, tt.granted, got, tt.want)
		}
	}
}

func TestRedeemRefusesBadInput(t *testing.T) {
	noToken, noHome := testGrant(), testGrant()
	noToken.RefreshToken = token.Secret{}
	noHome.HomeAccountID = ""
	foreign := testGrant()
	foreign.App.Authority = "https://login.microsoftonline.evil.test"
	tests := map[string]struct {
		grant  token.Grant
		scopes token.Scopes
		claims string
		kind   token.Kind
	}{
		"no scopes":        {testGrant(), nil, "", token.KindConfiguration},
		"no refresh token": {noToken, graph, "", token.KindSignInRequired},
		"no home account":  {noHome, graph, "", token.KindSignInRequired},
		"claims text":      {testGrant(), graph, "x", token.KindInvalidRequest},
		"claims list":      {testGrant(), graph, "[]", token.KindInvalidRequest},
		"claims large":     {testGrant(), graph, `{"x":"` + strings.Repeat("x", token.MaxClaims) + `"}`, token.KindInvalidRequest},
		"foreign host":     {foreign, graph, "", token.KindConfiguration},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			_, err := a.client().Redeem(t.Context(), tt.grant, tt.scopes, tt.claims)
			if e := problemOf(t, err); e.Kind != tt.kind {
				t.Errorf("kind = %v, want %v", e.Kind, tt.kind)
			}
			if len(a.seen) != 0 {
				t.Errorf("asked: %v", a.seen)
			}
		})
	}
}

// A rotated refresh token is kept where only the access token is no good, and
// never where it is itself none.
func TestRedeemKeepsNoBadRefreshToken(t *testing.T) {
	for _, tt := range []struct {
		edit    map[string]any
		rotated bool
	}{
		{map[string]any{"access_token": "a b"}, true},
		{map[string]any{"refresh_token": "a b"}, false},
	} {
		a := newAuthority(t)
		a.tokens = []answer{ok(tokenDoc(tt.edit))}
		r, err := a.client().Redeem(t.Context(), testGrant(), graph, "")
		if e := problemOf(t, err); e.Kind != token.KindInvalid || r.Rotated != tt.rotated || r.RefreshToken.Equal(testGrant().RefreshToken) == tt.rotated {
			t.Errorf("%v: %v, rotated %v", tt.edit, e.Kind, r.Rotated)
		}
	}
}

func TestRedeemCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		c := a.client()
		if err := c.Warm(t.Context(), testApp()); err != nil {
			t.Fatal(err)
		}
		a.tokens = []answer{{hang: true}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := c.Redeem(ctx, testGrant(), graph, "")
		if e := problemOf(t, err); e.Kind != token.KindCancelled {
			t.Errorf("cancelled: %v", e.Kind)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Redeem(ctx, testGrant(), graph, "")
		if e := problemOf(t, err); e.Kind != token.KindTimeout {
			t.Errorf("deadline: %v", e.Kind)
		}
	})
}
