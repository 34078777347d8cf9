package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeNames knows graph and ews, and two accounts.
type fakeNames struct{}

func (fakeNames) Resource(_ *consumer.Identity, texts ...string) (string, error) {
	known := map[string][]string{
		"graph": {"graph", "https://graph.microsoft.com", "https://graph.microsoft.com/", "https://graph.microsoft.com/.default"},
		"ews":   {"ews", "https://outlook.office365.com", "https://outlook.office365.com/EWS.AccessAsUser.All"},
	}
	for name, all := range known {
		if len(texts) > 0 && !slices.ContainsFunc(texts, func(t string) bool { return !slices.Contains(all, t) }) {
			return name, nil
		}
	}
	return "", token.NewError(token.KindUnknownResource, "", "There is no such resource; you may ask for: graph (https://graph.microsoft.com).")
}

func (fakeNames) Account(_ *consumer.Identity, text string) (string, error) {
	switch text {
	case "", "ops", "bob":
		return text, nil
	case "ops@contoso.com", testApp:
		return "ops", nil
	}
	return "", token.NewError(token.KindUnknownAccount, "", "There is no account of this name; broker accounts lists them.")
}

const (
	testApp    = "66666666-7777-8888-9999-000000000000"
	testTenant = "11111111-2222-3333-4444-555555555555"
)

func (fakeNames) ClientID(string) string { return testApp }

func (fakeNames) InTenant(_, tenant string) bool { return strings.EqualFold(tenant, testTenant) }

// noted is an audit log that keeps what was issued.
type noted struct{ issued, refused []string }

func (n *noted) Issued(id *consumer.Identity, key token.Key, etag, requestID string) {
	who := id.Name
	if etag == "" || requestID == "" {
		who = "incomplete"
	}
	n.issued = append(n.issued, who+" "+key.Account+" "+key.Resource)
}

func (n *noted) Refused(*consumer.Identity, token.Kind, string, string) {
	n.refused = append(n.refused, "refused")
}

func (n *noted) Did(*consumer.Identity, string, string, string) {}

// foreign are one good request of each dialect.
func (s *stack) foreign() map[string]call {
	return map[string]call{
		"msi":     {path: msiGraph, key: s.crm},
		"azd":     {method: http.MethodPost, path: "/azd/token?api-version=2023-07-12-preview", key: s.crm, body: `{"scopes":["https://graph.microsoft.com/.default"]}`},
		"sidecar": {path: "/AuthorizationHeader/graph", key: s.crm},
	}
}

const msiGraph = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com"

