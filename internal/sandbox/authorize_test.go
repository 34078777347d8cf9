package sandbox

import (
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	redirURI = "http://localhost:43210/callback"
)

func debugLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func authorizeQuery(mode, hint string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"client_id": {clientID}, "response_type": {"code"}, "redirect_uri": {redirURI}, "scope": {graphScope + oidc}, "state": {"st4te"},
		"code_challenge": {encode(sum[:])}, "code_challenge_method": {"S256"}, "response_mode": {mode}, "login_hint": {hint}, "nonce": {"n0nce"}, "prompt": {"select_account"},
	}
}

const authorizePath = "/" + tenantID + "/oauth2/v2.0/authorize?"

// authCode gets the parameters of the redirect of an approved authorization.
func (c *client) authCode(mode, hint string) url.Values {
	c.t.Helper()
	resp, body, err := c.do(c.request(http.MethodGet, authorizePath+authorizeQuery(mode, hint).Encode(), ""))
	if err != nil {
		c.t.Fatal(err)
	}
	if mode == "query" {
		to, err := resp.Location()
		if err != nil {
			c.t.Fatalf("%d %s", resp.StatusCode, body)
		}
		return to.Query()
	}
	return fields(body)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

func fields(page string) url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		v.Set(m[1], m[2])
	}
	return v
}

func codeForm(code string) url.Values {
	return url.Values{"grant_type": {grantCode}, "code": {code}, "redirect_uri": {redirURI}, "code_verifier": {verifier}, "scope": {graphScope + oidc}, "client_info": {"1"}}
}

func TestAuthorizationCode(t *testing.T) {
	for _, mode := range []string{"query", "form_post"} {
		t.Run(mode, func(t *testing.T) {
			c := inMemory(t, Config{AutoApprove: true})
			v := c.authCode(mode, "bob@contoso.example")
			if v.Get("state") != "st4te" || v.Get("code") == "" {
				t.Fatalf("parameters %v", v)
			}
			a := c.mustPost("token", codeForm(v.Get("code")))
			if a.Status != 200 || a.RefreshToken == "" {
				t.Fatalf("%d %s", a.Status, a.Raw)
			}
			if id := claimsOf(t, a.IDToken); id["preferred_username"] != "bob@contoso.example" || id["nonce"] != "n0nce" {
				t.Errorf("ID token %v", id)
			}
			wantError(t, c.mustPost("token", codeForm(v.Get("code"))), 400, "invalid_grant", 54005)
			if c.refresh(a.RefreshToken, ewsScope).Status != 200 {
				t.Error("the refresh token does not work")
			}
		})
	}
}

func TestAuthorizationCodeIsGuarded(t *testing.T) {
	c := inMemory(t, Config{AutoApprove: true})
	code := c.authCode("query", "").Get("code")
	for name, tc := range map[string]struct {
		key, value string
		aadsts     int
	}{
		"unknown code":   {"code", "1.x", 70008},
		"other redirect": {"redirect_uri", "http://localhost:1/", 70008},
		"other verifier": {"code_verifier", "wrong", 501481},
	} {
		form := codeForm(code)
		form.Set(tc.key, tc.value)
		t.Run(name, func(t *testing.T) { wantError(t, c.mustPost("token", form), 400, "invalid_grant", tc.aadsts) })
	}
	if a := c.mustPost("token", codeForm(code)); a.Status != 200 {
		t.Errorf("a wrong try used the code up: %s", a.Raw)
	}
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, Config{AutoApprove: true})
		form := codeForm(c.authCode("query", "").Get("code"))
		time.Sleep(codeLifetime + time.Second)
		wantError(t, c.mustPost("token", form), 400, "invalid_grant", 70008)
	})
}

