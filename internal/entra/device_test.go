package entra

import (
	"context"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// gaps are the pauses between the token requests, the first one since start.
func (a *authority) gaps(start time.Time) []time.Duration {
	var out []time.Duration
	for _, s := range a.requests("/token") {
		out = append(out, s.at.Sub(start))
		start = s.at
	}
	return out
}

func pending() answer { return oauth(400, "authorization_pending", aadsts(70016)...) }

func TestDeviceCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.tokens = []answer{pending(), pending(), ok(tokenDoc(nil))}
		c := a.client()
		start := time.Now()
		code, err := c.DeviceCode(t.Context(), testApp(), graph)
		if err != nil {
			t.Fatal(err)
		}
		if code.UserCode != "ABCD-EFGH" || code.VerificationURI != "https://login.test/device" || code.Interval != 5*time.Second ||
			code.ExpiresOn != start.Add(15*time.Minute) || code.Message != "Open https://login.test/device in any browser and enter the code ABCD-EFGH." {
			t.Errorf("code: %+v", code)
		}
		quiet(t, code)
		grant, err := code.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if grant.App != testApp() || grant.HomeAccountID != testHome || grant.Username != "Ops@contoso.com" || grant.Flow != token.FlowDevice ||
			grant.SignedInOn != now || grant.ObtainedOn != now || grant.RefreshToken.Reveal() != canary+"-refresh-2" {
			t.Errorf("grant: %+v", grant)
		}
		quiet(t, grant)
		if got, want := a.gaps(start), []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("gaps %v, want %v", got, want)
		}
		poll := a.requests("/token")[0].form
		if poll.Get("grant_type") != deviceGrant || poll.Get("device_code") != canary+"-device" || poll.Get("client_id") != testClient {
			t.Errorf("poll: %v", poll)
		}
		if f := a.requests("/devicecode")[0].form; f.Get("scope") != "https://graph.microsoft.com/.default openid offline_access profile" {
			t.Errorf("device request: %v", f)
		}
	})
}

// TestDeviceGrantByItsOtherName is an authority that knows only MSAL's name.
func TestDeviceGrantByItsOtherName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.tokens = []answer{oauth(400, "unsupported_grant_type"), pending(), ok(tokenDoc(nil))}
		c := a.client()
		start := time.Now()
		signIn := func() {
			t.Helper()
			code, err := c.DeviceCode(t.Context(), testApp(), graph)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := code.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		signIn()
		const s = time.Second
		if got, want := a.gaps(start), []time.Duration{5 * s, 5 * s, 5 * s}; !slices.Equal(got, want) {
			t.Errorf("gaps %v, want %v: the switch must keep the pace", got, want)
		}
		signIn() // begins with the name that worked
		a.mu.Lock()
		a.tokens = []answer{oauth(400, "invalid_request"), ok(tokenDoc(nil))}
		a.mu.Unlock()
		signIn() // the authority has learned the standard's name
		signIn()
		want := []string{
			deviceGrant, msalDeviceGrant, msalDeviceGrant,
			msalDeviceGrant,
			msalDeviceGrant, deviceGrant,
			deviceGrant,
		}
		if names := a.grantTypes(); !slices.Equal(names, want) {
			t.Errorf("grant types %q, want %q", names, want)
		}
	})
}

// grantTypes are the names of the grants that were asked for.
func (a *authority) grantTypes() []string {
	var names []string
	for _, r := range a.requests("/token") {
		names = append(names, r.form.Get("grant_type"))
	}
	return names
}

// TestDeviceGrantRefused: the other name is tried once, and not at all where the
// authority has shown that it knows the first.
func TestDeviceGrantRefused(t *testing.T) {
	refused := oauth(400, "invalid_request", aadsts(900144)...)
	tests := map[string]struct {
		tokens []answer
		names  []string
	}{
		"at once": {[]answer{refused}, []string{deviceGrant, msalDeviceGrant}},
		"later":   {[]answer{pending(), refused}, []string{deviceGrant, deviceGrant}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.tokens = tt.tokens
				code, err := a.client().DeviceCode(t.Context(), testApp(), graph)
				if err != nil {
					t.Fatal(err)
				}
				_, err = code.Wait(t.Context())
				if e := problemOf(t, err); e.Kind != token.KindConfiguration {
					t.Errorf("%v: %q", e.Kind, e.Detail)
				}
				if names := a.grantTypes(); !slices.Equal(names, tt.names) {
					t.Errorf("grant types %q, want %q", names, tt.names)
				}
			})
		})
	}
}