// lasting is an answer whose expiry is the same in each run.
func lasting(t testing.TB) cache.Answer {
	t.Helper()
	expires := time.Date(2199, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	c := cache.New(cache.Config{
		Source: sourceFunc(func() token.Token {
			return token.Token{Access: token.NewSecret("CANARY-1"), ObtainedOn: time.Now(), ExpiresOn: expires}
		}),
		Hold: func(*token.Error, int) time.Duration { return 0 },
	})
	a, err := c.Token(t.Context(), token.Request{Key: token.Key{Account: "ops", Resource: "graph"}})
	if err != nil {
		t.Fatal(err)
	}
	return cache.Answer{Entry: a.Entry, FromCache: true}
}

// Each dialect's good answer, golden; what the token is asked for with; and that
// the audit log is told.
func TestDialects(t *testing.T) {
	for name := range newStack(t).foreign() {
		t.Run(name, func(t *testing.T) {
			log := &noted{}
			s := newStack(t, func(c *Config) { c.Audit = log })
			s.tokens.set(lasting(t))
			res := s.do(s.foreign()[name])
			golden(t, name, res)
			if n := res.Header.Get("Content-Length"); n != fmt.Sprint(len(read(t, res))) {
				t.Errorf("Content-Length %s", n)
			}
			if want := (token.Request{Key: token.Key{Resource: "graph"}, MinValidity: 10 * time.Minute}); s.tokens.last != want {
				t.Errorf("asked for %+v", s.tokens.last)
			}
			if !slices.Equal(log.issued, []string{"crm ops graph"}) {
				t.Errorf("the audit log was told %q", log.issued)
			}
			if text := s.log.String(); text != "" {
				t.Errorf("a good request logs: %s", text)
			}
		})
	}
}

var requestIDs = regexp.MustCompile(`"(instance|correlationId)":"[0-9a-f]{16}"`)

// Every kind of error in every dialect, golden: one line each.
func TestEveryKindInADialect(t *testing.T) {
	for name := range newStack(t).foreign() {
		t.Run(name, func(t *testing.T) {
			var table bytes.Buffer
			for _, k := range token.Kinds() {
				log := &noted{}
				s := newStack(t, func(c *Config) { c.Audit = log })
				s.tokens.err = &token.Error{Kind: k, Op: "test", Err: errors.New("SECRET-CAUSE")}
				res := s.do(s.foreign()[name])
				body := requestIDs.ReplaceAll(read(t, res), []byte(`"$1":"…"`))
				fmt.Fprintf(&table, "%s: %d, Retry-After %q, %s\n  %s\n", k.Code(), res.StatusCode, res.Header.Get("Retry-After"), res.Header.Get("Content-Type"), body)
				if !strings.Contains(s.log.String(), "problem.kind="+k.Code()) || !strings.Contains(s.log.String(), "consumer=crm") {
					t.Errorf("%v: the log says %s", k, s.log)
				}
				if len(log.issued) > 0 || strings.Contains(string(body), "SECRET") {
					t.Errorf("%v: issued %q, answer %s", k, log.issued, body)
				}
				if name == "msi" {
					checkIdentityError(t, k, res)
				}
			}
			goldenText(t, name+"-kinds", table.String())
		})
	}
}

// checkIdentityError holds a status to what SDKs make of it: 404, 408 and 5xx are
// tried again, so only what passes by itself may have one.
func checkIdentityError(t *testing.T, k token.Kind, res *http.Response) {
	t.Helper()
	switch c := res.StatusCode; {
	case c == http.StatusServiceUnavailable, c == http.StatusTooManyRequests:
		if res.Header.Get("Retry-After") == "" || !k.Retryable() && k != token.KindInternal {
			t.Errorf("%v: status %d, Retry-After %q", k, c, res.Header.Get("Retry-After"))
		}
	case c != 400 && c != 401 && c != 403, res.Header.Get("Retry-After") != "":
		t.Errorf("%v: status %d, Retry-After %q", k, c, res.Header.Get("Retry-After"))
	}
}

func goldenText(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run go test -update)", err)
	}
	if got != strings.ReplaceAll(string(old), "\r\n", "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, old)
	}
}

// A dialect that is switched off is no path, but for managed identity, whose
// clients would try for 20 s.
func TestDialectsThatAreOff(t *testing.T) {
	off := func(c *Config) { c.Dialects = func() config.Dialects { return config.Dialects{} } }
	for name, change := range map[string]func(*Config){"off": off, "none": func(c *Config) { c.Dialects = nil }, "no names": func(c *Config) { c.Names = nil }} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, change)
			s.tokens.set(entry(t, "CANARY"))
			for dialect, c := range s.foreign() {
				res := s.do(c)
				if dialect != "msi" {
					s.problem(res, http.StatusNotFound, token.KindNotFound)
				} else if e := want[identityError](s, res, http.StatusForbidden); !strings.Contains(e.Message, "dialects.managed_identity") {
					t.Errorf("error %+v", e)
				}
				c.key = ""
				s.refusal(strings.Replace(c.path, "/azd", "/off", 1), s.do(c), http.StatusUnauthorized, token.KindUnauthenticated)
			}
			for _, path := range []string{"/healthz", "/AuthorizationHeaderUnauthenticated/graph"} {
				s.problem(s.do(call{path: path}), http.StatusUnauthorized, token.KindUnauthenticated)
				s.problem(s.do(call{path: path, key: s.crm}), http.StatusNotFound, token.KindNotFound)
			}
		})
	}
}

