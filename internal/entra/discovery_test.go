package entra

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestResolveTenant(t *testing.T) {
	tests := map[string]struct {
		tenant string
		doc    map[string]any
		want   string
		asked  int
	}{
		"GUID":               {strings.ToUpper(testTenant), nil, testTenant, 0},
		"domain":             {"Contoso.onmicrosoft.com", discoveryDoc(testHost, testTenant), testTenant, 1},
		"domain with token":  {"mytokens.onmicrosoft.com", discoveryDoc(testHost, testTenant), testTenant, 1},
		"no GUID known":      {"realm", discoveryDoc(testHost, "realm"), "realm", 1},
		"issuer placeholder": {"organizations", map[string]any{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0", "token_endpoint": "https://login.test/organizations/oauth2/v2.0/token", "authorization_endpoint": "https://login.test/organizations/oauth2/v2.0/authorize"}, "organizations", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.discovery = ok(tt.doc)
			app := testApp()
			app.Tenant = tt.tenant
			got, err := a.client().ResolveTenant(t.Context(), app)
			if err != nil {
				t.Fatal(err)
			}
			if got.Tenant != tt.want || got.Authority != app.Authority || got.ClientID != app.ClientID {
				t.Errorf("%+v", got)
			}
			if n := len(a.seen); n != tt.asked {
				t.Errorf("%d requests, want %d", n, tt.asked)
			}
		})
	}
}

// MSAL replaces every "token" of the token endpoint's address by "devicecode";
// the seam sends the request where discovery says.
func TestTenantWithTokenInItsName(t *testing.T) {
	a := newAuthority(t)
	a.discovery = ok(discoveryDoc(testHost, "mytokens"))
	app := testApp()
	app.Tenant = "mytokens"
	if _, err := a.client().DeviceCode(t.Context(), app, graph); err != nil {
		t.Fatal(err)
	}
	if got := a.requests("/devicecode"); len(got) != 1 || got[0].url != "https://login.test/mytokens/oauth2/v2.0/devicecode" {
		t.Errorf("%+v", a.seen)
	}
}

func TestDeviceEndpointFromDiscovery(t *testing.T) {
	a := newAuthority(t)
	doc := discoveryDoc(testHost, testTenant)
	doc["device_authorization_endpoint"] = "https://login.test/elsewhere/devicecode"
	a.discovery = ok(doc)
	if _, err := a.client().DeviceCode(t.Context(), testApp(), graph); err != nil {
		t.Fatal(err)
	}
	if got := a.requests("/devicecode"); len(got) != 1 || got[0].url != "https://login.test/elsewhere/devicecode" {
		t.Errorf("%+v", a.seen)
	}
}

func edited(edit map[string]any) map[string]any {
	doc := discoveryDoc(testHost, testTenant)
	maps.Copy(doc, edit)
	return doc
}

func TestDiscoveryRefused(t *testing.T) {
	tests := map[string]struct {
		answer answer
		kind   token.Kind
		detail string
	}{
		"token endpoint elsewhere": {ok(edited(map[string]any{"token_endpoint": "https://evil.test/token"})), token.KindInvalid, "token_endpoint"},
		"token endpoint http":      {ok(edited(map[string]any{"token_endpoint": "http://login.test/token"})), token.KindInvalid, "token_endpoint"},
		"token endpoint userinfo":  {ok(edited(map[string]any{"token_endpoint": "https://u:p@login.test/token"})), token.KindInvalid, "token_endpoint"},
		"other port":               {ok(edited(map[string]any{"token_endpoint": "https://login.test:8443/token"})), token.KindInvalid, "token_endpoint"},
		"authorize elsewhere":      {ok(edited(map[string]any{"authorization_endpoint": "https://evil.test/a"})), token.KindInvalid, "authorization_endpoint"},
		"device elsewhere":         {ok(edited(map[string]any{"device_authorization_endpoint": "https://evil.test/d"})), token.KindInvalid, "device_authorization_endpoint"},
		"foreign issuer":           {ok(edited(map[string]any{"issuer": "https://evil.test/x"})), token.KindInvalid, "issuer"},
		"no issuer":                {ok(edited(map[string]any{"issuer": nil})), token.KindInvalid, "issuer"},
		"portal":                   {answer{status: 200, body: "<html>"}, token.KindInvalid, "captive portal"},
		"redirect":                 {answer{status: 302}, token.KindInvalid, "captive portal"},
		"404":                      {answer{status: 404}, token.KindConfiguration, "authority"},
		"no such tenant":           {oauth(400, "invalid_tenant", aadsts(90002)...), token.KindConfiguration, "tenant"},
		"503":                      {answer{status: 503}, token.KindUnavailable, "503"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.discovery = tt.answer
			r, err := a.client().Redeem(t.Context(), testGrant(), graph, "")
			e := problemOf(t, err)
			if e.Kind != tt.kind || !strings.Contains(e.Detail, tt.detail) {
				t.Errorf("%v: %q", e.Kind, e.Detail)
			}
			if len(a.seen) != 1 {
				t.Errorf("%d requests, want discovery alone", len(a.seen))
			}
			if r.Rotated || r.RefreshToken.IsZero() {
				t.Errorf("%+v", r)
			}
		})
	}
}

