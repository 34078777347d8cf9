package httpapi

import (
	"net/http"
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
