package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

func TestCredentials(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	other := consumer.NewKey().Reveal()
	h := func(pairs ...string) http.Header {
		out := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = append(out[pairs[i]], pairs[i+1])
		}
		return out
	}
	tests := []struct {
		name   string
		header http.Header
		status int
	}{
		{"bearer", h("Authorization", "Bearer "+s.crm), 200},
		{"scheme in any case", h("Authorization", "bEaReR "+s.crm), 200},
		{"spaces", h("Authorization", "Bearer   "+s.crm+" "), 200},
		{"own header", h("X-Broker-Key", s.crm), 200},
		{"both, equal", h("Authorization", "Bearer "+s.crm, "X-Broker-Key", s.crm), 200},
		{"admin", h("X-Broker-Key", s.admin), 200},
		{"none", h(), 401},
		{"wrong", h("Authorization", "Bearer "+other), 401},
		{"empty", h("Authorization", ""), 401},
		{"no key", h("Authorization", "Bearer"), 401},
		{"empty own", h("X-Broker-Key", ""), 401},
		{"no scheme", h("Authorization", s.crm), 401},
		{"basic", h("Authorization", "Basic "+s.crm), 401},
		{"two keys", h("Authorization", "Bearer "+s.crm+" "+s.crm), 401},
		{"both, different", h("Authorization", "Bearer "+s.crm, "X-Broker-Key", other), 400},
		{"both, one of another scheme", h("Authorization", "Basic "+s.crm, "X-Broker-Key", s.crm), 400},
		{"twice", h("Authorization", "Bearer "+s.crm, "Authorization", "Bearer "+s.crm), 400},
		{"own twice", h("X-Broker-Key", s.crm, "X-Broker-Key", s.crm), 400},
	}
	for _, tt := range tests {
		for _, path := range []string{"/v1/token?resource=graph", "/v1/nosuch"} {
			t.Run(tt.name+path, func(t *testing.T) {
				res := s.do(call{path: path, header: tt.header})
				status := tt.status
				if status == 200 && path == "/v1/nosuch" {
					status = 404
				}
				if res.StatusCode != status {
					t.Fatalf("status %d, want %d: %s", res.StatusCode, status, read(t, res))
				}
				if (res.Header.Get("WWW-Authenticate") == "Bearer") != (status == 401) {
					t.Errorf("WWW-Authenticate is %q", res.Header.Get("WWW-Authenticate"))
				}
			})
		}
	}
	for _, key := range []string{s.crm, s.admin, other} {
		if strings.Contains(s.log.String(), key) {
			t.Error("a key stands in the log")
		}
	}
}

// The table of rights has exactly the routes and parameters of the document.
func TestRoutesAreThoseOfTheDocument(t *testing.T) {
	doc, rs := closedDocument(t), newRoutes(newDialects())
	n := 0
	for pattern, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			n++
			rt, ok := rs[pattern][method]
			if !ok {
				t.Errorf("%s %s is not in routes", method, pattern)
				continue
			}
			if open := op.Security != nil && len(*op.Security) == 0; open != (rt.right == anybody) {
				t.Errorf("%s %s: open in one of document and routes only", method, pattern)
			}
			var query []string
			for _, p := range op.Parameters {
				if p.Value.In == "query" {
					query = append(query, p.Value.Name)
				}
			}
			if fmt.Sprint(query) != fmt.Sprint(rt.query) {
				t.Errorf("%s %s takes %v, routes say %v", method, pattern, query, rt.query)
			}
		}
	}
	for _, methods := range rs {
		n -= len(methods)
	}
	if n != 0 {
		t.Error("routes has more than the document")
	}
}

func TestRateOfAConsumer(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	key := consumer.NewKey()
	err := s.registry.Replace([]consumer.Spec{{
		Name: "slow", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(key)}}, Accounts: []string{"ops"}, Resources: []string{"graph"},
		Rate: config.Rate{Count: 1, Per: time.Hour, Burst: 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := call{path: "/v1/token?resource=graph", key: key.Reveal()}
	if res := s.do(c); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	res := s.do(c)
	p := s.problem(res, http.StatusTooManyRequests, token.KindRateLimited)
	if !p.Retryable || p.RetryAfter < 3500 || res.Header.Get("Retry-After") != fmt.Sprint(p.RetryAfter) {
		t.Errorf("problem %+v, Retry-After %s", p, res.Header.Get("Retry-After"))
	}
	if !strings.Contains(s.log.String(), "consumer=slow") {
		t.Error("the log does not name the consumer")
	}
}