// The wire itself refuses to leave the host, whatever discovery says.
func TestWireStaysAtItsHost(t *testing.T) {
	a := newAuthority(t)
	w := a.client().wire
	for _, raw := range []string{"http://login.test/token", "https://evil.test/token", "https://u@login.test/token", "https://login.test:444/token", "://"} {
		_, _, e := w.send(t.Context(), request{step: stepRedeem, host: testHost, url: raw, form: map[string][]string{"refresh_token": {canary}}})
		if e == nil || e.Kind != token.KindInvalid {
			t.Errorf("%s: %v", raw, e)
		}
	}
	if len(a.seen) != 0 {
		t.Errorf("sent: %+v", a.seen)
	}
}

func TestDiscoveryOncePerAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		c := a.client()
		a.discovery = answer{hang: true}
		leader, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if e := problemOf(t, c.Warm(leader, testApp())); e.Kind != token.KindCancelled {
				t.Errorf("leader: %v", e.Kind)
			}
		})
		for range 50 {
			wg.Go(func() {
				if e := problemOf(t, c.Warm(t.Context(), testApp())); e.Kind != token.KindTimeout {
					t.Errorf("waiter: %v", e.Kind)
				}
			})
		}
		synctest.Wait()
		cancel() // the leader's end is not the others'
		wg.Wait()
		if n := len(a.seen); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestDiscoveryIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		c := a.client()
		for _, step := range []struct {
			pass   time.Duration
			answer answer
			asked  int
		}{
			{0, a.discovery, 1},
			{23 * time.Hour, a.discovery, 1},
			{2 * time.Hour, answer{status: 503}, 2}, // the old one stays in use
			{time.Hour, a.discovery, 3},
		} {
			time.Sleep(step.pass)
			a.mu.Lock()
			a.discovery = step.answer
			a.mu.Unlock()
			if err := c.Warm(t.Context(), testApp()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := len(a.seen); n != step.asked {
				t.Errorf("%d requests, want %d", n, step.asked)
			}
		}
	})
}

// Nobody waits for a discovery document to be renewed: the old one is good
// until there is a new one, and a renewal that hangs runs once.
func TestOldDiscoveryIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		c := a.client()
		defer c.Close()
		if err := c.Warm(t.Context(), testApp()); err != nil {
			t.Fatal(err)
		}
		discoveries := func() int { return len(a.requests("/openid-configuration")) }
		redeem := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel() // a caller that is done ends no renewal
			start := time.Now()
			if _, err := c.Redeem(ctx, testGrant(), graph, ""); err != nil || time.Since(start) != 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		a.mu.Lock()
		a.discovery = answer{hang: true}
		a.mu.Unlock()
		time.Sleep(discoveryAge)
		for range 5 {
			redeem()
		}
		synctest.Wait()
		if n := discoveries(); n != 2 {
			t.Errorf("%d discovery requests, want one renewal", n)
		}
		time.Sleep(defaultTimeout) // the renewal has failed
		redeem()
		synctest.Wait()
		if n := discoveries(); n != 2 {
			t.Errorf("%d discovery requests right after a failed renewal", n)
		}
		doc := discoveryDoc(testHost, testTenant)
		doc["token_endpoint"] = "https://login.test/new/token"
		a.mu.Lock()
		a.discovery = ok(doc)
		a.mu.Unlock()
		time.Sleep(discoveryPause)
		redeem()
		synctest.Wait()
		redeem()
		got := a.requests("/token")
		if n := discoveries(); n != 3 || got[len(got)-1].url != "https://login.test/new/token" {
			t.Errorf("%d discovery requests, last token request to %s", n, got[len(got)-1].url)
		}
	})
}