func TestAuthorizeRefuses(t *testing.T) {
	c := inMemory(t, Config{AutoApprove: true})
	for name, tc := range map[string]struct {
		key, value string
		back       string // error that goes back; empty: a page, and no redirect
	}{
		"other client":    {"client_id", tenantID, ""},
		"no redirect":     {"redirect_uri", "", ""},
		"far redirect":    {"redirect_uri", "https://evil.example/", ""},
		"user info":       {"redirect_uri", "http://localhost@evil.example/", ""},
		"like localhost":  {"redirect_uri", "http://localhost.evil.example/", ""},
		"script":          {"redirect_uri", "javascript:alert(1)", ""},
		"fragment":        {"response_mode", "fragment", ""},
		"implicit":        {"response_type", "token", "unsupported_response_type"},
		"no challenge":    {"code_challenge", "", "invalid_request"},
		"plain challenge": {"code_challenge_method", "plain", "invalid_request"},
		"no scope":        {"scope", "", "invalid_request"},
		"two resources":   {"scope", graphScope + " " + ewsScope, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			q := authorizeQuery("query", "")
			q.Set(tc.key, tc.value)
			resp, body, err := c.do(c.request(http.MethodGet, authorizePath+q.Encode(), ""))
			if err != nil {
				t.Fatal(err)
			}
			to, _ := resp.Location()
			switch {
			case tc.back == "" && (resp.StatusCode != http.StatusBadRequest || to != nil || !strings.Contains(body, "trouble signing you in")):
				t.Errorf("%d %v", resp.StatusCode, to)
			case tc.back != "" && (to == nil || to.Query().Get("error") != tc.back || to.Query().Get("state") != "st4te"):
				t.Errorf("%d %v", resp.StatusCode, to)
			}
		})
	}
}

func FuzzLoopbackRedirect(f *testing.F) {
	for _, s := range []string{redirURI, "http://127.0.0.1", "http://[::1]:1/x", "http://localhost@evil.example", "http://evil.example#localhost", "http:localhost", "//localhost"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !loopbackRedirect(raw) {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" || u.User != nil {
			t.Fatalf("accepted %q", raw)
		}
		switch u.Hostname() {
		case "localhost", "::1":
		default:
			if !strings.HasPrefix(u.Hostname(), "127.") && !strings.Contains(u.Hostname(), ":") {
				t.Fatalf("accepted %q with host %q", raw, u.Hostname())
			}
		}
	})
}

// TestBrowse plays a native application with a redirect on loopback.
func TestBrowse(t *testing.T) {
	c := overTLS(t, Config{})
	for _, mode := range []string{"query", "form_post"} {
		got := make(chan *http.Request, 1)
		app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			got <- r
		}))
		q := authorizeQuery(mode, "")
		q.Set("redirect_uri", app.URL)
		if err := c.s.Browse(t.Context(), c.s.URL()+authorizePath+q.Encode(), "bob@contoso.example"); err != nil {
			t.Fatal(err)
		}
		r := <-got
		app.Close()
		if (r.Method == http.MethodPost) != (mode == "form_post") || (r.URL.RawQuery == "") != (mode == "form_post") {
			t.Errorf("%s: came back with %s %s", mode, r.Method, r.URL)
		}
		form := codeForm(r.Form.Get("code"))
		form.Set("redirect_uri", app.URL)
		if a := c.mustPost("token", form); claimsOf(t, a.IDToken)["preferred_username"] != "bob@contoso.example" || r.Form.Get("state") != "st4te" {
			t.Errorf("%s: %s", mode, a.Raw)
		}
	}
	q := authorizeQuery("query", "")
	q.Set("redirect_uri", "https://evil.example/")
	if err := c.s.Browse(t.Context(), c.s.URL()+authorizePath+q.Encode(), "bob@contoso.example"); err == nil {
		t.Error("a far redirect was browsed")
	}
	if err := c.s.Browse(t.Context(), c.s.URL()+authorizePath+authorizeQuery("query", "").Encode(), "nobody@contoso.example"); err == nil {
		t.Error("an unknown user signed in")
	}
}

