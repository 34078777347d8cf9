package entra

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// An answer shows the host's time and its certificate; each obstacle is told from
// the others.
func TestLookAt(t *testing.T) {
	srv, _, ca := tlsAuthority(t, http.NotFoundHandler())
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	gone, _, _ := tlsAuthority(t, http.NotFoundHandler())
	gone.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	roots, err := Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	direct := func(*http.Request) (*url.URL, error) { return nil, nil }
	via := func(raw string) func(*http.Request) (*url.URL, error) {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return http.ProxyURL(u)
	}
	for name, tt := range map[string]struct {
		cfg      Config
		base     string
		obstacle Obstacle
		sentence string
		issuer   string
	}{
		"it answers":   {Config{Roots: roots, Proxy: direct}, srv.URL, ObstacleNone, "", "Acme Co"},
		"not trusted":  {Config{Proxy: direct}, srv.URL, ObstacleTLS, `"Acme Co"`, "Acme Co"},
		"another name": {Config{Roots: roots, Proxy: direct}, strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), ObstacleTLS, "for another name", "Acme Co"},
		"no TLS":       {Config{Proxy: direct}, strings.Replace(plain.URL, "http:", "https:", 1), ObstacleTLS, "does not speak TLS", ""},
		"nobody":       {Config{Proxy: direct}, gone.URL, ObstacleHost, "cannot be connected to", ""},
		"no such name": {Config{Proxy: direct}, "https://" + strings.Repeat("n", 64) + ".invalid", ObstacleName, "cannot be resolved", ""},
		"no proxy":     {Config{Proxy: via(gone.URL)}, srv.URL, ObstacleProxy, "proxy cannot be reached", ""},
		"refused":      {Config{Proxy: via(refusing.URL)}, srv.URL, ObstacleProxy, "HTTP 403", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(tt.cfg)
			defer c.Close()
			l, err := c.LookAt(t.Context(), tt.base)
			if err != nil || l.Obstacle != tt.obstacle || (l.Problem == nil) != (tt.sentence == "") || IssuerOf(l.Certificate) != tt.issuer {
				t.Fatalf("%+v, issued by %q, %v", l, IssuerOf(l.Certificate), err)
			}
			if l.Problem != nil && !strings.Contains(l.Problem.Detail, tt.sentence) {
				t.Errorf("%q", l.Problem.Detail)
			}
			if l.Problem == nil && time.Since(l.On).Abs() > time.Minute {
				t.Errorf("its time is %v", l.On)
			}
			if (l.Proxy != "") != (tt.obstacle == ObstacleProxy) {
				t.Errorf("the proxy is %q", l.Proxy)
			}
		})
	}
	c := New(Config{})
	defer c.Close()
	if _, err := c.LookAt(t.Context(), "https://host with a blank"); err == nil {
		t.Error("no error for what is no address")
	}
}

// Nothing is sent, any answer will do, and its Date is the host's time.
func TestLookAtAsksForNothing(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var asked []string
	srv, _, ca := tlsAuthority(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		w.Header().Set("Date", noon.Format(http.TimeFormat))
		if len(asked) > 1 {
			w.Header().Set("Date", "yesterday")
		}
		http.Error(w, "nothing here", http.StatusNotFound)
	}))
	roots, err := Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{Roots: roots})
	defer c.Close()
	if l, err := c.LookAt(t.Context(), srv.URL); err != nil || l.Problem != nil || !l.On.Equal(noon) {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := c.LookAt(t.Context(), srv.URL); err != nil || l.Problem != nil || !l.On.IsZero() {
		t.Errorf("without a time: %+v, %v", l, err)
	}
	if got := strings.Join(asked, ", "); got != "HEAD / , HEAD / " {
		t.Errorf("asked %q", got)
	}
}

func TestObstacleOf(t *testing.T) {
	for want, err := range map[Obstacle]error{
		ObstacleName: &net.DNSError{IsNotFound: true},
		ObstacleHost: &net.DNSError{IsTimeout: true},
	} {
		if got := obstacleOf(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := IssuerOf(nil); got != "" {
		t.Errorf("nobody issued %q", got)
	}
	if shownIn(errors.New("reset")) != nil || shownIn(x509.UnknownAuthorityError{}) != nil {
		t.Error("a certificate where none was shown")
	}
}

// Every refusal of the registration is an error of its kind; a code that waits for
// a person is none, and no token is kept.
func TestCheckRegistration(t *testing.T) {
	pending := oauth(400, "authorization_pending")
	for name, tt := range map[string]struct {
		device answer
		polls  []answer
		code   int
		kind   token.Kind
		good   bool
	}{
		"allowed":           {ok(deviceDoc(900, 5)), []answer{pending}, 0, 0, true},
		"slow down":         {ok(deviceDoc(900, 5)), []answer{oauth(400, "slow_down")}, 0, 0, true},
		"a token":           {ok(deviceDoc(900, 5)), []answer{ok(tokenDoc(nil))}, 0, 0, true},
		"the other name":    {ok(deviceDoc(900, 5)), []answer{oauth(400, "unsupported_grant_type"), pending}, 0, 0, true},
		"no public client":  {ok(deviceDoc(900, 5)), []answer{oauth(401, "invalid_client", aadsts(7000218)...)}, 7000218, token.KindConfiguration, false},
		"not mobile":        {oauth(401, "invalid_client", aadsts(70002)...), nil, 70002, token.KindConfiguration, false},
		"unknown":           {oauth(400, "unauthorized_client", aadsts(700016)...), nil, 700016, token.KindConfiguration, false},
		"no device code":    {ok(map[string]any{"user_code": "A"}), nil, 0, token.KindInvalid, false},
		"a passing problem": {ok(deviceDoc(900, 5)), []answer{oauth(503, "temporarily_unavailable")}, 0, token.KindUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.device, a.tokens = tt.device, tt.polls
			err := a.client().CheckRegistration(t.Context(), testApp(), graph)
			if tt.good {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := problemOf(t, err); e.Kind != tt.kind || e.AADSTS != tt.code || strings.Contains(e.Error(), canary) {
				t.Errorf("%v: %+v", e, e)
			}
		})
	}
	a := newAuthority(t)
	app := testApp()
	app.Authority = "http://login.test"
	if err := a.client().CheckRegistration(t.Context(), app, graph); err == nil {
		t.Error("asked an authority without TLS")
	}
}

// Discover asks each time, and says where the tenant lives.
func TestDiscover(t *testing.T) {
	a := newAuthority(t)
	c := a.client()
	doc := discoveryDoc(testHost, testTenant)
	doc["cloud_instance_name"] = "MicrosoftOnline.us"
	a.discovery = ok(doc)
	for range 2 {
		got, err := c.Discover(t.Context(), testApp())
		if err != nil || got != (Tenant{ID: testTenant, Cloud: "microsoftonline.us"}) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := len(a.seen); n != 2 {
		t.Errorf("%d requests", n)
	}
	a.discovery = oauth(400, "invalid_tenant", aadsts(90002)...)
	if _, err := c.Discover(t.Context(), testApp()); problemOf(t, err).AADSTS != 90002 {
		t.Errorf("%v", err)
	}
	app := testApp()
	app.Tenant = ""
	if _, err := c.Discover(t.Context(), app); err == nil {
		t.Error("asked for no tenant")
	}
	doc["token_endpoint"] = "https://login.microsoftonline.us/x/oauth2/v2.0/token"
	if _, err := parseDiscovery([]byte(jsonText(doc)), "login.microsoftonline.com", testTenant); !errors.Is(err, errOtherCloud) {
		t.Errorf("another cloud: %v", err)
	}
}
