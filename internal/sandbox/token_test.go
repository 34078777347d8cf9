package sandbox

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

// TestTokensVerifyWithAnIndependentLibrary reads the key from JWKS, as a
// resource of the user's own would.
func TestTokensVerifyWithAnIndependentLibrary(t *testing.T) {
	c := overTLS(t, Config{})
	a := c.signIn("alice@contoso.example", graphScope)
	_, body, err := c.do(c.request(http.MethodGet, "/"+tenantID+"/discovery/v2.0/keys", ""))
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []jsonWebKey }
	if err := json.Unmarshal([]byte(body), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("keys: %v %s", err, body)
	}
	k := set.Keys[0]
	x, _ := base64.RawURLEncoding.DecodeString(k.X)
	y, _ := base64.RawURLEncoding.DecodeString(k.Y)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, audience string }{
		"access": {a.AccessToken, audienceGraph}, "id": {a.IDToken, clientID},
	} {
		got, err := jwt.Parse(tc.text, func(j *jwt.Token) (any, error) {
			if j.Header["kid"] != k.KeyID {
				t.Errorf("%s: kid %v", name, j.Header["kid"])
			}
			return key, nil
		}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(tc.audience), jwt.WithIssuer(c.s.issuer()), jwt.WithExpirationRequired())
		if err != nil || !got.Valid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenAnswer(t *testing.T) {
	c := inMemory(t, Config{})
	a := c.signIn("alice@contoso.example", graphScope)
	alice := c.s.Users()[0]
	claims := claimsOf(t, a.AccessToken)
	want := map[string]any{
		"aud": audienceGraph, "iss": c.s.issuer(), "tid": tenantID, "oid": alice.ObjectID, "appid": clientID,
		"upn": "alice@contoso.example", "preferred_username": "alice@contoso.example", "scp": "Mail.ReadWrite Mail.Send User.Read",
	}
	for name, value := range want {
		if claims[name] != value {
			t.Errorf("claim %s is %v, want %v", name, claims[name], value)
		}
	}
	if life := claims["exp"].(float64) - claims["iat"].(float64); int(life) != a.tokenAnswer.ExpiresIn || life < 3600 || life > 5400 || claims["nbf"] != claims["iat"] {
		t.Errorf("lifetime %v, expires_in %d", life, a.tokenAnswer.ExpiresIn)
	}
	if n := len(a.AccessToken); n < 1790 || n > 2510 {
		t.Errorf("the access token has %d characters", n)
	}
	if n := len(a.RefreshToken); n < 1200 || n > 1900 || !strings.HasPrefix(a.RefreshToken, "1.") {
		t.Errorf("the refresh token has %d characters", n)
	}
	wantScope := "openid profile " + graphScope
	if got := strings.Fields(a.Scope); !slices.Contains(got, graphScope) || !slices.Contains(got, audienceGraph+"/User.Read") || slices.Contains(got, "offline_access") {
		t.Errorf("scope %q lacks some of %q", a.Scope, wantScope)
	}
	if !strings.Contains(a.Raw, `"expires_in":`+claimsNumber(claims)) || strings.Contains(a.Raw, "refresh_in") {
		t.Errorf("expires_in is no number, or refresh_in was not asked for: %.120s", a.Raw)
	}
	info, err := base64.RawURLEncoding.DecodeString(a.ClientInfo)
	if err != nil || string(info) != `{"uid":"`+alice.ObjectID+`","utid":"`+tenantID+`"}` {
		t.Errorf("client_info %s %v", info, err)
	}
	if a.Header.Get("Cache-Control") == "" || !isGUID(a.Header.Get(headerRequestID)) {
		t.Error("the answer lacks Cache-Control or x-ms-request-id")
	}
}

func claimsNumber(claims map[string]any) string {
	b, _ := json.Marshal(int(claims["exp"].(float64) - claims["iat"].(float64)))
	return string(b)
}

func TestConfiguredLifetimeAndSizes(t *testing.T) {
	c := inMemory(t, Config{AccessTokenLifetime: 90 * time.Second, RefreshIn: 45 * time.Second, Sizes: Sizes{Access: 3000, Refresh: 4000}})
	a := c.signIn("alice@contoso.example", graphScope)
	if a.tokenAnswer.ExpiresIn != 90 || a.ExtExpiresIn != 90 || a.RefreshIn != 45 {
		t.Errorf("%.100s", a.Raw)
	}
	if got := len(a.AccessToken); got < 2990 || got > 3010 {
		t.Errorf("access token of %d characters", got)
	}
	if got := len(a.RefreshToken); got != 4000 {
		t.Errorf("refresh token of %d characters", got)
	}
}

func TestClientCapabilitiesGiveLongTokens(t *testing.T) {
	c := inMemory(t, Config{})
	form := refreshForm(c.signIn("alice@contoso.example", graphScope).RefreshToken, graphScope)
	form.Set("claims", `{"access_token":{"xms_cc":{"values":["cp1"]}}}`)
	a := c.mustPost("token", form)
	if life := time.Duration(a.tokenAnswer.ExpiresIn) * time.Second; life < 24*time.Hour || life > 28*time.Hour || a.RefreshIn != a.tokenAnswer.ExpiresIn/2 {
		t.Errorf("lifetime %v, refresh_in %d", life, a.RefreshIn)
	}
	form.Set("claims", "{")
	wantError(t, c.mustPost("token", form), 400, "invalid_request", 50153)
}

func TestRotation(t *testing.T) {
	c := inMemory(t, Config{})
	first := c.signIn("alice@contoso.example", graphScope)
	second := c.refresh(first.RefreshToken, ewsScope)
	if second.Status != 200 || second.RefreshToken == "" || second.RefreshToken == first.RefreshToken {
		t.Fatalf("refresh: %d %.100s", second.Status, second.Raw)
	}
	if got := claimsOf(t, second.AccessToken); got["aud"] != audienceOutlook || got["scp"] != "EWS.AccessAsUser.All" {
		t.Errorf("aud %v scp %v", got["aud"], got["scp"])
	}
	if again := c.refresh(first.RefreshToken, graphScope); again.Status != 200 {
		t.Errorf("Entra does not revoke on use, the sandbox does: %s", again.Raw)
	}
	unscoped := url.Values{"grant_type": {grantRefresh}, "refresh_token": {second.RefreshToken}}
	if a := c.mustPost("token", unscoped); a.Status != 200 || claimsOf(t, a.AccessToken)["aud"] != audienceGraph {
		t.Errorf("without a scope: %d %.100s", a.Status, a.Raw)
	}
	if got := c.s.Stats(); got.SignIns != 1 || got.Redemptions != 3 || got.Requests[EndpointTokenRefresh] != 3 {
		t.Errorf("stats: %+v", got)
	}
}

func TestRevokeUsed(t *testing.T) {
	for _, keep := range []bool{false, true} {
		c := inMemory(t, Config{RevokeUsed: true, KeepFamily: keep})
		first := c.signIn("alice@contoso.example", graphScope)
		second := c.refresh(first.RefreshToken, graphScope)
		wantError(t, c.refresh(first.RefreshToken, graphScope), 400, "invalid_grant", 50173)
		after := c.refresh(second.RefreshToken, graphScope)
		if keep && after.Status != 200 {
			t.Errorf("KeepFamily: the family died: %s", after.Raw)
		}
		if !keep {
			wantError(t, after, 400, "invalid_grant", 50173)
			if after.SubError != "bad_token" {
				t.Errorf("suberror %q", after.SubError)
			}
		}
	}
}

func TestOneRedemptionPerUsedToken(t *testing.T) {
	c := overTLS(t, Config{RevokeUsed: true, KeepFamily: true, Latency: 5 * time.Millisecond})
	rt := c.signIn("alice@contoso.example", graphScope).RefreshToken
	var (
		wg sync.WaitGroup
		mu sync.Mutex
		ok int
	)
	for range 50 {
		wg.Go(func() {
			a, err := c.post("token", refreshForm(rt, graphScope))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if a.Status == 200 {
				ok++
			}
		})
	}
	wg.Wait()
	s := c.s.Stats()
	if ok != 1 || s.Redemptions != 1 || s.Requests[EndpointTokenRefresh] != 50 || s.MaxConcurrent[EndpointTokenRefresh] < 2 {
		t.Errorf("%d succeeded; stats %+v", ok, s)
	}
}

func TestAdministratorActs(t *testing.T) {
	c := inMemory(t, Config{})
	alice := c.signIn("alice@contoso.example", graphScope)
	bob := c.signIn("bob@contoso.example", graphScope)
	if err := c.s.Revoke("Alice@contoso.example"); err != nil {
		t.Fatal(err)
	}
	a := c.refresh(alice.RefreshToken, graphScope)
	wantError(t, a, 400, "invalid_grant", 50173)
	if a.SubError != "bad_token" || !strings.HasPrefix(a.Description, "AADSTS50173: ") || !strings.Contains(a.Description, "Trace ID: "+a.TraceID) {
		t.Errorf("not in Entra's form: %s", a.Raw)
	}
	if got := c.refresh(bob.RefreshToken, graphScope); got.Status != 200 {
		t.Errorf("revoking alice revoked bob: %s", got.Raw)
	}
	if got := c.signIn("alice@contoso.example", graphScope); c.refresh(got.RefreshToken, graphScope).Status != 200 {
		t.Error("after a new sign-in the old revocation still holds")
	}
	for _, disabled := range []bool{true, false} {
		if err := c.s.Disable("bob@contoso.example", disabled); err != nil {
			t.Fatal(err)
		}
		if got := c.refresh(bob.RefreshToken, graphScope); (got.Status != 200) != disabled {
			t.Errorf("disabled %t: %s", disabled, got.Raw)
		}
	}
	if err := c.s.Revoke("nobody@contoso.example"); err == nil {
		t.Error("an unknown user was revoked")
	}
}

func TestRefreshTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, Config{SignInFrequency: 24 * time.Hour})
		a := c.signIn("alice@contoso.example", graphScope)
		time.Sleep(24*time.Hour - time.Second)
		a = c.refresh(a.RefreshToken, graphScope)
		time.Sleep(time.Second)
		got := c.refresh(a.RefreshToken, graphScope)
		wantError(t, got, 400, "invalid_grant", 70043)
		if got.SubError != "token_expired" || !strings.Contains(got.Description, "lifetime for this request is 86400") {
			t.Errorf("%s", got.Raw)
		}
		c.s.SetSignInFrequency(0)
		a = c.refresh(a.RefreshToken, graphScope)
		time.Sleep(inactivity + time.Second)
		wantError(t, c.refresh(a.RefreshToken, graphScope), 400, "invalid_grant", 700082)
	})
}

