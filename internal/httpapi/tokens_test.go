package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/token"
)

const graph = "/v1/token?resource=graph"

func TestGetToken(t *testing.T) {
	s := newStack(t)
	a := entry(t, "CANARY-1")
	s.tokens.set(a)
	res := s.do(call{path: graph + "&account=ops%40contoso.com&min_validity=600", key: s.crm})
	got := want[Token](s, res, 200)
	if got.AccessToken != "CANARY-1" || got.TokenType != "Bearer" || got.Source != TokenSourceCache || got.Account != "ops" ||
		got.Resource != "graph" || got.ExpiresIn < 3590 || got.ExpiresIn > 3600 || got.ExpiresOn != a.Entry.Token().ExpiresOn.Unix() {
		t.Errorf("token %+v", got)
	}
	h := res.Header
	if h.Get("ETag") != a.Entry.ETag() || h.Get("Content-Type") != "application/json" || h.Get("Content-Length") != strconv.Itoa(len(read(t, res))) {
		t.Errorf("headers %v", h)
	}
	wantReq := token.Request{Key: token.Key{Account: "ops@contoso.com", Resource: "graph"}, MinValidity: 10 * time.Minute}
	if d := cmp.Diff(wantReq, s.tokens.last); d != "" {
		t.Error(d)
	}
	if log := s.log.String(); log != "" {
		t.Errorf("a good request logs: %s", log)
	}
	a.FromCache = false
	s.tokens.set(a)
	if got := want[Token](s, s.do(call{path: graph, key: s.admin}), 200); got.Source != TokenSourceRefresh {
		t.Errorf("source %s", got.Source)
	}
}

func TestGetTokenRefusesWrongQueries(t *testing.T) {
	long := strings.Repeat("a", 400)
	tests := []struct {
		query string
		want  []string // in the sentence
	}{
		{"", []string{"resource is missing"}},
		{"account=ops", []string{"resource is missing"}},
		{"resource=", []string{"resource is empty"}},
		{"resource", []string{"resource is empty"}},
		{"resource=graph&resource=ews", []string{"resource was sent twice"}},
		{"resource=graph&scope=Mail.Read", []string{`"scope"`, "resource, account, min_validity or wait"}},
		{"resource=graph&min-validity=600", []string{`"min-validity"`, "did you mean min_validity?"}},
		{"resource=graph&acount=ops", []string{"did you mean account?"}},
		{"Resource=graph", []string{`"Resource"`, "did you mean resource?"}},
		{"resource=graph&" + long + "=1", []string{"…"}},
		{"resource=graph&account=", []string{"account is empty"}},
		{"resource=" + long, []string{"resource is too long", "128"}},
		{"resource=a%00b", []string{"resource holds characters"}},
		{"resource=a%0ab", []string{"resource holds characters"}},
		{"resource=%ff", []string{"resource holds characters"}},
		{"resource=%zz", []string{"broken % escape"}},
		{"resource=graph&min_validity=10m", []string{"min_validity", "between 0 and 86400"}},
		{"resource=graph&min_validity=-1", []string{"min_validity"}},
		{"resource=graph&min_validity=86401", []string{"min_validity"}},
		{"resource=graph&min_validity=", []string{"min_validity"}},
		{"resource=graph&min_validity=1e3", []string{"min_validity"}},
		{"resource=graph&wait=61", []string{"wait", "between 0 and 60"}},
		{"resource=graph&wait=99999999999999999999", []string{"wait"}},
		{"=graph", []string{`""`}},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			s := newStack(t)
			p := s.problem(s.do(call{path: "/v1/token?" + tt.query, key: s.crm}), 400, token.KindInvalidRequest)
			for _, w := range tt.want {
				if !strings.Contains(p.Detail, w) {
					t.Errorf("detail %q does not hold %q", p.Detail, w)
				}
			}
			if strings.Contains(p.Detail, long) || strings.Contains(p.Detail, "Mail.Read") {
				t.Errorf("detail %q repeats a value", p.Detail)
			}
		})
	}
}

