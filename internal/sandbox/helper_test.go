package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const (
	graphScope = audienceGraph + "/.default"
	ewsScope   = audienceOutlook + "/EWS.AccessAsUser.All"
	oidc       = " openid profile offline_access"
)

// client drives a sandbox with plain HTTP, as MSAL does.
type client struct {
	t  *testing.T
	s  *Sandbox
	hc *http.Client
}

// overTLS starts a sandbox with a listener that ends with the test.
func overTLS(t *testing.T, cfg Config) *client {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, s: s, hc: s.Client()}
	t.Cleanup(func() { c.hc.CloseIdleConnections(); _ = s.Close() })
	return c
}

// inMemory makes a sandbox without a socket, for bubbles.
func inMemory(t *testing.T, cfg Config) *client {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &client{t: t, s: s, hc: s.Client()}
}

// answer is any JSON answer of the token and device code endpoints.
type answer struct {
	Status int
	Header http.Header
	Raw    string

	tokenAnswer  `json:"-"`
	deviceAnswer `json:"-"`
	errorBody    `json:"-"`
}

func (c *client) do(req *http.Request) (*http.Response, string, error) {
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func (c *client) request(method, path, body string, header ...string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.s.URL()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// post sends a form to an endpoint of the tenant.
func (c *client) post(endpoint string, form url.Values) (answer, error) {
	c.t.Helper()
	if !form.Has("client_id") {
		form.Set("client_id", c.s.ClientID())
	}
	req := c.request(http.MethodPost, "/"+c.s.TenantID()+"/oauth2/v2.0/"+endpoint, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	resp, body, err := c.do(req)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: resp.StatusCode, Header: resp.Header, Raw: body}
	for _, part := range []any{&a.tokenAnswer, &a.deviceAnswer, &a.errorBody} {
		_ = json.Unmarshal([]byte(body), part) // a fault may send anything
	}
	return a, nil
}

func (c *client) mustPost(endpoint string, form url.Values) answer {
	c.t.Helper()
	a, err := c.post(endpoint, form)
	if err != nil {
		c.t.Fatalf("%s: %v", endpoint, err)
	}
	return a
}

func (c *client) deviceCode(scope string) answer {
	c.t.Helper()
	return c.mustPost("devicecode", url.Values{"scope": {scope + oidc}})
}

func (c *client) poll(code string) answer {
	c.t.Helper()
	return c.mustPost("token", url.Values{"grant_type": {grantDevice}, "device_code": {code}, "client_info": {"1"}})
}

// signIn signs in by device code as the user of ApproveAll.
func (c *client) signIn(user, scope string) answer {
	c.t.Helper()
	if err := c.s.ApproveAll(user); err != nil {
		c.t.Fatal(err)
	}
	a := c.poll(c.deviceCode(scope).DeviceCode)
	if a.Status != http.StatusOK {
		c.t.Fatalf("sign in as %s: %d %s", user, a.Status, a.Raw)
	}
	return a
}

func refreshForm(token, scope string) url.Values {
	return url.Values{"grant_type": {grantRefresh}, "refresh_token": {token}, "scope": {scope + oidc}, "client_info": {"1"}}
}

func (c *client) refresh(token, scope string) answer {
	c.t.Helper()
	return c.mustPost("token", refreshForm(token, scope))
}

func (c *client) fault(f Fault) int {
	c.t.Helper()
	id, err := c.s.Fault(f)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// get asks Graph or EWS with a bearer token.
func (c *client) get(path, bearer string) (*http.Response, string) {
	c.t.Helper()
	resp, body, err := c.do(c.request(http.MethodGet, path, "", "Authorization", "Bearer "+bearer))
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, body
}

// wantError checks an OAuth error.
func wantError(t *testing.T, a answer, status int, code string, aadsts int) {
	t.Helper()
	got := 0
	if len(a.Codes) > 0 {
		got = a.Codes[0]
	}
	if a.Status != status || a.Error != code || got != aadsts {
		t.Fatalf("got %d %q AADSTS%d (%s), want %d %q AADSTS%d", a.Status, a.Error, got, a.Raw, status, code, aadsts)
	}
}

// claimsOf decodes the payload of a JWT without checking it.
func claimsOf(t *testing.T, jwt string) map[string]any {
	t.Helper()
	part := strings.Split(jwt, ".")
	if len(part) != 3 {
		t.Fatalf("a JWT has three parts, this one %d", len(part))
	}
	b, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