// What is not there, and methods that are not taken, in the dialect's own form.
func TestRoutesThatAreNotThereInADialect(t *testing.T) {
	tests := []struct {
		method, path string
		status       int
		kind         token.Kind
	}{
		{"GET", "/msi", 400, token.KindNotFound},
		{"GET", "/msi/", 400, token.KindNotFound},
		{"GET", "/msi/token/x", 400, token.KindNotFound},
		{"GET", "/msi/metadata/identity/oauth2/token", 400, token.KindNotFound},
		{"POST", "/msi/token", 405, token.KindInvalidRequest},
		{"HEAD", "/msi/token", 405, token.KindInvalidRequest},
		{"GET", "/azd", 200, token.KindNotFound},
		{"GET", "/azd/token", 200, token.KindInvalidRequest},
		{"GET", "/AuthorizationHeader", 404, token.KindNotFound},
		{"GET", "/AuthorizationHeader/a/b", 404, token.KindNotFound},
		{"POST", "/AuthorizationHeader/graph", 405, token.KindInvalidRequest},
		{"POST", "/DownstreamApi/graph", 404, token.KindNotFound},
		{"GET", "/Validate", 404, token.KindNotFound},
		{"GET", "/msix/token", 404, token.KindNotFound},
		{"GET", "/metadata/identity/oauth2/token", 404, token.KindNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			s := newStack(t)
			s.refusal(tt.path, s.do(call{method: tt.method, path: tt.path, key: s.crm}), tt.status, tt.kind)
			s.refusal(tt.path, s.do(call{method: tt.method, path: tt.path}), http.StatusUnauthorized, token.KindUnauthenticated)
		})
	}
}

// A rate, a gate and a panic, as each dialect says it.
func TestRefusalsInADialect(t *testing.T) {
	for name := range newStack(t).foreign() {
		t.Run(name, func(t *testing.T) {
			s := newStack(t)
			key := consumer.NewKey()
			err := s.registry.Replace([]consumer.Spec{{
				Name: "slow", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(key)}}, Accounts: []string{"ops"}, Resources: []string{"graph"},
				Rate: config.Rate{Count: 1, Per: time.Hour, Burst: 1},
			}})
			if err != nil {
				t.Fatal(err)
			}
			s.tokens.set(entry(t, "CANARY"))
			c := s.foreign()[name]
			c.key = key.Reveal()
			if res := s.do(c); res.StatusCode != http.StatusOK {
				t.Fatalf("status %d", res.StatusCode)
			}
			res := s.do(c)
			s.refusal(c.path, res, http.StatusTooManyRequests, token.KindRateLimited)
			if name != "azd" && res.Header.Get("Retry-After") == "" {
				t.Error("there is no Retry-After")
			}
			c.header = http.Header{"Origin": {"https://evil.example"}}
			s.problem(s.do(c), http.StatusForbidden, token.KindDenied)
			s = newStack(t)
			s.tokens.hook = func(context.Context) { panic("SECRET") }
			status := map[string]int{"msi": http.StatusServiceUnavailable}[name]
			s.refusal(c.path, s.do(s.foreign()[name]), cmp.Or(status, http.StatusInternalServerError), token.KindInternal)
			if strings.Contains(s.log.String(), "SECRET") {
				t.Error("the panic's value is in the log")
			}
		})
	}
}

// Where a renewal takes long, the token at hand is given; where there is none, or
// another one is demanded, it is waited for.
func TestADialectWaitsLittle(t *testing.T) {
	for _, at := range []string{"msi", "azd", "sidecar"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t)
				a := lasting(t)
				slow := slowTokens{fakeTokens: s.tokens, entry: a}
				s.server.cfg.Tokens = slow
				began := time.Now()
				if res := s.do(s.foreign()[at]); res.StatusCode != http.StatusOK || time.Since(began) != patience {
					t.Errorf("status %d after %v", res.StatusCode, time.Since(began))
				}
				began = time.Now()
				forced := call{path: "/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.ForceRefresh=true", key: s.crm}
				if res := s.do(forced); res.StatusCode != http.StatusOK || time.Since(began) != longRenewal {
					t.Errorf("forced: status %d after %v", res.StatusCode, time.Since(began))
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				gone := s.foreign()[at]
				gone.ctx = ctx
				s.do(gone)
			})
		})
	}
}

const longRenewal = 15 * time.Second

// slowTokens has a token with little time left, and is slow to get another.
type slowTokens struct {
	*fakeTokens
	entry cache.Answer
}

func (f slowTokens) Token(ctx context.Context, _ *consumer.Identity, req token.Request) (cache.Answer, error) {
	if req.MinValidity == 0 && !req.Force {
		return f.entry, nil
	}
	select {
	case <-time.After(longRenewal):
		return f.entry, nil
	case <-ctx.Done():
		return cache.Answer{}, token.AsError(ctx.Err())
	}
}
