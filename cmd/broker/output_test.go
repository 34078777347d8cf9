package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 s":         0,
		"59 s":        59*time.Second + 900*time.Millisecond,
		"1 min":       time.Minute,
		"59 min":      time.Hour - time.Second,
		"1 h":         time.Hour,
		"23 h 59 min": 24*time.Hour - time.Second,
		"1 d":         24 * time.Hour,
		"6 d 23 h":    7*24*time.Hour - time.Minute,
		"90 d":        90 * 24 * time.Hour,
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ got, want string }{
		{since(now, time.Time{}), ""},
		{since(now, now.Add(-3*time.Hour)), "3 h ago"},
		{until(now, time.Time{}), ""},
		{until(now, now.Add(-time.Second)), "over"},
		{until(now, now.Add(25*time.Hour)), "in 1 d 1 h"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	if !epoch(0).IsZero() || epoch(1).Unix() != 1 {
		t.Error("epoch")
	}
}

func TestAccountsPage(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	list := []httpapi.Account{
		{
			Account: "ops", Username: "ops@contoso.com", State: httpapi.AccountStateOk, Persisted: true,
			SignedInAt: now.Add(-21 * 24 * time.Hour), LastRefreshAt: now.Add(-3 * time.Minute),
			RefreshTokenAt: now.Add(-3 * time.Minute), PredictedEndAt: now.Add(90 * 24 * time.Hour),
			Resources: []httpapi.AccountResource{
				{Resource: "ews", ExpiresOn: now.Add(-time.Second).Unix()},
				{Resource: "graph", ExpiresOn: now.Add(54 * time.Minute).Unix()},
				{Resource: "imap"},
			},
		},
		{
			Account: "it\x1b", Username: "it@contoso.com", State: httpapi.AccountStateDegraded, NextTryAt: now.Add(time.Minute),
			SignedInAt: now.Add(-time.Hour),
			Problem:    httpapi.Problem{Code: httpapi.ProblemCodeThrottled, Detail: "Entra asked to slow down.", RetryAfter: 30},
		},
		{
			Account: "late", State: httpapi.AccountStateDegraded, NextTryAt: now.Add(-time.Second), SignedInAt: now.Add(-time.Hour), Persisted: true,
			Problem: httpapi.Problem{Code: httpapi.ProblemCodeUpstreamTimeout, Detail: "Entra is slow."},
		},
		{
			Account: "new", State: httpapi.AccountStateSignInRequired,
			Problem: httpapi.Problem{Code: httpapi.ProblemCodeSignInRequired, Detail: "Sign in."},
		},
	}
	var out bytes.Buffer
	if err := showAccounts(&out, "", now, list); err != nil {
		t.Fatal(err)
	}
	want := `ACCOUNT  USER             STATE             SIGNED IN  LAST REFRESH  TOKEN AGE  ENDS     RESOURCES
ops      ops@contoso.com  ok                21 d ago   3 min ago     3 min      in 90 d  ews over, graph 54 min, imap
it       it@contoso.com   degraded          1 h ago    -             -          -        -
late     -                degraded          1 h ago    -             -          -        -
new      -                sign_in_required  -          -             -          -        -
it: Entra asked to slow down. The broker tries again in 1 min.
it: the current refresh token is not in the secret store yet.
late: Entra is slow. The broker tries again now.
new: Sign in.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestStatusPage(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	err := showStatus(&out, now, httpapi.Status{
		Version: "v1.2.3", Pid: 4711, UptimeSeconds: 7500, Listen: []string{"127.0.0.1:8477"}, ConfigFile: "/etc/broker.yaml",
		StateDir: "/var/lib/broker", Cloud: "global", Consumers: 2, SignInsPending: 1,
		Store:    httpapi.StoreStatus{Kind: httpapi.StoreStatusKindFile, Problem: httpapi.Problem{Detail: "The disk is full."}},
		Warnings: []string{"The clock is wrong."},
		Problems: []httpapi.LastProblem{{
			At: now.Add(-2 * time.Minute), Account: "ops", Resource: "graph",
			Problem: httpapi.Problem{Code: httpapi.ProblemCodeUpstreamTimeout, Detail: "Entra is slow."},
		}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	want := `M365 Token Broker v1.2.3 runs since 2 h 5 min (process 4711)
  address    http://127.0.0.1:8477
  config     /etc/broker.yaml
  state      /var/lib/broker
  cloud      global
  store      file  NOT USABLE: The disk is full.
  consumers  2
  sign-ins   1 waiting for a person

Accounts
  none is signed in; run ` + "`broker login`" + `

Warnings
  The clock is wrong.

Last problems
  2 min ago  ops graph: Entra is slow. (upstream-timeout)
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestXOAuth2(t *testing.T) {
	got, err := base64.StdEncoding.DecodeString(xoauth2("ops@contoso.com", "TOKEN"))
	if want := "user=ops@contoso.com\x01auth=Bearer TOKEN\x01\x01"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAzCLI(t *testing.T) {
	on := time.Date(2026, 11, 22, 12, 34, 56, 0, time.Local)
	got := asAzCLI(httpapi.Token{AccessToken: "T", ExpiresOn: on.Unix(), TokenType: httpapi.TokenTokenTypeBearer}, "tid")
	want := azCLIToken{AccessToken: "T", LocalExpiry: "2026-11-22 12:34:56.000000", ExpiresOn: on.Unix(), Tenant: "tid", TokenType: "Bearer"}
	if got != want {
		t.Errorf("got %+v", got)
	}
}

func TestUTF8Locale(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LC_CTYPE": "C.utf8", "LANG": "C"}, true},
		{nil, false},
	} {
		if got := utf8Locale(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}

func TestAsker(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\r\n": true, "yes": true, "n\n": false, "\n": false, "yep\n": false} {
		var out bytes.Buffer
		o := &options{env: environment{stdin: strings.NewReader(answer), stderr: &out}}
		if got, err := o.asker().confirm("Sure?"); err != nil || got != want || out.String() != "Sure? [y/N] " {
			t.Errorf("%q: %v, %v, %q", answer, got, err, out.String())
		}
	}
	o := &options{env: environment{stdin: strings.NewReader(""), stderr: &bytes.Buffer{}}}
	if _, err := o.asker().confirm("Sure?"); err == nil {
		t.Error("no answer is an answer")
	}
}