func TestClockMoves(t *testing.T) {
	c := inMemory(t, Config{AccessTokenLifetime: time.Hour})
	a := c.signIn("alice@contoso.example", graphScope)
	c.s.SetClock(2 * time.Hour)
	if resp, _ := c.get("/v1.0/me", a.AccessToken); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("two hours later: %d", resp.StatusCode)
	}
	b := c.refresh(a.RefreshToken, graphScope)
	if b.tokenAnswer.ExpiresIn != 3600 || claimsOf(t, b.AccessToken)["iat"].(float64)-claimsOf(t, a.AccessToken)["iat"].(float64) < 7199 {
		t.Error("the tokens do not follow the clock")
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	c := inMemory(t, Config{})
	rt := c.signIn("alice@contoso.example", graphScope).RefreshToken
	for name, tc := range map[string]struct {
		form   url.Values
		status int
		code   string
		aadsts int
	}{
		"no grant":         {url.Values{}, 400, "invalid_request", 900144},
		"password":         {url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type", 70003},
		"no refresh token": {url.Values{"grant_type": {grantRefresh}}, 400, "invalid_request", 900144},
		"no device code":   {url.Values{"grant_type": {grantDevice}}, 400, "invalid_request", 900144},
		"no code":          {url.Values{"grant_type": {grantCode}}, 400, "invalid_request", 900144},
		"unknown token":    {refreshForm("1.abc", graphScope), 400, "invalid_grant", 70000},
		"two resources":    {refreshForm(rt, graphScope+" "+ewsScope), 400, "invalid_request", 28000},
		"unknown resource": {refreshForm(rt, "api://other/.default"), 400, "invalid_resource", 500011},
		"other client":     {url.Values{"client_id": {"other"}, "grant_type": {grantRefresh}, "refresh_token": {rt}}, 400, "unauthorized_client", 700016},
		"too large":        {refreshForm(strings.Repeat("x", maxForm), graphScope), 413, "invalid_request", 9002313},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, c.mustPost("token", tc.form), tc.status, tc.code, tc.aadsts) })
	}
	for path, want := range map[string]int{"/common/oauth2/v2.0/token": 50194, "/fabrikam.example/oauth2/v2.0/token": 90002} {
		_, body, err := c.do(c.request(http.MethodPost, path, "", "Content-Type", "application/x-www-form-urlencoded"))
		var e errorBody
		if err != nil || json.Unmarshal([]byte(body), &e) != nil || !cmp.Equal(e.Codes, []int{want}) {
			t.Errorf("%s: %v %s", path, err, body)
		}
	}
	if resp, _, err := c.do(c.request(http.MethodGet, "/"+tenantID+"/oauth2/v2.0/token", "")); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v", resp.StatusCode)
	}
}