func TestDeviceCodePace(t *testing.T) {
	const s = time.Second
	reset := answer{err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}
	tests := map[string]struct {
		interval any
		tokens   []answer
		want     []time.Duration
	}{
		"quick":         {1, []answer{pending(), pending(), pending(), ok(tokenDoc(nil))}, []time.Duration{s, s, s, s}},
		"no interval":   {nil, []answer{pending(), ok(tokenDoc(nil))}, []time.Duration{5 * s, 5 * s}},
		"string":        {"2", []answer{pending(), ok(tokenDoc(nil))}, []time.Duration{2 * s, 2 * s}},
		"slow":          {17, []answer{pending(), ok(tokenDoc(nil))}, []time.Duration{17 * s, 17 * s}},
		"slow_down":     {1, []answer{oauth(400, "slow_down"), oauth(400, "slow_down"), pending(), ok(tokenDoc(nil))}, []time.Duration{s, 6 * s, 11 * s, 11 * s}},
		"slow_down 429": {1, []answer{oauth(429, "slow_down"), ok(tokenDoc(nil))}, []time.Duration{s, 6 * s}},
		"faults": {
			5,
			[]answer{
				reset,
				{status: 503},
				{status: 200, body: "<html>"},
				{status: 407},
				{status: 302},
				pending(), reset, ok(tokenDoc(nil)),
			},
			[]time.Duration{5 * s, 5 * s, 10 * s, 20 * s, 30 * s, 30 * s, 5 * s, 5 * s},
		},
		"Retry-After":  {5, []answer{{status: 429, header: map[string][]string{"Retry-After": {"40"}}}, ok(tokenDoc(nil))}, []time.Duration{5 * s, 40 * s}},
		"hang":         {5, []answer{{hang: true}, ok(tokenDoc(nil))}, []time.Duration{5 * s, 20 * s}}, // 15 s of time-out, 5 s of pause
		"proxy's JSON": {5, []answer{{status: 200, body: `{"blocked":true}`}, ok(tokenDoc(nil))}, []time.Duration{5 * s, 5 * s}},
		"error in 200": {5, []answer{oauth(200, "invalid_grant"), ok(tokenDoc(nil))}, []time.Duration{5 * s, 5 * s}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.device, a.tokens = ok(deviceDoc(900, tt.interval)), tt.tokens
				start := time.Now()
				code, err := a.client().DeviceCode(t.Context(), testApp(), graph)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := code.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := a.gaps(start); !slices.Equal(got, tt.want) {
					t.Errorf("gaps %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestDeviceCodeEnds(t *testing.T) {
	tests := map[string]struct {
		answer answer
		kind   token.Kind
		detail string
	}{
		"declined":         {oauth(400, "authorization_declined"), token.KindDeclined, "The person declined the sign-in; start it again when they are ready."},
		"declined consent": {oauth(400, "authorization_declined", aadsts(65004)...), token.KindDeclined, "The person declined the sign-in; start it again when they are ready."},
		"declined, 70018":  {oauth(400, "authorization_declined", aadsts(70018)...), token.KindDeclined, "The person declined the sign-in; start it again when they are ready."},
		"expired, bare":    {oauth(400, "expired_token"), token.KindExpired, helpExpired},
		"code_expired":     {oauth(400, "code_expired", aadsts(70019)...), token.KindExpired, helpExpired},
		"access_denied":    {oauth(400, "access_denied"), token.KindDeclined, "declined"},
		"admin consent":    {oauth(400, "access_denied", aadsts(90094)...), token.KindPolicyBlocked, "administrator"},
		"consent declined": {oauth(400, "access_denied", aadsts(65004)...), token.KindDeclined, "consent"},
		"expired_token":    {oauth(400, "expired_token", aadsts(70020)...), token.KindExpired, "You don't have access to this"},
		"bad code":         {oauth(400, "bad_verification_code"), token.KindExpired, "start the sign-in again"},
		"public client":    {oauth(401, "invalid_client", aadsts(7000218)...), token.KindConfiguration, "Allow public client flows"},
		"policy":           {oauth(400, "invalid_grant", merge(sub("message_only"), aadsts(53003))...), token.KindPolicyBlocked, "Conditional Access"},
		"no refresh token": {ok(tokenDoc(map[string]any{"refresh_token": nil})), token.KindConfiguration, "offline_access"},
		"nobody":           {ok(tokenDoc(map[string]any{"id_token": nil, "client_info": nil})), token.KindInvalid, "who signed in"},
		"no access token":  {ok(tokenDoc(map[string]any{"access_token": nil})), token.KindInvalid, "has no access_token), and it gives only one; start the sign-in again"},
		"no expires_in":    {ok(tokenDoc(map[string]any{"expires_in": nil})), token.KindInvalid, "no usable expires_in), and it gives only one; start the sign-in again"},
		"no bearer":        {ok(tokenDoc(map[string]any{"token_type": "pop"})), token.KindInvalid, "start the sign-in again"},
		"unknown":          {oauth(400, "something_new"), token.KindInvalid, "does not know"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.tokens = []answer{pending(), tt.answer}
				code, err := a.client().DeviceCode(t.Context(), testApp(), graph)
				if err != nil {
					t.Fatal(err)
				}
				_, err = code.Wait(t.Context())
				e := problemOf(t, err)
				if e.Kind != tt.kind || !strings.Contains(e.Detail, tt.detail) {
					t.Errorf("%v: %q", e.Kind, e.Detail)
				}
				if n := len(a.requests("/token")); n != 2 {
					t.Errorf("%d polls", n)
				}
			})
		})
	}
}

func TestDeviceCodeExpires(t *testing.T) {
	tests := map[string]struct {
		tokens []answer
		detail string
	}{
		"unused":      {[]answer{pending()}, "You don't have access to this"},
		"unreachable": {[]answer{pending(), {status: 503}}, "could not be asked"},
		"hanging":     {[]answer{{hang: true}}, "could not be asked"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.tokens = tt.tokens
				start := time.Now()
				code, err := a.client().DeviceCode(t.Context(), testApp(), graph)
				if err != nil {
					t.Fatal(err)
				}
				_, err = code.Wait(t.Context())
				e := problemOf(t, err)
				if e.Kind != token.KindExpired || !strings.Contains(e.Detail, tt.detail) {
					t.Errorf("%v: %q", e.Kind, e.Detail)
				}
				if got := time.Since(start); got != 15*time.Minute {
					t.Errorf("took %v", got)
				}
			})
		})
	}
}

func TestDeviceCodeGoesOnAfterItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.tokens = []answer{pending(), {status: 503}, {status: 503}, ok(tokenDoc(nil))}
		start := time.Now()
		code, err := a.client().DeviceCode(t.Context(), testApp(), graph)
		if err != nil {
			t.Fatal(err)
		}
		if code.Fault() != nil {
			t.Errorf("fault before the first poll: %v", code.Fault())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		_, err = code.Wait(ctx)
		if e := problemOf(t, err); e.Kind != token.KindTimeout {
			t.Errorf("kind = %v", e.Kind)
		}
		if f := code.Fault(); f == nil || f.Kind != token.KindUnavailable {
			t.Errorf("fault = %v", f)
		}
		if _, err := code.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		const s = time.Second
		if got, want := a.gaps(start), []time.Duration{5 * s, 5 * s, 5 * s, 10 * s}; !slices.Equal(got, want) {
			t.Errorf("gaps %v, want %v: the pace must outlive a Wait", got, want)
		}
	})
}

func TestDeviceCodeCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		a.tokens = []answer{pending()}
		code, err := a.client().DeviceCode(t.Context(), testApp(), graph)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, cancel)
		start := time.Now()
		_, err = code.Wait(ctx)
		if e := problemOf(t, err); e.Kind != token.KindCancelled || time.Since(start) != 7*time.Second {
			t.Errorf("%v after %v", e.Kind, time.Since(start))
		}
	})
}

func TestDeviceCodeStartFails(t *testing.T) {
	tests := map[string]struct {
		answer answer
		kind   token.Kind
		detail string
	}{
		"700016":          {oauth(400, "unauthorized_client", aadsts(700016)...), token.KindConfiguration, "client_id"},
		"unreachable":     {answer{err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, token.KindUnavailable, "cannot be connected"},
		"portal":          {answer{status: 200, body: "<html>"}, token.KindInvalid, "captive portal"},
		"no user code":    {ok(map[string]any{"device_code": canary, "verification_uri": "https://x.test", "expires_in": 9}), token.KindInvalid, "user_code"},
		"http page":       {ok(map[string]any{"device_code": canary, "user_code": "A", "verification_uri": "http://x.test", "expires_in": 9}), token.KindInvalid, "https"},
		"no expiry":       {ok(deviceDoc(nil, 5)), token.KindInvalid, "expires_in"},
		"404 of a router": {answer{status: 404, body: "not found"}, token.KindInvalid, "404"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.device = tt.answer
			_, err := a.client().DeviceCode(t.Context(), testApp(), graph)
			e := problemOf(t, err)
			if e.Kind != tt.kind || !strings.Contains(e.Detail, tt.detail) {
				t.Errorf("%v: %q", e.Kind, e.Detail)
			}
		})
	}
}