// Close leaves no renewal behind, and those who wait for a first document go.
func TestCloseEndsDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		c := a.client()
		a.discovery = answer{hang: true}
		failed := make(chan error, 1)
		go func() { failed <- c.Warm(t.Context(), testApp()) }()
		synctest.Wait()
		start := time.Now()
		c.Close()
		if e := problemOf(t, <-failed); e.Kind != token.KindCancelled || time.Since(start) != 0 {
			t.Errorf("%v after %v", e.Kind, time.Since(start))
		}
		if e := problemOf(t, c.Warm(t.Context(), testApp())); e.Kind != token.KindCancelled || time.Since(start) != 0 {
			t.Errorf("after Close: %v after %v", e.Kind, time.Since(start))
		}
	})
}

func TestCheckApp(t *testing.T) {
	c := New(Config{Hosts: []string{"Login.Private.test:8443"}})
	good := []token.App{
		{Authority: "https://login.microsoftonline.com", Tenant: testTenant, ClientID: testClient},
		{Authority: "https://login.microsoftonline.us/", Tenant: "contoso.com", ClientID: testClient},
		{Authority: "https://LOGIN.partner.microsoftonline.cn", Tenant: "x", ClientID: testClient},
		{Authority: "https://login.private.test:8443", Tenant: "realm", ClientID: "any-client"},
	}
	for _, app := range good {
		if err := c.checkApp("x", app); err != nil {
			t.Errorf("%+v: %v", app, err)
		}
	}
	base := good[0]
	bad := map[string]func(*token.App){
		"no authority": func(a *token.App) { a.Authority = "" },
		"http":         func(a *token.App) { a.Authority = "http://login.microsoftonline.com" },
		"userinfo":     func(a *token.App) { a.Authority = "https://u:p@login.microsoftonline.com" },
		"path":         func(a *token.App) { a.Authority += "/common" },
		"query":        func(a *token.App) { a.Authority += "?x" },
		"port":         func(a *token.App) { a.Authority += ":444" },
		"other host":   func(a *token.App) { a.Authority = "https://login.microsoftonline.com.evil.test" },
		"no tenant":    func(a *token.App) { a.Tenant = "" },
		"two segments": func(a *token.App) { a.Tenant = "a/b" },
		"dots":         func(a *token.App) { a.Tenant = ".." },
		"adfs":         func(a *token.App) { a.Tenant = "ADFS" },
		"dsts":         func(a *token.App) { a.Tenant = "dstsv2" },
		"no client":    func(a *token.App) { a.ClientID = "" },
		"client space": func(a *token.App) { a.ClientID = "a b" },
	}
	for name, edit := range bad {
		app := base
		edit(&app)
		if e := problemOf(t, c.checkApp("x", app)); e.Kind != token.KindConfiguration {
			t.Errorf("%s: %v", name, e.Kind)
		}
	}
}

func TestReadable(t *testing.T) {
	tests := []struct {
		s    string
		n    int
		want string
	}{
		{"ops@contoso.com", 256, "ops@contoso.com"},
		{" jürgen@x ", 256, "jürgen@x"},
		{"a\x00b\x7fc\u0085d\u200de\ufffdf\xff", 256, "abcdef"},
		{"a b\u00a0c\td", 256, "a bcd"},
		{"ääää", 5, "ää"}, // never half a letter
		{"", 256, ""},
	}
	for _, tt := range tests {
		if got := readable(tt.s, tt.n); got != tt.want {
			t.Errorf("readable(%q, %d) = %q, want %q", tt.s, tt.n, got, tt.want)
		}
	}
	if got := printable("jürgen", 10); got != "jrgen" {
		t.Errorf("printable lets %q pass into an address", got)
	}
}
