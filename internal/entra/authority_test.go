package entra

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	testHost   = "login.test"
	testTenant = "11111111-2222-3333-4444-555555555555"
	testClient = "66666666-7777-8888-9999-000000000000"
	testHome   = "aaaaaaaa-0000-0000-0000-000000000001." + testTenant
	// canary is in every secret that the authority mints.
	canary = "CANARY"
)

var graph = token.Scopes{"https://graph.microsoft.com/.default"}

// answer is one scripted answer of the authority.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // instead of an answer
	hang   bool  // until the request's context ends
}

// seen is one request that the authority got.
type seen struct {
	at     time.Time
	method string
	url    string
	header http.Header
	form   url.Values
}

// authority is an in-memory Entra: an http.RoundTripper below the real MSAL.
type authority struct {
	t *testing.T

	mu        sync.Mutex
	discovery answer
	device    answer
	tokens    []answer // in turn; the last one stays
	seen      []seen
}

func newAuthority(t *testing.T) *authority {
	return &authority{t: t, discovery: ok(discoveryDoc(testHost, testTenant)), device: ok(deviceDoc(900, 5)), tokens: []answer{ok(tokenDoc(nil))}}
}

func ok(doc map[string]any) answer { return answer{status: 200, body: jsonText(doc)} }

func oauth(status int, code string, more ...any) answer {
	doc := map[string]any{"error": code, "error_description": canary + " upstream words", "trace_id": canary}
	for i := 0; i+1 < len(more); i += 2 {
		doc[more[i].(string)] = more[i+1]
	}
	return answer{status: status, body: jsonText(doc)}
}

func aadsts(code int) []any {
	return []any{"error_description", fmt.Sprintf("AADSTS%d: %s upstream words", code, canary), "error_codes", []int{code}}
}

func jsonText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func discoveryDoc(host, tenant string) map[string]any {
	base := "https://" + host + "/" + tenant
	return map[string]any{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token",
		"authorization_endpoint": base + "/oauth2/v2.0/authorize",
	}
}

func deviceDoc(expires, interval any) map[string]any {
	return map[string]any{
		"device_code": canary + "-device", "user_code": "ABCD-EFGH", "verification_uri": "https://login.test/device",
		"expires_in": expires, "interval": interval, "message": "upstream words \x1b[31m",
	}
}

// tokenDoc is a realistic answer; edit changes it (a nil value removes).
func tokenDoc(edit map[string]any) map[string]any {
	doc := map[string]any{
		"token_type": "Bearer", "access_token": canary + "-access", "refresh_token": canary + "-refresh-2",
		"expires_in": 4500, "ext_expires_in": 4500, "scope": "https://graph.microsoft.com/User.Read https://graph.microsoft.com/.default",
		"id_token":    jwt(map[string]any{"sub": "subject", "preferred_username": "Ops@contoso.com", "tid": testTenant, "aud": testClient}),
		"client_info": base64.RawURLEncoding.EncodeToString([]byte(jsonText(map[string]any{"uid": "aaaaaaaa-0000-0000-0000-000000000001", "utid": testTenant}))),
	}
	for k, v := range edit {
		if v == nil {
			delete(doc, k)
		} else {
			doc[k] = v
		}
	}
	return doc
}

func jwt(claims map[string]any) string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(jsonText(v))) }
	return part(map[string]any{"alg": "none"}) + "." + part(claims) + ".c2ln"
}

// RoundTrip answers as scripted.
func (a *authority) RoundTrip(req *http.Request) (*http.Response, error) {
	s := seen{at: time.Now(), method: req.Method, url: req.URL.String(), header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		s.form, _ = url.ParseQuery(string(body))
	}
	a.mu.Lock()
	a.seen = append(a.seen, s)
	ans := a.discovery
	switch {
	case strings.HasSuffix(req.URL.Path, "/devicecode"):
		ans = a.device
	case strings.HasSuffix(req.URL.Path, "/token"):
		ans = a.tokens[0]
		if len(a.tokens) > 1 {
			a.tokens = a.tokens[1:]
		}
	}
	a.mu.Unlock()
	if ans.hang {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if ans.err != nil {
		return nil, ans.err
	}
	header := http.Header{"X-Ms-Request-Id": {"12345678-1234-1234-1234-123456789abc"}}
	maps.Copy(header, ans.header)
	return &http.Response{StatusCode: ans.status, Header: header, Body: io.NopCloser(strings.NewReader(ans.body)), Request: req}, nil
}

// requests gives what was asked at paths that end so.
func (a *authority) requests(suffix string) []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []seen
	for _, s := range a.seen {
		if u, _ := url.Parse(s.url); strings.HasSuffix(u.Path, suffix) {
			out = append(out, s)
		}
	}
	return out
}

// client makes a Client on a, and checks at the end that its log holds no secret.
func (a *authority) client(edit ...func(*Config)) *Client {
	var log syncBuffer
	cfg := Config{
		Hosts:     []string{testHost},
		Transport: func(http.RoundTripper) http.RoundTripper { return a },
		Log:       slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, e := range edit {
		e(&cfg)
	}
	a.t.Cleanup(func() { noCanary(a.t, "the log", log.String()) })
	return New(cfg)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func noCanary(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, canary) || strings.Contains(text, "upstream words") {
		t.Errorf("%s holds a secret or the authority's words: %s", what, text)
	}
}

// quiet checks that v prints no secret in any way.
func quiet(t *testing.T, v any) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		noCanary(t, fmt.Sprintf("%T with %s", v, verb), fmt.Sprintf(verb, v))
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("v", v))
	noCanary(t, fmt.Sprintf("%T in slog", v), log.String())
}

func testApp() token.App {
	return token.App{Authority: "https://" + testHost, Tenant: testTenant, ClientID: testClient}
}

func testGrant() token.Grant {
	return token.Grant{App: testApp(), HomeAccountID: testHome, Username: "ops@contoso.com", RefreshToken: token.NewSecret(canary + "-refresh-1")}
}

// problemOf insists that err is a *token.Error that is good to show.
func problemOf(t *testing.T, err error) *token.Error {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	e, isOurs := errors.AsType[*token.Error](err)
	if !isOurs {
		t.Fatalf("%T is not a *token.Error: %v", err, err)
	}
	quiet(t, err)
	quiet(t, e)
	quiet(t, *e)
	if e.Detail == "" || strings.Contains(e.Detail, "%!") {
		t.Errorf("Detail = %q", e.Detail)
	}
	return e
}