// Who signed in, from answers with less and less in them.
func TestGrantIdentity(t *testing.T) {
	tests := map[string]struct {
		edit           map[string]any
		home, username string
	}{
		"Entra":                   {nil, testHome, "Ops@contoso.com"},
		"upn":                     {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "upn": "u@x", "email": "e@x"})}, testHome, "u@x"},
		"email":                   {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "email": "e@x"}), "client_info": nil}, "s", "e@x"},
		"sub only":                {map[string]any{"id_token": jwt(map[string]any{"sub": "s"}), "client_info": nil}, "s", "s"},
		"no id":                   {map[string]any{"id_token": nil}, testHome, testHome},
		"control":                 {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "preferred_username": "a\x1b[31m\nb@x"})}, testHome, "a[31mb@x"},
		"umlaut":                  {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "preferred_username": "Jürgen@Köln.example"})}, testHome, "Jürgen@Köln.example"},
		"other script":            {map[string]any{"id_token": jwt(map[string]any{"sub": "山田", "preferred_username": "山田@例え.jp"}), "client_info": nil}, "山田", "山田@例え.jp"},
		"invisible":               {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "preferred_username": "\u202ea\u200bb\u0085@x "})}, testHome, "ab@x"},
		"nothing to read":         {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "preferred_username": "\u200b\n", "upn": "u@x"})}, testHome, "u@x"},
		"tid of another provider": {map[string]any{"id_token": jwt(map[string]any{"sub": "s", "tid": "99999999-2222-3333-4444-555555555555"})}, testHome, "s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := parseTokenAnswer([]byte(jsonText(tokenDoc(tt.edit))), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			g, err := newGrant(testApp(), token.FlowDevice, a, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if g.HomeAccountID != tt.home || g.Username != tt.username || g.App.Tenant != testTenant {
				t.Errorf("%+v", g)
			}
		})
	}
}

// At Microsoft the tenant in the ID token is the one that was asked for.
func TestGrantTenant(t *testing.T) {
	app := testApp()
	app.Authority = "https://login.microsoftonline.com"
	a, err := parseTokenAnswer([]byte(jsonText(tokenDoc(nil))), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	app.Tenant = "organizations"
	if g, err := newGrant(app, token.FlowDevice, a, time.Now()); err != nil || g.App.Tenant != testTenant {
		t.Errorf("%+v, %v", g, err)
	}
	app.Tenant = "99999999-2222-3333-4444-555555555555"
	_, err = newGrant(app, token.FlowDevice, a, time.Now())
	if e := problemOf(t, err); e.Kind != token.KindConfiguration {
		t.Errorf("kind = %v", e.Kind)
	}
}

// TestWhoTriesAgain: only a renewal is repeated by the broker, and only by one
// that stays, so no other error may promise it.
func TestWhoTriesAgain(t *testing.T) {
	faults := map[string]answer{
		"503":       {status: 503},
		"429":       {status: 429},
		"hang":      {hang: true},
		"reset":     {err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}},
		"transient": oauth(400, "temporarily_unavailable", aadsts(90033)...),
		"unusable":  {status: 200, body: "{}"},
	}
	const promise = "by itself"
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				a.device, a.tokens = fault, []answer{fault}
				c := a.client()
				_, err := c.DeviceCode(t.Context(), testApp(), graph)
				if e := problemOf(t, err); strings.Contains(e.Detail, promise) || !strings.Contains(e.Detail, "try again later") {
					t.Errorf("at the start of a sign-in: %q", e.Detail)
				}
				_, err = c.Redeem(t.Context(), testGrant(), graph, "")
				if e := problemOf(t, err); !strings.Contains(e.Detail, "try again later (a running broker does so by itself)") {
					t.Errorf("at a renewal: %q", e.Detail)
				}
				a.device = ok(deviceDoc(20, 5))
				code, err := c.DeviceCode(t.Context(), testApp(), graph)
				if err != nil {
					t.Fatal(err)
				}
				_, err = code.Wait(t.Context())
				if e := problemOf(t, err); e.Kind != token.KindExpired || strings.Contains(e.Detail, promise) {
					t.Errorf("while polling: %v %q", e.Kind, e.Detail)
				}
			})
		})
	}
}
