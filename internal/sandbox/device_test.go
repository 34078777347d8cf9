package sandbox

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDeviceCodeOverTLS(t *testing.T) {
	c := overTLS(t, Config{})
	d := c.deviceCode(graphScope)
	if d.Interval != 5 || d.deviceAnswer.ExpiresIn != 900 || d.VerificationURI != c.s.URL()+"/devicelogin" || len(d.UserCode) != userCodeLength {
		t.Fatalf("unexpected answer: %s", d.Raw)
	}
	if !strings.Contains(d.Message, d.UserCode) || !strings.Contains(d.Message, d.VerificationURI) {
		t.Errorf("the message %q lacks the code or the page", d.Message)
	}
	wantError(t, c.poll(d.DeviceCode), http.StatusBadRequest, "authorization_pending", 70016)

	typed := strings.ToLower(d.UserCode[:4]) + "-" + d.UserCode[4:]
	if err := c.s.Approve(typed, "BOB@contoso.example"); err != nil {
		t.Fatal(err)
	}
	a := c.poll(d.DeviceCode)
	if a.Status != http.StatusOK || a.AccessToken == "" || a.RefreshToken == "" || a.IDToken == "" || a.ClientInfo == "" {
		t.Fatalf("poll after approval: %d %s", a.Status, a.Raw)
	}
	if got := claimsOf(t, a.IDToken)["preferred_username"]; got != "bob@contoso.example" {
		t.Errorf("signed in as %v", got)
	}
	wantError(t, c.poll(d.DeviceCode), http.StatusBadRequest, "invalid_grant", 54005)
	wantError(t, c.poll("unknown"), http.StatusBadRequest, "bad_verification_code", 70018)
	if err := c.s.Approve(d.UserCode, "bob@contoso.example"); err == nil {
		t.Error("a code that was redeemed could be approved again")
	}
}

func TestDeviceCodeTakesBothGrantNames(t *testing.T) {
	c := inMemory(t, Config{AutoApprove: true})
	for _, grant := range []string{grantDevice, grantDeviceURN} {
		a := c.mustPost("token", url.Values{"grant_type": {grant}, "device_code": {c.deviceCode(graphScope).DeviceCode}})
		if a.Status != http.StatusOK || a.ClientInfo != "" {
			t.Errorf("%s: %d %s", grant, a.Status, a.Raw)
		}
	}
}

func TestDeviceCodeDeclinedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, Config{DeviceCodeLifetime: 10 * time.Minute, Interval: 7 * time.Second})
		d := c.deviceCode(graphScope)
		if d.Interval != 7 || d.deviceAnswer.ExpiresIn != 600 {
			t.Errorf("interval %d, expires_in %d", d.Interval, d.deviceAnswer.ExpiresIn)
		}
		if err := c.s.Decline(d.UserCode); err != nil {
			t.Fatal(err)
		}
		wantError(t, c.poll(d.DeviceCode), http.StatusBadRequest, "authorization_declined", 65004)

		late := c.deviceCode(graphScope)
		if got := c.s.PendingCodes(); !cmp.Equal(got, []string{late.UserCode}) {
			t.Errorf("pending codes %v", got)
		}
		time.Sleep(10 * time.Minute)
		wantError(t, c.poll(late.DeviceCode), http.StatusBadRequest, "expired_token", 70020)
		if err := c.s.Approve(late.UserCode, "alice@contoso.example"); err == nil {
			t.Error("an expired code could be approved")
		}
		time.Sleep(keepExpired + time.Second)
		c.deviceCode(graphScope) // tidies up
		wantError(t, c.poll(late.DeviceCode), http.StatusBadRequest, "bad_verification_code", 70018)
	})
}

func TestPollsAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, Config{})
		c.fault(Fault{Scenario: "slow_down", Count: 1, Skip: 1})
		d := c.deviceCode(graphScope)
		c.poll(d.DeviceCode)
		time.Sleep(5 * time.Second)
		wantError(t, c.poll(d.DeviceCode), http.StatusBadRequest, "slow_down", 0)
		time.Sleep(10 * time.Second)
		if err := c.s.ApproveAll("alice@contoso.example"); err != nil {
			t.Fatal(err)
		}
		c.poll(d.DeviceCode)
		type seen struct {
			Gap     time.Duration
			Outcome string
		}
		var got []seen
		for _, p := range c.s.Stats().Polls {
			got = append(got, seen{p.Gap, p.Outcome})
		}
		want := []seen{{0, "authorization_pending"}, {5 * time.Second, "fault"}, {10 * time.Second, "token"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDeviceCodeRefusesBadRequests(t *testing.T) {
	c := inMemory(t, Config{})
	for _, tc := range []struct {
		name   string
		form   url.Values
		status int
		code   string
		aadsts int
	}{
		{"no client", url.Values{"client_id": {""}, "scope": {graphScope}}, 400, "invalid_request", 900144},
		{"other client", url.Values{"client_id": {tenantID}, "scope": {graphScope}}, 400, "unauthorized_client", 700016},
		{"a secret", url.Values{"client_secret": {"x"}, "scope": {graphScope}}, 401, "invalid_client", 700025},
		{"no scope", url.Values{}, 400, "invalid_request", 900144},
		{"two resources", url.Values{"scope": {graphScope + " " + ewsScope}}, 400, "invalid_request", 28000},
		{"unknown resource", url.Values{"scope": {"https://vault.azure.net/.default"}}, 400, "invalid_resource", 500011},
		{"default with others", url.Values{"scope": {graphScope + " User.Read"}}, 400, "invalid_scope", 70011},
		{"no scope name", url.Values{"scope": {"https://graph.microsoft.com/"}}, 400, "invalid_scope", 70011},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantError(t, c.mustPost("devicecode", tc.form), tc.status, tc.code, tc.aadsts)
		})
	}
}