func TestIfNoneMatch(t *testing.T) {
	s := newStack(t)
	a := entry(t, "CANARY-1")
	s.tokens.set(a)
	etag := a.Entry.ETag()
	tests := []struct {
		header []string
		status int
	}{
		{[]string{etag}, 304},
		{[]string{strings.TrimPrefix(etag, "W/")}, 304}, // weak comparison
		{[]string{`W/"other", ` + etag}, 304},
		{[]string{`W/"other"`, etag}, 304},
		{[]string{"*"}, 304},
		{[]string{`W/"other"`}, 200},
		{[]string{""}, 200},
		{[]string{"nonsense"}, 200},
		{nil, 200},
	}
	for _, tt := range tests {
		res := s.do(call{path: graph, key: s.crm, header: http.Header{"If-None-Match": tt.header}})
		if res.StatusCode != tt.status || res.Header.Get("ETag") != etag {
			t.Errorf("If-None-Match %q: status %d, ETag %s; want %d", tt.header, res.StatusCode, res.Header.Get("ETag"), tt.status)
		}
		if body := read(t, res); (len(body) == 0) != (tt.status == 304) {
			t.Errorf("If-None-Match %q: body %s", tt.header, body)
		}
	}
}

func TestWait(t *testing.T) {
	newToken := func(s *stack) { s.tokens.set(entry(s.t, "CANARY-2")) }
	tests := []struct {
		name   string
		query  string
		header []string
		after  time.Duration // when there is another token; zero: never
		status int
		took   time.Duration
	}{
		{"no wait", "", []string{"known"}, 0, 304, 0},
		{"nothing happens", "&wait=30", []string{"known"}, 0, 304, 30 * time.Second},
		{"the longest", "&wait=60", []string{"known"}, 0, 304, 60 * time.Second},
		{"a new token", "&wait=30", []string{"known"}, 7 * time.Second, 200, 7 * time.Second},
		{"too late", "&wait=5", []string{"known"}, 7 * time.Second, 304, 5 * time.Second},
		{"nothing known", "&wait=30", nil, 7 * time.Second, 200, 0},
		{"another known", "&wait=30", []string{`W/"other"`}, 7 * time.Second, 200, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t)
				a := entry(t, "CANARY-1")
				s.tokens.set(a)
				if tt.header != nil && tt.header[0] == "known" {
					tt.header = []string{a.Entry.ETag()}
				}
				if tt.after > 0 {
					time.AfterFunc(tt.after, func() { newToken(s) })
				}
				begin := time.Now()
				res := s.do(call{path: graph + tt.query, key: s.crm, header: http.Header{"If-None-Match": tt.header}})
				if took := time.Since(begin); res.StatusCode != tt.status || took != tt.took {
					t.Errorf("status %d after %v, want %d after %v", res.StatusCode, took, tt.status, tt.took)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestWaitEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		a := entry(t, "CANARY-1")
		s.tokens.set(a)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		s.do(call{path: graph + "&wait=30", key: s.crm, ctx: ctx, header: http.Header{"If-None-Match": {a.Entry.ETag()}}})
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestPostToken(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY-1"))
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	quoted, _ := json.Marshal(claims)
	tests := []struct {
		name, body string
		want       token.Request
	}{
		{"least", `{"resource":"graph"}`, token.Request{Key: token.Key{Resource: "graph"}}},
		{
			"all", `{"resource":"graph","account":"ops","min_validity":60,"force_refresh":true}`,
			token.Request{Key: token.Key{Account: "ops", Resource: "graph"}, MinValidity: time.Minute, Force: true},
		},
		{"claims as text", `{"resource":"graph","claims":` + string(quoted) + `}`, token.Request{Key: token.Key{Resource: "graph"}, Claims: claims}},
		{"claims as object", `{"resource":"graph","claims": ` + strings.ReplaceAll(claims, ":", " : ") + `}`, token.Request{Key: token.Key{Resource: "graph"}, Claims: claims}},
		{"claims as base64", `{"resource":"graph","claims":"` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"}`, token.Request{Key: token.Key{Resource: "graph"}, Claims: claims}},
		{"claims as base64url", `{"resource":"graph","claims":"` + base64.RawURLEncoding.EncodeToString([]byte(claims)) + `"}`, token.Request{Key: token.Key{Resource: "graph"}, Claims: claims}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := s.do(call{method: "POST", path: tokenPath, key: s.crm, body: tt.body})
			if got := want[Token](s, res, 200); got.AccessToken != "CANARY-1" || res.Header.Get("ETag") == "" {
				t.Errorf("token %+v", got)
			}
			if d := cmp.Diff(tt.want, s.tokens.last); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPostTokenRefusesWrongBodies(t *testing.T) {
	tests := []struct {
		name, body, want string
	}{
		{"empty", " ", "not JSON"},
		{"no JSON", "resource=graph", "not JSON"},
		{"two values", `{"resource":"graph"}{}`, "more than one"},
		{"not UTF-8", "{\"resource\":\"\xff\"}", "UTF-8"},
		{"null", "null", "JSON object"},
		{"list", `["graph"]`, "JSON object"},
		{"text", `"graph"`, "JSON object"},
		{"nothing", `{}`, `"resource" is missing`},
		{"unknown", `{"resource":"graph","scope":"SECRET-VALUE"}`, `no member "scope"`},
		{"near", `{"resource":"graph","minvalidity":1}`, `no member "minvalidity" here; did you mean min_validity?`},
		{"twice", `{"resource":"graph","resource":"ews"}`, `"resource" was sent twice; send it once.`},
		{"twice in claims", `{"resource":"graph","claims":{"access_token":[{"nbf":1,"nbf":2}]}}`, `"nbf" was sent twice`},
		{"null", `{"resource":null}`, `"resource" must be a text`},
		{"long resource", `{"resource":"` + strings.Repeat("x", 129) + `"}`, `"resource" is too long: it may hold 128 characters.`},
		{"type of resource", `{"resource":1}`, `"resource" must be a text`},
		{"empty resource", `{"resource":""}`, `"resource" is empty; it takes the name of a configured resource (for example graph).`},
		{"type of account", `{"resource":"graph","account":["SECRET-VALUE"]}`, `"account" must be a text`},
		{"type of min_validity", `{"resource":"graph","min_validity":"10m"}`, `"min_validity" must be a whole number`},
		{"fraction", `{"resource":"graph","min_validity":1.5}`, `"min_validity" must be a whole number`},
		{"min_validity too large", `{"resource":"graph","min_validity":86401}`, `"min_validity" must be a whole number from 0 to 86400: for how many seconds the token must at least be valid.`},
		{"negative", `{"resource":"graph","min_validity":-1}`, `"min_validity" must be a whole number from 0 to 86400: `},
		{"type of force_refresh", `{"resource":"graph","force_refresh":"yes"}`, `"force_refresh" must be true or false`},
		{"type of claims", `{"resource":"graph","claims":7}`, `"claims" must be`},
		{"claims no JSON", `{"resource":"graph","claims":"SECRET-VALUE!"}`, "claims must be a JSON object"},
		{"claims a list", `{"resource":"graph","claims":"[1]"}`, "claims must be a JSON object"},
		{"claims null in base64", `{"resource":"graph","claims":"bnVsbA=="}`, "claims must be a JSON object"},
		{"claims with a tail", `{"resource":"graph","claims":"{} SECRET-VALUE"}`, "claims must be a JSON object"},
		{"claims too long", `{"resource":"graph","claims":{"a":"` + strings.Repeat("A", token.MaxClaims) + `"}}`, "16 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStack(t)
			p := s.problem(s.do(call{method: "POST", path: tokenPath, key: s.crm, body: tt.body}), 400, token.KindInvalidRequest)
			if !strings.Contains(p.Detail, tt.want) || strings.Contains(p.Detail, "?.") {
				t.Errorf("detail %q does not hold %q", p.Detail, tt.want)
			}
			if strings.Contains(p.Detail+s.log.String(), "SECRET-VALUE") {
				t.Errorf("a value is repeated: %q, %s", p.Detail, s.log.String())
			}
		})
	}
}

func TestContentType(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	for value, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=UTF-8": 200,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "application/json; charset=latin1": 415, "application/json; ;": 415,
	} {
		res := s.do(call{method: "POST", path: tokenPath, key: s.crm, body: `{"resource":"graph"}`, header: http.Header{"Content-Type": {value}}})
		if res.StatusCode != status {
			t.Errorf("Content-Type %q: status %d, want %d", value, res.StatusCode, status)
		}
		if status == 415 {
			s.problem(res, 415, token.KindInvalidRequest)
		}
	}
}

func TestNoTokenStaysInTheBodyPool(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY-1"))
	s.do(call{path: graph, key: s.crm})
	if buf, ok := s.server.bodies.Get().(*[]byte); ok && strings.Contains(string((*buf)[:cap(*buf)]), "CANARY") {
		t.Error("the pool holds a token")
	}
}

var _ Tokens = (*fakeTokens)(nil)
