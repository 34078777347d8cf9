package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// What SDKs send, each as it was measured.
func TestManagedIdentityRequests(t *testing.T) {
	const base = "api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com"
	tests := []struct {
		name, path string
		header     http.Header
		want       token.Key
	}{
		{"azidentity", "/msi/token?" + base, nil, token.Key{Resource: "graph"}},
		{"slash behind the path", "/msi/token/?" + base, nil, token.Key{Resource: "graph"}},
		{"slash behind the audience", "/msi/token?" + base + "%2F", nil, token.Key{Resource: "graph"}},
		{"default scope", "/msi/token?" + base + "%2F.default", nil, token.Key{Resource: "graph"}},
		{"scope", "/msi/token?api-version=2019-08-01&resource=https://outlook.office365.com/EWS.AccessAsUser.All", nil, token.Key{Resource: "ews"}},
		{"name", "/msi/token?api-version=2019-08-01&resource=ews", nil, token.Key{Resource: "ews"}},
		{"alias", "/msi/token?" + base + "&client_id=ops", nil, token.Key{Account: "ops", Resource: "graph"}},
		{"app registration", "/msi/token?" + base + "&client_id=" + testApp, nil, token.Key{Account: "ops", Resource: "graph"}},
		{"empty client ID", "/msi/token?" + base + "&client_id=", nil, token.Key{Resource: "graph"}},
		{"Python", "/msi/token?" + base, http.Header{"Metadata": {"true"}}, token.Key{Resource: "graph"}},
		{"JavaScript", "/msi/token?" + base, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Ms-Client-Request-Id": {"1"}}, token.Key{Resource: "graph"}},
		{"query in the endpoint", "/msi/token?for=crm&" + base, nil, token.Key{Resource: "graph"}},
		{"account in the endpoint, and the same from the SDK", "/msi/token?client_id=ops&" + base + "&client_id=ops", nil, token.Key{Account: "ops", Resource: "graph"}},
		{"newer version", "/msi/token?api-version=2025-03-30&xms_cc=cp1&resource=graph", nil, token.Key{Resource: "graph"}},
		{"no version", "/msi/token?resource=graph", nil, token.Key{Resource: "graph"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStack(t)
			s.tokens.set(entry(t, "CANARY-1"))
			got := want[identityToken](s, s.do(call{path: tt.path, key: s.crm, header: tt.header}), http.StatusOK)
			if got.AccessToken != "CANARY-1" || got.TokenType != "Bearer" || got.ClientID != testApp || len(got.ExpiresOn) != 10 {
				t.Errorf("answer %+v", got)
			}
			if s.tokens.last.Key != tt.want || s.tokens.last.Force || s.tokens.last.MinValidity != 10*time.Minute {
				t.Errorf("asked for %+v", s.tokens.last)
			}
		})
	}
}

// The resource comes back as it was written.
func TestManagedIdentityEchoesTheResource(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	got := want[identityToken](s, s.do(call{path: msiGraph + "%2F.default", key: s.crm}), http.StatusOK)
	if got.Resource != "https://graph.microsoft.com/.default" {
		t.Errorf("resource %q", got.Resource)
	}
}

func TestManagedIdentityRefusals(t *testing.T) {
	long := strings.Repeat("a", maxForeign+1)
	tests := []struct{ query, want string }{
		{"", "resource is missing"},
		{"resource=", "resource is missing"},
		{"resource=https://vault.azure.net", "no such resource"},
		{"resource=" + long, "resource is too long"},
		{"resource=a%0ab", "resource holds characters"},
		{"resource=%zz", "percent-encode"},
		{"resource=graph&resource=ews", "resource was sent twice"},
		{"resource=graph&client_id=ops&client_id=bob", "client_id was sent twice"},
		{"resource=graph&client_id=" + long, "client_id is too long"},
		{"resource=graph&client_id=00000000-0000-0000-0000-000000000000", "no account"},
		{"resource=graph&object_id=1", "object_id; name the account in client_id"},
		{"resource=graph&principal_id=1", "principal_id; name the account in client_id"},
		{"resource=graph&mi_res_id=/x", "mi_res_id; name the account in client_id"},
		{"resource=graph&msi_res_id=/x", "msi_res_id; name the account in client_id"},
		{"resource=graph&Object_ID=1", "object_id; name the account in client_id"},
		{"resource=graph&account=bob", "account; name the account in client_id"},
		{"resource=graph&scope=Mail.Read", "scope; name it in resource"},
		{"resource=graph&claims={}", "claims; send"},
		{"resource=graph&api-version=2017-09-01", "2019-08-01"},
		{"resource=graph&api-version=2018-02-01", "2019-08-01"},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			s := newStack(t)
			s.tokens.set(entry(t, "CANARY"))
			e := want[identityError](s, s.do(call{path: "/msi/token?" + tt.query, key: s.crm}), http.StatusBadRequest)
			if !strings.Contains(e.Message, tt.want) || strings.Contains(e.Message, "\n") {
				t.Errorf("message %q, want %s", e.Message, tt.want)
			}
		})
	}
}

