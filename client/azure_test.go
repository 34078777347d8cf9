package client_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/client"
)

// These are policy.TokenRequestOptions and azcore.AccessToken of azcore v1.24.0;
// the real ones are tried where the recipes of docs/consumers.md are.
type (
	azureOptions struct {
		Claims    string
		EnableCAE bool
		Scopes    []string
		TenantID  string
	}
	azureToken struct {
		Token     string
		ExpiresOn time.Time
		RefreshOn time.Time
	}
	oldAzureToken struct {
		Token     string
		ExpiresOn time.Time
	}
)

// azureCredential is azcore.TokenCredential.
type azureCredential[O, T any] interface {
	GetToken(ctx context.Context, options O) (T, error)
}

var _ azureCredential[azureOptions, azureToken] = (*client.Credential[azureOptions, azureToken])(nil)

func TestCredential(t *testing.T) {
	b := &broker{}
	cred, err := client.NewCredential[azureOptions, azureToken](b.client(t), client.CredentialConfig{Resource: "graph", Account: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := cred.GetToken(t.Context(), azureOptions{Scopes: []string{"https://graph.microsoft.com/.default"}, EnableCAE: true})
	if err != nil || got.Token != "CANARY-1" || time.Until(got.ExpiresOn) < 59*time.Minute || got.ExpiresOn.Sub(got.RefreshOn) != 5*time.Minute {
		t.Errorf("%v, %v", got.ExpiresOn, err)
	}
	if _, err = cred.GetToken(t.Context(), azureOptions{Scopes: []string{"https://graph.microsoft.com//.default"}, Claims: `{"a":1}`}); err != nil {
		t.Error(err)
	}
	if want := `POST /v1/token {"resource":"graph","account":"ops","claims":"{\"a\":1}"}`; b.asked[1] != want {
		t.Errorf("asked %s", b.asked[1])
	}
	for _, scope := range []string{"https://vault.azure.net/.default", "Mail.Read", "https://graph.microsoft.com.evil.example/.default", ""} {
		if _, err := cred.GetToken(t.Context(), azureOptions{Scopes: []string{"https://graph.microsoft.com/.default", scope}}); err == nil {
			t.Errorf("scope %q is taken", scope)
		}
	}
	b.answers = []func(*http.Request) (int, string, error){says(403, `{"code":"denied","detail":"Not you."}`)}
	if got, err := cred.GetToken(t.Context(), azureOptions{Claims: "{}"}); err == nil || got.Token != "" {
		t.Errorf("%v", err)
	}
}

// An azcore from before RefreshOn works the same.
func TestCredentialOfAnOlderAzcore(t *testing.T) {
	cred, err := client.NewCredential[azureOptions, oldAzureToken]((&broker{}).client(t), client.CredentialConfig{Resource: "api", Audience: "api://Own/"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := cred.GetToken(t.Context(), azureOptions{Scopes: []string{"api://Own/.default"}}); err != nil || got.Token != "CANARY-1" {
		t.Error(err)
	}
}

func TestCredentialRefusals(t *testing.T) {
	c := (&broker{}).client(t)
	graph := client.CredentialConfig{Resource: "graph"}
	for name, try := range map[string]func() error{
		"no struct, policy.TokenRequestOptions": func() error { _, err := client.NewCredential[string, azureToken](c, graph); return err },
		"no field ExpiresOn": func() error {
			_, err := client.NewCredential[azureOptions, struct{ Token string }](c, graph)
			return err
		},
		"no field Scopes": func() error {
			_, err := client.NewCredential[struct{ Claims string }, azureToken](c, graph)
			return err
		},
		"a Client": func() error { _, err := client.NewCredential[azureOptions, azureToken](nil, graph); return err },
		"Resource": func() error {
			_, err := client.NewCredential[azureOptions, azureToken](c, client.CredentialConfig{})
			return err
		},
		"Audience is missing": func() error {
			_, err := client.NewCredential[azureOptions, azureToken](c, client.CredentialConfig{Resource: "own"})
			return err
		},
	} {
		want, _, _ := strings.Cut(name, ", ")
		if err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
