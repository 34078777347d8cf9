package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestGate(t *testing.T) {
	header := func(k, v string) func(*http.Request) {
		return func(r *http.Request) { r.Header[k] = []string{v} }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	target := func(uri string) func(*http.Request) { return func(r *http.Request) { r.RequestURI = uri } }
	tests := []struct {
		name   string
		change func(*http.Request)
		want   string // reason; empty: let through
	}{
		{"loopback", func(*http.Request) {}, ""},
		{"IPv6 loopback", func(r *http.Request) { r.RemoteAddr = "[::1]:1" }, ""},
		{"mapped loopback", func(r *http.Request) { r.RemoteAddr = "[::ffff:127.0.0.1]:1" }, ""},
		{"another machine", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" }, gatePeer},
		{"link-local", func(r *http.Request) { r.RemoteAddr = "[fe80::1%eth0]:1" }, gatePeer},
		{"no peer", func(r *http.Request) { r.RemoteAddr = "" }, gatePeer},
		{"pipe", func(r *http.Request) { r.RemoteAddr = "pipe" }, gatePeer},

		{"localhost", host("localhost:8477"), ""},
		{"no host", host(""), gateHost},
		{"rebinding", host("evil.example:8477"), gateHost},
		{"other port", host("127.0.0.1:8478"), gateHost},
		{"no port", host("127.0.0.1"), gateHost},
		{"localhost without port", host("localhost"), gateHost},
		{"trailing dot", host("localhost.:8477"), gateHost},
		{"upper case", host("LOCALHOST:8477"), gateHost},
		{"IPv6 where we do not listen", host("[::1]:8477"), gateHost},
		{"other loopback", host("127.0.0.2:8477"), gateHost},
		{"decimal", host("2130706433:8477"), gateHost},
		{"any address", host("0.0.0.0:8477"), gateHost},
		{"subdomain", host("127.0.0.1:8477.evil.example"), gateHost},
		{"user info", host("evil@127.0.0.1:8477"), gateHost},
		{"space", host("127.0.0.1:8477 "), gateHost},
		{"second host", header("Host", testHost), gateHost},

		{"origin", header("Origin", "https://evil.example"), gateOrigin},
		{"null origin", header("Origin", "null"), gateOrigin},
		{"our own origin", header("Origin", "http://"+testHost), gateOrigin},
		{"empty origin", header("Origin", ""), gateOrigin},
		{"referer", header("Referer", "https://evil.example/"), gateReferer},
		{"cross-site", header("Sec-Fetch-Site", "cross-site"), gateFetchSite},
		{"same-origin", header("Sec-Fetch-Site", "same-origin"), gateFetchSite},
		{"typed by a person", header("Sec-Fetch-Site", "none"), gateFetchSite},
		{"fetch of Node.js", header("Sec-Fetch-Mode", "cors"), ""},
		{"X-Forwarded-For", header("X-Forwarded-For", "192.0.2.1"), gateForwarded},
		{"X-Forwarded-Host", header("X-Forwarded-Host", testHost), gateForwarded},
		{"X-Forwarded-Proto", header("X-Forwarded-Proto", "https"), gateForwarded},
		{"X-Real-IP", header("X-Real-Ip", "127.0.0.1"), gateForwarded},
		{"Forwarded", header("Forwarded", "for=192.0.2.1"), gateForwarded},

		{"query is no path", target("/livez?a=//../%2f"), ""},
		{"absolute form", target("http://" + testHost + "/livez"), gateTarget},
		{"absolute form elsewhere", target("http://evil.example/livez"), gateTarget},
		{"authority form", target("evil.example:443"), gateTarget},
		{"asterisk", target("*"), gateTarget},
		{"empty target", target(""), gateTarget},
		{"double slash", target("//livez"), gateTarget},
		{"double slash inside", target("/v1//token"), gateTarget},
		{"dot segment", target("/v1/./token"), gateTarget},
		{"parent", target("/x/../livez"), gateTarget},
		{"encoded slash", target("/v1%2Ftoken"), gateTarget},
		{"encoded slash, small", target("/v1%2ftoken"), gateTarget},
		{"encoded dot", target("/x/%2E%2e/livez"), gateTarget},
		{"encoded backslash", target("/x%5clivez"), gateTarget},
		{"backslash", target(`/x\livez`), gateTarget},
		{"NUL", target("/livez%00"), gateTarget},
		{"broken escape", target("/livez%2"), gateTarget},
		{"fragment", target("/livez#x"), gateTarget},

		{"body of the limit", func(r *http.Request) { r.ContentLength = maxBody }, ""},
		{"large body", func(r *http.Request) { r.ContentLength = maxBody + 1 }, gateBody},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStack(t)
			// The right key does not help.
			res := s.do(call{path: "/livez", key: s.admin, change: tt.change})
			if tt.want == "" {
				if res.StatusCode != http.StatusOK || len(s.refused) != 0 {
					t.Fatalf("status %d, refused %v; want it let through", res.StatusCode, s.refused)
				}
				return
			}
			if tt.want == gateBody {
				s.problem(res, http.StatusRequestEntityTooLarge, token.KindInvalidRequest)
			} else {
				s.problem(res, http.StatusForbidden, token.KindDenied)
			}
			if s.refused[tt.want] != 1 || len(s.refused) != 1 {
				t.Errorf("counted %v, want one %s", s.refused, tt.want)
			}
		})
	}
}

