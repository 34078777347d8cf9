package entra

import (
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

func FuzzTokenAnswer(f *testing.F) {
	f.Add([]byte(jsonText(tokenDoc(nil))))
	f.Add([]byte(jsonText(deviceDoc(900, "5"))))
	f.Add([]byte(jsonText(discoveryDoc(testHost, testTenant))))
	f.Add([]byte(oauth(400, "invalid_grant", aadsts(50173)...).body))
	f.Add([]byte(`{"expires_in":"NaN","access_token":"x"}`))
	f.Add([]byte("null"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if a, err := parseTokenAnswer(body, time.Unix(1.7e9, 0)); err == nil {
			if a.access.IsZero() || a.expiresIn <= 0 || a.expiresIn > maxLifetime || a.refreshIn < 0 || a.refreshIn >= a.expiresIn {
				t.Errorf("accepted: %+v", a)
			}
			if !isTokenText(a.access.Reveal()) || !isTokenText(a.refresh.Reveal()) {
				t.Error("accepted a token that is no token")
			}
			if readable(a.identity.username, 1000) != a.identity.username {
				t.Errorf("username %q", a.identity.username)
			}
		}
		if a, err := parseDeviceAnswer(body); err == nil {
			if a.interval <= 0 || a.expiresIn <= 0 || !isHTTPS(a.verificationURI) || printable(a.message(), 4000) != a.message() {
				t.Errorf("accepted: %+v", a)
			}
		}
		if e, ok := parseOAuthError(body); ok {
			for _, s := range []string{e.code, e.subError} {
				if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || len(s) > 48 {
					t.Errorf("word %q", s)
				}
			}
			if _, err := token.ParseClaims(e.claims); e.claims != "" && err != nil {
				t.Errorf("claims %q", e.claims)
			}
		}
		if e, err := parseDiscovery(body, testHost, testTenant); err == nil && !strings.HasPrefix(strings.ToLower(e.token), "https://login.test") {
			t.Errorf("token endpoint %q", e.token)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Wed, 21 Oct 2037 07:28:00 GMT")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, time.Unix(1.7e9, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %v", s, d)
		}
	})
}