// person is a browser with cookies at the sandbox's pages.
func person(t *testing.T, c *client) func(method, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.hc.Jar = jar
	return func(method, path string, form url.Values) (*http.Response, string) {
		t.Helper()
		resp, body, err := c.do(c.request(method, path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", "null"))
		if err != nil {
			t.Fatal(err)
		}
		return resp, body
	}
}

func TestDevicePage(t *testing.T) {
	for _, decision := range []string{"approve", "decline"} {
		t.Run(decision, func(t *testing.T) {
			c := overTLS(t, Config{})
			browse := person(t, c)
			d := c.deviceCode(ewsScope)
			resp, body := browse(http.MethodGet, "/devicelogin", nil)
			if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(body, "http") {
				t.Errorf("the page reaches outside: %s", csp)
			}
			form := fields(body)
			form.Set("user_code", "NOPE")
			if _, body = browse(http.MethodPost, "/devicelogin", form); !strings.Contains(body, "That code did not work") {
				t.Error("a wrong code was not refused")
			}
			form.Set("user_code", strings.ToLower(d.UserCode))
			_, body = browse(http.MethodPost, "/devicelogin", form)
			for _, want := range []string{appName, clientID, "127.0.0.1", d.UserCode, "Exchange Web Services", "alice@contoso.example", "bob@contoso.example"} {
				if !strings.Contains(body, want) {
					t.Errorf("the page does not say %q", want)
				}
			}
			form = fields(body)
			form.Set("decision", decision)
			form.Set("user", "bob@contoso.example")
			_, body = browse(http.MethodPost, "/devicelogin", form)
			a := c.poll(d.DeviceCode)
			if decision == "decline" {
				wantError(t, a, 400, "authorization_declined", 65004)
				return
			}
			if !strings.Contains(body, "You are signed in") || claimsOf(t, a.IDToken)["preferred_username"] != "bob@contoso.example" {
				t.Errorf("%s", a.Raw)
			}
			if resp, _ = browse(http.MethodPost, "/devicelogin", form); resp.StatusCode != http.StatusConflict {
				t.Errorf("deciding twice: %d", resp.StatusCode)
			}
		})
	}
}

func TestPagesRefuseForgedForms(t *testing.T) {
	c := overTLS(t, Config{})
	browse := person(t, c)
	d := c.deviceCode(graphScope)
	_, body := browse(http.MethodGet, "/devicelogin", nil)
	good := fields(body)
	good.Set("user_code", d.UserCode)
	good.Set("decision", "approve")
	good.Set("user", "alice@contoso.example")

	forged := url.Values{"user_code": {d.UserCode}, "decision": {"approve"}, "user": {"alice@contoso.example"}, "form_token": {"x"}}
	if resp, _ := browse(http.MethodPost, "/devicelogin", forged); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a wrong form token: %d", resp.StatusCode)
	}
	resp, _, err := c.do(c.request(http.MethodPost, "/devicelogin", good.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example"))
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %v %v", resp.StatusCode, err)
	}
	if resp, _ := browse(http.MethodPost, "/signin", forged); resp.StatusCode != http.StatusForbidden {
		t.Errorf("sign-in: %d", resp.StatusCode)
	}
	c.hc.Jar = nil
	if resp, _ := browse(http.MethodPost, "/devicelogin", good); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another browser: %d", resp.StatusCode)
	}
	wantError(t, c.poll(d.DeviceCode), 400, "authorization_pending", 70016)
	if resp, _ := browse(http.MethodGet, "/devicelogin?user_code=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", nil); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if _, body := browse(http.MethodGet, "/devicelogin?user_code=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", nil); strings.Contains(body, "<script>alert") {
		t.Error("the code is not escaped")
	}
}

func TestAccountPicker(t *testing.T) {
	for _, decision := range []string{"approve", "decline"} {
		c := overTLS(t, Config{})
		browse := person(t, c)
		resp, body := browse(http.MethodGet, authorizePath+authorizeQuery("query", "Bob@contoso.example").Encode(), nil)
		if !strings.Contains(body, `value="bob@contoso.example" checked`) || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "form-action 'self' http://localhost:43210") {
			t.Errorf("the picker does not start with the hinted user, or forbids the way back")
		}
		form := fields(body)
		form.Set("decision", decision)
		form.Set("user", "bob@contoso.example")
		resp, body = browse(http.MethodPost, "/signin", form)
		to, err := resp.Location()
		if err != nil || !strings.HasPrefix(to.String(), redirURI) {
			t.Fatalf("%s: %d %s", decision, resp.StatusCode, body)
		}
		if got := to.Query(); decision == "decline" && got.Get("error") != "access_denied" || decision == "approve" && got.Get("code") == "" {
			t.Errorf("%s: %v", decision, got)
		}
		if resp, _ = browse(http.MethodPost, "/signin", form); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("deciding twice: %d", resp.StatusCode)
		}
	}
}