func TestCorrelationIDIsEchoed(t *testing.T) {
	c := inMemory(t, Config{})
	const id = "11111111-aaaa-4bbb-8ccc-222222222222"
	for _, tc := range []struct {
		sent string
		echo bool
	}{{id, true}, {"<script>", false}, {"", false}} {
		resp, body, err := c.do(c.request(http.MethodPost, "/"+tenantID+"/oauth2/v2.0/token", "", "Content-Type", "application/x-www-form-urlencoded", "client-request-id", tc.sent))
		var e errorBody
		if err != nil || json.Unmarshal([]byte(body), &e) != nil {
			t.Fatal(err)
		}
		if e.CorrelationID != resp.Header.Get("client-request-id") || (e.CorrelationID == id) != tc.echo || !isGUID(e.CorrelationID) || e.TraceID != resp.Header.Get("x-ms-request-id") {
			t.Errorf("sent %q: %s %v", tc.sent, body, resp.Header)
		}
	}
}

func TestFamiliesDoNotGrowForEver(t *testing.T) {
	c := inMemory(t, Config{Sizes: Sizes{Refresh: 64, Access: 1}})
	first := c.signIn("alice@contoso.example", graphScope).RefreshToken
	rt := first
	for range maxFamily {
		rt = c.refresh(rt, graphScope).RefreshToken
	}
	if n := len(c.s.state.tokens); n != maxFamily {
		t.Errorf("%d refresh tokens are remembered", n)
	}
	wantError(t, c.refresh(first, graphScope), 400, "invalid_grant", 70000)
	if a := c.refresh(rt, graphScope); a.Status != 200 {
		t.Errorf("the youngest: %s", a.Raw)
	}
}

