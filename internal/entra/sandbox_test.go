package entra_test

import (
	"context"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/entra"
	"github.com/m365-token-broker/broker/internal/sandbox"
	"github.com/m365-token-broker/broker/internal/token"
)

const person = "alice@contoso.example"

func ewsScopes() token.Scopes {
	return token.Scopes{"https://outlook.office365.com/EWS.AccessAsUser.All"}
}

// onSandbox gives a Client and an App for a sandbox over real TLS. The tenant is
// looked up by its domain.
func onSandbox(t *testing.T) (*sandbox.Sandbox, *entra.Client, token.App) {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := entra.Roots(s.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	c := entra.New(entra.Config{Hosts: []string{strings.TrimPrefix(s.URL(), "https://")}, Roots: roots})
	t.Cleanup(func() { c.Close(); _ = s.Close() })
	app, err := c.ResolveTenant(t.Context(), token.App{Authority: s.URL(), Tenant: s.TenantDomain(), ClientID: s.ClientID()})
	if err != nil || app.Tenant != s.TenantID() {
		t.Fatalf("%+v, %v", app, err)
	}
	return s, c, app
}

// signIn signs the person in with the browser.
func signIn(t *testing.T, s *sandbox.Sandbox, c *entra.Client, app token.App) token.Grant {
	t.Helper()
	done := make(chan error, 1)
	grant, err := c.Browser(t.Context(), app, ewsScopes(), person, func(url string) error {
		go func() { done <- s.Browse(context.WithoutCancel(t.Context()), url, person) }()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if grant.Username != person || grant.App != app {
		t.Errorf("%+v", grant)
	}
	return grant
}

func TestSandboxSignInAndRotation(t *testing.T) {
	s, c, app := onSandbox(t)
	grant := signIn(t, s, c, app)
	for _, scopes := range []token.Scopes{ewsScopes(), {"https://graph.microsoft.com/.default"}, ewsScopes()} {
		r, err := c.Redeem(t.Context(), grant, scopes, "")
		if err != nil {
			t.Fatal(err)
		}
		if !r.Rotated || r.Token.Lifetime() <= 0 {
			t.Errorf("%+v", r)
		}
		grant.RefreshToken = r.RefreshToken
	}
}

// The sandbox's scenarios, through real TLS and the real MSAL, become the kinds
// of the contract.
func TestSandboxScenarios(t *testing.T) {
	kinds := map[token.Kind][]string{
		token.KindSignInRequired: {"bad_token", "token_expired", "sign_in_frequency", "basic_action", "claims_challenge", "login_required", "consent_required", "password_expired"},
		token.KindPolicyBlocked:  {"message_only", "additional_action", "admin_consent"},
		token.KindConfiguration:  {"public_client_off", "app_not_found", "invalid_scope", "invalid_resource", "wrong_cloud"},
		token.KindThrottled:      {"loop", "throttled", "throttled_bare"},
		token.KindUnavailable:    {"server_error", "unavailable", "unavailable_retry", "bad_gateway", "gateway_timeout", "reset", "proxy_auth", "cut"},
		token.KindInvalid:        {"portal", "redirect", "redirect_post", "empty", "error_200", "huge", "truncated", "no_access_token", "no_expires_in"},
	}
	s, c, app := onSandbox(t)
	grant := signIn(t, s, c, app)
	for kind, names := range kinds {
		for _, name := range names {
			id, err := s.Fault(sandbox.Fault{Scenario: name, Endpoint: sandbox.EndpointTokenRefresh})
			if err != nil {
				t.Fatal(err)
			}
			r, err := c.Redeem(t.Context(), grant, ewsScopes(), "")
			if token.KindOf(err) != kind || err == nil {
				t.Errorf("%s: %v, want %v", name, err, kind)
			}
			s.ClearFault(id)
			grant.RefreshToken = r.RefreshToken
		}
	}
	if _, err := c.Redeem(t.Context(), grant, ewsScopes(), ""); err != nil {
		t.Errorf("after all: %v", err)
	}
}
