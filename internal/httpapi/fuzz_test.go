package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/token"
)

func FuzzHost(f *testing.F) {
	for _, h := range []string{testHost, "localhost:8477", "", "[::1]:8477", "evil.example", "localhost:8477.", "127.0.0.1:8477\x00", "127.1:8477"} {
		f.Add(h)
	}
	s := newStack(f)
	f.Fuzz(func(t *testing.T, host string) {
		s.t = t
		res := s.do(call{path: "/livez", change: func(r *http.Request) { r.Host = host }})
		good := host == testHost || host == "localhost:8477"
		if (res.StatusCode == http.StatusOK) != good || (res.StatusCode == http.StatusForbidden) == good {
			t.Fatalf("host %q: status %d", host, res.StatusCode)
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, u := range []string{"/livez", "/", "*", "//", "/a/../b", "/%2e%2e/", "/%2F", "http://x/", "/?//", "/%", "/a%0", `\`, "/proxy/graph/.a", "/proxy/x/%2e%2e/"} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if !plainTarget(target) {
			return
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return // net/http refuses it before us
		}
		path := strings.TrimSuffix(u.Path, "/")
		doubled := strings.Contains(u.Path, "//") && !isProxied(target)
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || doubled || strings.Contains(u.Path, `\`) ||
			slices.Contains(strings.Split(path, "/"), "..") || slices.Contains(strings.Split(path, "/"), ".") {
			t.Fatalf("target %q has path %q of host %q", target, u.Path, u.Host)
		}
	})
}

func FuzzCredential(f *testing.F) {
	f.Add("Bearer brk_x", "", true, false)
	f.Add("Bearer  brk_x ", "brk_x", true, true)
	f.Add("Basic eDp5", "", true, false)
	f.Add("", "brk_x", false, true)
	f.Add("bearer", "", true, true)
	f.Fuzz(func(t *testing.T, auth, own string, hasAuth, hasOwn bool) {
		h := http.Header{}
		if hasAuth {
			h["Authorization"] = []string{auth}
		}
		if hasOwn {
			h["X-Broker-Key"] = []string{own}
		}
		key, err := credential(h)
		if err != nil {
			e := token.AsError(err)
			if k := e.Kind; key != "" || k != token.KindUnauthenticated && k != token.KindInvalidRequest {
				t.Fatalf("key %q with error %v", key, err)
			}
			return
		}
		inAuth := hasAuth && strings.HasSuffix(strings.TrimSpace(auth), key) && len(auth) >= len("Bearer") && strings.EqualFold(auth[:len("Bearer")], "Bearer")
		inOwn := hasOwn && strings.TrimSpace(own) == key
		if hasAuth && !inAuth || hasOwn && !inOwn || !hasAuth && !hasOwn {
			t.Fatalf("%q, %q gave key %q", auth, own, key)
		}
	})
}

func FuzzTokenQuery(f *testing.F) {
	for _, q := range []string{"", "resource=graph", "resource=graph&account=a%40b&min_validity=600&wait=30", "&&", "=", "resource=a;b", "resource=%00", "resource=a&resource=b", "%72esource=graph"} {
		f.Add(q)
	}
	known := newRoutes(newDialects())[tokenPath][http.MethodGet].query
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parseTokenQuery(raw, known)
		if err != nil {
			if k := token.KindOf(err); k != token.KindInvalidRequest {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		// The standard library reads the same, or finds a semicolon, which is no
		// separator to us.
		q, err := url.ParseQuery(raw)
		if err != nil {
			if !strings.Contains(raw, ";") {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if q.Get("resource") != p.resource || q.Get("account") != p.account || len(q["resource"]) != 1 || len(q["account"]) > 1 {
			t.Fatalf("%q gave %+v, url.ParseQuery %v", raw, p, q)
		}
		if p.minValidity < 0 || p.minValidity.Seconds() > maxMinValidity || p.wait < 0 || p.wait.Seconds() > maxWait {
			t.Fatalf("%q gave %+v", raw, p)
		}
	})
}

func FuzzClaims(f *testing.F) {
	for _, c := range []string{"", "null", "{}", `"{}"`, `"e30="`, `"e30"`, `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`, `"\ud800"`, `[1]`, `"bnVsbA=="`, `" {\"a\":1} "`} {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 0 && !json.Valid(raw) {
			return // the body was JSON, so its members are
		}
		raw = []byte(strings.TrimSpace(string(raw)))
		claims, err := parseClaims(raw)
		if err != nil {
			if k := token.KindOf(err); k != token.KindInvalidRequest || claims != "" {
				t.Fatalf("%q: %q, %v", raw, claims, err)
			}
			return
		}
		var object map[string]any
		if claims != "" && (json.Unmarshal([]byte(claims), &object) != nil || object == nil || len(claims) > token.MaxClaims) {
			t.Fatalf("%q gave %q", raw, claims)
		}
	})
}

func FuzzBody(f *testing.F) {
	for _, b := range []string{"{}", `{"resource":"graph"}`, `{"resource":1e999}`, `[`, `{"resource":"graph","claims":{}}`, `{"a":{"b":[{}]}}`} {
		f.Add(b)
	}
	s := newStack(f)
	s.tokens.set(entry(f, "CANARY"))
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		if body == "" {
			return
		}
		res := s.do(call{method: "POST", path: tokenPath, key: s.crm, body: body})
		if c := res.StatusCode; c != 200 && c != 400 && c != 413 {
			t.Fatalf("%q: status %d", body, c)
		}
	})
}

func FuzzMapiReport(f *testing.F) {
	for _, b := range []string{"{}", `{"ok":true}`, `{"hresult":"0x8004011D","operation":"OpenMsgStore"}`, `{"hresult":-2147221219}`, `{"hresult":1e9}`, `{"hresult":"80040111","ok":true}`} {
		f.Add(b)
	}
	s := newStack(f)
	s.outlook.set(archive(mapiadapter.Precheck))
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		if body == "" {
			return
		}
		s.outlook.calls = nil
		res := s.do(call{method: "POST", path: "/v1/mapi/archive/report", key: s.crm, body: body})
		if c := res.StatusCode; c != http.StatusAccepted && c != http.StatusBadRequest && c != http.StatusRequestEntityTooLarge {
			t.Fatalf("%q: status %d", body, c)
		}
		// What was taken is either a success or a failure of MAPI.
		for _, c := range s.outlook.calls {
			if !strings.HasPrefix(c, "report archive true 0x00000000 ") && !regexp.MustCompile(`^report archive false 0x[89A-F][0-9A-F]{7} `).MatchString(c) {
				t.Fatalf("%q became %q", body, c)
			}
		}
		if taken := len(s.outlook.calls) == 1; taken != (res.StatusCode == http.StatusAccepted) {
			t.Fatalf("%q: status %d, %d reports", body, res.StatusCode, len(s.outlook.calls))
		}
	})
}

func FuzzAgentReport(f *testing.F) {
	for _, b := range []string{"{}", agentReport, strings.Replace(agentReport, `"id":3`, `"id":1e400`, 1), strings.Replace(agentReport, `"facts":{`, `"results":[{}],"facts":{"processes":null,"services":{"a":{}},`, 1)} {
		f.Add(b)
	}
	s := newStack(f)
	s.outlook.orders.Work = []mapiadapter.Work{{ID: "x", Target: "archive", Kind: mapiadapter.WorkProbe}}
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		if body == "" {
			return
		}
		s.outlook.reports, s.outlook.calls = nil, nil
		res := s.do(call{method: "POST", path: "/v1/agent/sync", key: s.agent, body: body})
		if c := res.StatusCode; c != http.StatusOK && c != http.StatusBadRequest && c != http.StatusRequestEntityTooLarge {
			t.Fatalf("%q: status %d", body, c)
		}
	})
}