func TestCanary(t *testing.T) {
	var log strings.Builder
	c := inMemory(t, Config{Canary: true, AutoApprove: true, Log: debugLog(&log)})
	d := c.deviceCode(graphScope)
	a := c.poll(d.DeviceCode)
	for name, secret := range map[string]string{
		"access token": a.AccessToken, "ID token": a.IDToken, "refresh token": a.RefreshToken, "device code": d.DeviceCode, "user code": d.UserCode,
		"rotated": c.refresh(a.RefreshToken, graphScope).RefreshToken, "authorization code": c.authCode("query", "").Get("code"),
	} {
		if !strings.Contains(secret, CanaryMarker) {
			t.Errorf("the %s lacks the marker", name)
		}
	}
	if claimsOf(t, a.AccessToken)["canary"] != CanaryMarker || claimsOf(t, a.IDToken)["canary"] != CanaryMarker {
		t.Error("the claims lack the marker")
	}
	if resp, body := c.get("/v1.0/me", a.AccessToken); resp.StatusCode != http.StatusOK {
		t.Errorf("Graph does not accept a canary token: %s", body)
	}
	if resp, _ := c.get("/v1.0/me", strings.TrimSuffix(a.AccessToken, "Y")); resp.StatusCode != http.StatusUnauthorized {
		t.Error("Graph accepts a token whose end is missing")
	}
	if strings.Contains(log.String(), CanaryMarker) || !strings.Contains(log.String(), "request") {
		t.Error("the sandbox's own log holds a secret, or nothing at all")
	}
}

func TestLatencyEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, Config{Latency: 20 * time.Second, AutoApprove: true})
		began := time.Now()
		if c.deviceCode(graphScope); time.Since(began) != 20*time.Second {
			t.Errorf("took %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		resp, _, err := c.do(c.request(http.MethodPost, "/"+tenantID+"/oauth2/v2.0/token", "").WithContext(ctx))
		if err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", resp, time.Since(began))
		}
	})
}
