package entra

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/m365-token-broker/broker/internal/token"
)

// accessor is MSAL's cache for one redemption: it holds one refresh token and
// nothing else, so that AcquireTokenSilent finds no access token and always
// redeems. It never touches a store and never returns an error, because MSAL
// throws a new token away when its cache fails.
type accessor struct{ grant token.Grant }

// Replace hands MSAL the smallest cache that works: the refresh token and the
// application's metadata, under the canonical keys. The partition key is
// ignored: MSAL writes sign-ins under "" and looks them up under the account.
func (a accessor) Replace(_ context.Context, c cache.Unmarshaler, _ cache.ReplaceHints) error {
	// An error would mean a defect in the few lines below; MSAL then says that
	// it has no token, and the redemption fails as KindInternal.
	_ = c.Unmarshal(a.contract())
	return nil
}

// Export takes nothing back: the seam has read the rotated refresh token from
// the answer itself, before MSAL saw it, so that it is kept even where MSAL
// refuses the rest of the answer.
func (accessor) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }

// The part of MSAL's unified cache schema that a redemption needs.
type (
	cachedRefreshToken struct {
		HomeAccountID  string `json:"home_account_id"`
		Environment    string `json:"environment"`
		CredentialType string `json:"credential_type"`
		ClientID       string `json:"client_id"`
		Secret         string `json:"secret"`
	}
	cachedAppMetadata struct {
		ClientID    string `json:"client_id"`
		Environment string `json:"environment"`
	}
	cacheContract struct {
		RefreshToken map[string]cachedRefreshToken
		AppMetadata  map[string]cachedAppMetadata
	}
)

// contract is the cache as MSAL reads it.
func (a accessor) contract() []byte {
	home, env, client := a.grant.HomeAccountID, authorityHost(a.grant.App), a.grant.App.ClientID
	data, err := json.Marshal(cacheContract{
		RefreshToken: map[string]cachedRefreshToken{
			strings.ToLower(home + "-" + env + "-refreshtoken-" + client): {
				HomeAccountID: home, Environment: env, CredentialType: "RefreshToken", ClientID: client,
				Secret: a.grant.RefreshToken.Reveal(),
			},
		},
		AppMetadata: map[string]cachedAppMetadata{
			strings.ToLower("appmetadata-" + env + "-" + client): {ClientID: client, Environment: env},
		},
	})
	if err != nil {
		return nil // strings always marshal
	}
	return data
}
