package entra

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/m365-token-broker/broker/internal/token"
)

// person acts in the browser: it is given the authorization URL.
type person func(t *testing.T, q url.Values, at string)

// come posts or gets the redirect and returns status and page.
func come(t *testing.T, method, at string, form url.Values) (int, string) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else {
		at += "/?" + form.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), method, at, body)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func browse(t *testing.T, a *authority, hint string, p person) (token.Grant, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	grant, err := a.client().Browser(ctx, testApp(), graph, hint, func(raw string) error {
		u, err := url.Parse(raw)
		if err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(raw, "https://login.test/"+testTenant+"/oauth2/v2.0/authorize?") {
			t.Errorf("URL %s", raw)
		}
		go func() {
			defer close(done)
			p(t, u.Query(), u.Query().Get("redirect_uri"))
		}()
		return nil
	})
	<-done
	return grant, err
}

func TestBrowser(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		t.Run(method, func(t *testing.T) {
			a := newAuthority(t)
			var asked url.Values
			grant, err := browse(t, a, "ops@contoso.com", func(t *testing.T, q url.Values, at string) {
				asked = q
				// What is not this sign-in's answer changes nothing.
				stray := []struct {
					method string
					form   url.Values
				}{
					{http.MethodGet, nil},
					{http.MethodGet, url.Values{"code": {"x"}, "state": {"wrong"}}},
					{http.MethodPost, url.Values{"error": {"access_denied"}, "state": {""}}},
					{http.MethodPost, url.Values{"state": {q.Get("state")}}},
					{http.MethodPut, nil},
				}
				for _, s := range stray {
					if status, _ := come(t, s.method, at, s.form); status != http.StatusBadRequest {
						t.Errorf("stray %s %v: %d", s.method, s.form, status)
					}
				}
				if status, _ := come(t, http.MethodGet, at+"/favicon.ico", nil); status != http.StatusNotFound {
					t.Errorf("favicon: %d", status)
				}
				status, text := come(t, method, at, url.Values{"code": {canary + "-code"}, "state": {q.Get("state")}})
				if status != http.StatusOK || !strings.Contains(text, "close this window") {
					t.Errorf("%d %s", status, text)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if grant.Flow != token.FlowBrowser || grant.Username != "Ops@contoso.com" || grant.RefreshToken.IsZero() {
				t.Errorf("%+v", grant)
			}
			form := a.requests("/token")[0].form
			sum := sha256.Sum256([]byte(form.Get("code_verifier")))
			if asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("code_challenge_method") != "S256" {
				t.Errorf("PKCE: %v", asked)
			}
			if form.Get("code") != canary+"-code" || form.Get("redirect_uri") != asked.Get("redirect_uri") || form.Get("grant_type") != "authorization_code" {
				t.Errorf("form: %v", form)
			}
			if asked.Get("login_hint") != "ops@contoso.com" || asked.Get("response_mode") != "form_post" || !strings.HasPrefix(asked.Get("redirect_uri"), "http://localhost:") {
				t.Errorf("asked: %v", asked)
			}
		})
	}
}

func TestBrowserFailures(t *testing.T) {
	refuse := func(form url.Values) person {
		return func(t *testing.T, q url.Values, at string) {
			form.Set("state", q.Get("state"))
			_, text := come(t, http.MethodPost, at, form)
			noCanary(t, "the page", text)
		}
	}
	accept := func(t *testing.T, q url.Values, at string) {
		come(t, http.MethodPost, at, url.Values{"code": {canary}, "state": {q.Get("state")}})
	}
	tests := map[string]struct {
		token  answer
		person person
		kind   token.Kind
		detail string
	}{
		"declined":     {answer{}, refuse(url.Values{"error": {"access_denied"}, "error_description": {"AADSTS65004: " + canary}}), token.KindDeclined, "consent"},
		"policy":       {answer{}, refuse(url.Values{"error": {"interaction_required"}, "error_subcode": {"message_only"}, "error_description": {"AADSTS53003 " + canary}}), token.KindPolicyBlocked, "Conditional Access"},
		"server_error": {answer{}, refuse(url.Values{"error": {"server_error"}}), token.KindUnavailable, "problem of its own"},
		"odd error":    {answer{}, refuse(url.Values{"error": {"<script>" + canary}}), token.KindInvalid, "does not know"},
		"7000218":      {oauth(401, "invalid_client", aadsts(7000218)...), accept, token.KindConfiguration, "Mobile and desktop"},
		"code refused": {oauth(400, "invalid_grant", aadsts(70000)...), accept, token.KindSignInRequired, "Sign in again"},
		"no refresh":   {ok(tokenDoc(map[string]any{"refresh_token": nil})), accept, token.KindConfiguration, "offline_access"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.tokens = []answer{tt.token}
			_, err := browse(t, a, "", tt.person)
			e := problemOf(t, err)
			if e.Kind != tt.kind || !strings.Contains(e.Detail, tt.detail) {
				t.Errorf("%v: %q", e.Kind, e.Detail)
			}
		})
	}
}

func TestBrowserEnds(t *testing.T) {
	a := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := a.client().Browser(ctx, testApp(), graph, "", func(string) error { cancel(); return nil })
	if e := problemOf(t, err); e.Kind != token.KindCancelled {
		t.Errorf("%v", e)
	}
	_, err = a.client().Browser(t.Context(), testApp(), graph, "", func(string) error { return errors.New("no browser") })
	if e := problemOf(t, err); e.Kind != token.KindInternal || !strings.Contains(e.Detail, "--flow device") {
		t.Errorf("%v", e)
	}
}

// A program that finds MSAL's own port can end the sign-in; the person is told
// what happened, and not that the broker has a defect.
func TestBrowserEndedAtMSALsPort(t *testing.T) {
	a := newAuthority(t)
	s, err := a.client().open(t.Context(), testApp())
	if err != nil {
		t.Fatal(err)
	}
	client, err := s.msal(testApp())
	if err != nil {
		t.Fatal(err)
	}
	out := &outcome{step: stepBrowser}
	_, _ = client.AcquireTokenInteractive(out.with(t.Context()), graph, public.WithOpenURL(func(raw string) error {
		u, err := url.Parse(raw)
		if err != nil {
			return err
		}
		out.redirect = "http://localhost:1"
		come(t, http.MethodGet, u.Query().Get("redirect_uri"), nil)
		return nil
	}))
	e := problemOf(t, out.failure(t.Context()))
	if e.Kind != token.KindCancelled || !strings.Contains(e.Detail, "ended the browser sign-in before it was finished; start it again") {
		t.Errorf("%v: %q", e.Kind, e.Detail)
	}
	e = problemOf(t, (&outcome{step: stepBrowser}).failure(t.Context()))
	if e.Kind != token.KindInternal || !strings.Contains(e.Detail, "report") {
		t.Errorf("before a browser was opened: %v: %q", e.Kind, e.Detail)
	}
}

func TestReceiverHost(t *testing.T) {
	r, err := listenRedirect(t.Context(), testHost, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close(t.Context())
	port := strings.TrimPrefix(r.redirect, "http://localhost")
	for host, want := range map[string]bool{"localhost" + port: true, "127.0.0.1" + port: true, "[::1]" + port: true, "evil.test" + port: false, "localhost": false} {
		if got := r.isOurs(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