func TestManagedIdentityCredentials(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	for _, tt := range []struct {
		name   string
		header http.Header
		status int
	}{
		{"key", http.Header{"X-Identity-Header": {s.crm}}, 200},
		{"spaces", http.Header{"X-Identity-Header": {" " + s.crm + " "}}, 200},
		{"none", nil, 401},
		{"empty", http.Header{"X-Identity-Header": {""}}, 401},
		{"wrong", http.Header{"X-Identity-Header": {consumer.NewKey().Reveal()}}, 401},
		{"bearer", http.Header{"Authorization": {"Bearer " + s.crm}}, 401},
		{"twice", http.Header{"X-Identity-Header": {s.crm, s.crm}}, 400},
	} {
		res := s.do(call{path: msiGraph, header: tt.header})
		if res.StatusCode != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, res.StatusCode, tt.status)
		}
	}
}

// A consumer with several accounts must name one, in a parameter that this
// protocol has.
func TestManagedIdentityOfSeveralAccounts(t *testing.T) {
	s := newStack(t)
	key := consumer.NewKey()
	err := s.registry.Replace([]consumer.Spec{{Name: "two", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(key)}}, Accounts: []string{"ops", "bob"}, Resources: []string{"graph"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.tokens.set(entry(t, "CANARY"))
	for name, c := range s.foreign() {
		c.key = key.Reveal()
		body := string(read(t, s.do(c)))
		if !strings.Contains(body, "Several accounts are possible") || strings.Contains(body, "CANARY") {
			t.Errorf("%s: %s", name, body)
		}
	}
	want[identityToken](s, s.do(call{path: msiGraph + "&client_id=bob", key: key.Reveal()}), http.StatusOK)
}

// The hash of a token that a service refused gets another one, and the hash of an
// older one the current.
func TestManagedIdentityOfARevokedToken(t *testing.T) {
	sum := sha256.Sum256([]byte("CANARY-1"))
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY-1"))
	for hash, force := range map[string]bool{hex.EncodeToString(sum[:]): true, strings.ToUpper(hex.EncodeToString(sum[:])): true, strings.Repeat("0", 64): false, "": false} {
		want[identityToken](s, s.do(call{path: msiGraph + "&token_sha256_to_refresh=" + hash, key: s.crm}), http.StatusOK)
		if s.tokens.last.Force != force {
			t.Errorf("hash %s: force is %v", hash, s.tokens.last.Force)
		}
	}
}

// A sentence becomes one line.
func TestManagedIdentityMessages(t *testing.T) {
	s := newStack(t)
	s.tokens.err = &token.Error{Kind: token.KindSignInRequired, Detail: "Account ops is not signed in;\n run: broker login --account ops", Err: errors.New("SECRET")}
	e := want[identityError](s, s.do(call{path: msiGraph, key: s.crm}), http.StatusBadRequest)
	if e.Message != "Account ops is not signed in; run: broker login --account ops" || e.CorrelationID == "" {
		t.Errorf("error %+v", e)
	}
}

func FuzzManagedIdentityQuery(f *testing.F) {
	for _, q := range []string{"", "resource=graph", "resource=a&resource=a", "%72esource=graph", "resource=a;b", "a=%", "OBJECT_ID=1&resource=x", "resource=%00", "api-version=1&resource=x"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		in, err := parseIdentityQuery(raw)
		if err != nil {
			if token.KindOf(err) != token.KindInvalidRequest {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if in.resource == "" || len(in.resource) > maxForeign || len(in.clientID) > maxAccount || strings.ContainsAny(in.resource+in.clientID, "\x00\r\n") {
			t.Fatalf("%q gave %+v", raw, in)
		}
	})
}
