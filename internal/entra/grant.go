package entra

import (
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// newGrant makes the Grant of a sign-in whose answer arrived now. It insists on
// what the broker lives on: a refresh token, an identity, and, at Microsoft, the
// tenant that was asked for.
func newGrant(app token.App, flow token.Flow, a tokenAnswer, now time.Time) (token.Grant, error) {
	const op = "finish the sign-in"
	if a.refresh.IsZero() {
		return token.Grant{}, token.NewError(token.KindConfiguration, op, helpNoRefresh)
	}
	home := a.identity.home
	if home == "" {
		home = readable(a.identity.subject, 256)
	}
	if home == "" {
		return token.Grant{}, token.NewError(token.KindInvalid, op,
			"The authority did not say who signed in (neither client_info nor an ID token with sub); allow the scope openid for this app registration.")
	}
	tid := strings.ToLower(a.identity.tenant)
	switch {
	case !isGUID(tid) || !slices.Contains(loginHosts(), authorityHost(app)):
		// another provider, whose tid means nothing to us
	case !isGUID(app.Tenant):
		app.Tenant = tid
	case !strings.EqualFold(app.Tenant, tid):
		return token.Grant{}, token.NewError(token.KindConfiguration, op,
			"The sign-in ended in another tenant than the configured one; check tenant in the configuration, or sign in with an account of that tenant.")
	}
	username := a.identity.username
	if username == "" {
		username = home
	}
	return token.Grant{
		App: app, HomeAccountID: home, Username: username, Flow: flow,
		RefreshToken: a.refresh, SignedInOn: now, ObtainedOn: now,
	}, nil
}