// Behind /proxy/{resource}/ stand names of files, so more is a plain path there.
func TestTargetsOfTheProxy(t *testing.T) {
	for target, want := range map[string]bool{
		"/proxy/graph/v1.0/me":                                           true,
		"/proxy/graph/v1.0/me/drive/root:/.config:/content":              true,
		"/proxy/graph/v1.0/me/drive/root%3A%2Fa%20b%2Ffile.txt%3A":       true,
		"/proxy/graph/v1.0/me/drive/root:/...":                           true,
		"/proxy/graph/v1.0/me/drive/root:/100%25:/content":               true,
		"/proxy/graph/v1.0/me/drive/root:/a%252Fb":                       true,
		"/proxy/graph/v1.0/a//b":                                         true,
		"/proxy/graph/v1.0/users?$filter=startswith(displayName,'a/..')": true,
		"/proxy/graph":               true,
		"/proxy/graph/":              true,
		"/proxy/ews/EWS/%23":         true,
		"/proxy/":                    false,
		"/proxy//":                   false,
		"/proxy//v1.0/me":            false,
		"/proxy/../v1/token":         false,
		"/proxy/graph%2Fv1.0":        false,
		"/proxy/%2e%2e/v1/token":     false,
		"/proxy/.graph/v1.0":         false,
		"/proxy/graph/..":            false,
		"/proxy/graph/.":             false,
		"/proxy/graph/a/../b":        false,
		"/proxy/graph/a/./b":         false,
		"/proxy/graph/%2e%2e/b":      false,
		"/proxy/graph/.%2E/b":        false,
		"/proxy/graph/a%2F..%2Fb":    false,
		"/proxy/graph/%252e%252e/b":  false,
		"/proxy/graph/a%252f..%252f": false,
		`/proxy/graph/a\b`:           false,
		"/proxy/graph/a%5Cb":         false,
		"/proxy/graph/a%255Cb":       false,
		"/proxy/graph/a%00":          false,
		"/proxy/graph/a%0d%0ab":      false,
		"/proxy/graph/a%7f":          false,
		"/proxy/graph/a%2":           false,
		"/proxy/graph/a#b":           false,
		"/Proxy/graph/.config":       false,
		"/proxying/.config":          false,
		"/%70roxy/graph/.config":     false,
	} {
		if got := plainTarget(target); got != want {
			t.Errorf("%q: let through is %t, want %t", target, got, want)
		}
	}
}

// The body of a request to a resource is the resource's to judge.
func TestTheBodyOfAProxiedRequestHasNoLimitHere(t *testing.T) {
	s := newStack(t)
	for path, want := range map[string]string{"/proxy/graph/v1.0/me": "", "/v1/token": gateBody, "/%70roxy/graph/v1.0/me": gateBody} {
		r := httptest.NewRequest(http.MethodPost, path, http.NoBody)
		r.RemoteAddr, r.Host, r.ContentLength = "127.0.0.1:50000", testHost, maxBody+1
		if why, err := s.server.gate(httptest.NewRecorder(), r); why != want || (err == nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", path, why, err, want)
		}
	}
}

// A Unix socket or a pipe has no host and no peer's address.
func TestGateOfLocalListeners(t *testing.T) {
	tests := []struct {
		network, host, remote, want string
	}{
		{"unix", "localhost", "@", ""},
		{"unix", testHost, "", ""},
		{"unix", "localhost:8477", "@", ""},
		{"pipe", "localhost", `\\.\pipe\broker`, ""},
		{"unix", "evil.example", "@", gateHost},
		{"unix", "", "@", gateHost},
		{"unix", "localhost.", "@", gateHost},
		{"tcp", "localhost", "127.0.0.1:50000", gateHost},
		{"tcp", testHost, "@", gatePeer},
		{"unixgram", testHost, "@", gatePeer},
	}
	for _, tt := range tests {
		s := newStack(t)
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: tt.network, Name: "broker.sock"}))
		s.do(call{path: "/livez", ctx: ctx, change: func(r *http.Request) { r.Host, r.RemoteAddr = tt.host, tt.remote }})
		if (tt.want == "") != (len(s.refused) == 0) || tt.want != "" && s.refused[tt.want] != 1 {
			t.Errorf("%s, Host %q, from %q: refused %v; want %q", tt.network, tt.host, tt.remote, s.refused, tt.want)
		}
	}
	// A web page cannot get there, but what carries its marks is refused all the same.
	s := newStack(t)
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: "unix"}))
	s.problem(s.do(call{path: "/livez", ctx: ctx, header: http.Header{"Origin": {"null"}}}), http.StatusForbidden, token.KindDenied)
}

// The doctor's trial is refused as an attack is, and is not told as one; all that
// differs from it is.
func TestTheDoctorsTrial(t *testing.T) {
	s := newStack(t)
	trial := func(path, host, referer string) {
		t.Helper()
		s.problem(s.do(call{path: path, change: func(r *http.Request) {
			r.Host = host
			if referer != "" {
				r.Header.Set("Referer", referer)
			}
		}}), http.StatusForbidden, token.KindDenied)
	}
	trial("/livez", ProbeHost+":8477", "")
	trial("/livez", ProbeHost+":8477", "http://"+ProbeHost) // the host goes before
	if len(s.refused) > 0 || s.log.String() != "" {
		t.Errorf("refused %v, log %s", s.refused, s.log)
	}
	trial("/v1/token", ProbeHost+":8477", "")
	trial("/livez?x", ProbeHost+":8477", "")
	trial("/livez", "x."+ProbeHost+":8477", "")
	trial("/livez", testHost, "http://"+ProbeHost)
	if s.refused[gateHost] != 3 || s.refused[gateReferer] != 1 {
		t.Errorf("refused %v", s.refused)
	}
}

func TestTheGateComesBeforeTelemetryAndKeys(t *testing.T) {
	s := newStack(t, func(c *Config) {
		c.Wrap = func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a refused request reached telemetry") })
		}
	})
	s.problem(s.do(call{path: "/v1/token", header: http.Header{"Origin": {"null"}}}), http.StatusForbidden, token.KindDenied)
}

func TestALargeBodyWithoutALength(t *testing.T) {
	s := newStack(t)
	res := s.do(call{
		method: "POST", path: "/v1/token", key: s.crm, body: `{"resource":"graph","claims":"` + strings.Repeat("A", maxBody) + `"}`,
		change: func(r *http.Request) { r.ContentLength = -1 },
	})
	s.problem(res, http.StatusRequestEntityTooLarge, token.KindInvalidRequest)
}

func TestHostsOf(t *testing.T) {
	tests := []struct {
		listen []string
		want   []string // nil: an error
	}{
		{[]string{"127.0.0.1:8477"}, []string{"127.0.0.1:8477", "localhost:8477"}},
		{[]string{"[::1]:1"}, []string{"[::1]:1", "localhost:1"}},
		{[]string{"127.0.0.1:1", "[::1]:1"}, []string{"127.0.0.1:1", "localhost:1", "[::1]:1"}},
		{[]string{"localhost:1"}, []string{"localhost:1", "127.0.0.1:1", "[::1]:1"}},
		{nil, nil},
		{[]string{"127.0.0.1"}, nil},
		{[]string{"0.0.0.0:1"}, nil},
		{[]string{"192.0.2.1:1"}, nil},
		{[]string{":1"}, nil},
		{[]string{"example.com:1"}, nil},
	}
	for _, tt := range tests {
		got, err := hostsOf(tt.listen)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("hostsOf(%q) = %q, %v; want %q", tt.listen, got, err, tt.want)
		}
	}
}
