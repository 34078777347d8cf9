package entra

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/m365-token-broker/broker/internal/token"
)

// Redemption is what the redemption of a refresh token brought.
type Redemption struct {
	Token token.Token
	// RefreshToken is the refresh token to use from now on: a new one, or the
	// one given where the authority sent none. It is set on errors too.
	RefreshToken token.Secret
	// Rotated reports whether RefreshToken is a new one, to be kept. It may be
	// true on an error, where the answer was no good apart from it.
	Rotated bool
}

// Redeem trades grant's refresh token for an access token with scopes. claims
// is "" or the decoded JSON of a claims challenge. Errors are *token.Error; the
// Redemption counts with an error too, see Redemption.Rotated.
func (c *Client) Redeem(ctx context.Context, grant token.Grant, scopes token.Scopes, claims string) (Redemption, error) {
	out := &outcome{step: stepRedeem}
	r := Redemption{RefreshToken: grant.RefreshToken}
	client, opts, err := c.prepareRedeem(ctx, grant, scopes, claims)
	if err != nil {
		return r, err
	}
	// MSAL's result and error are not looked at: the seam has the answer.
	_, _ = client.AcquireTokenSilent(out.with(ctx), scopes, opts...)
	if !out.rotated.IsZero() {
		r.RefreshToken, r.Rotated = out.rotated, !out.rotated.Equal(grant.RefreshToken)
	}
	if out.answer == nil {
		return r, out.failure(ctx)
	}
	if missing := notGranted(scopes, out.answer.scope); missing != "" {
		return r, &token.Error{
			Kind: token.KindSignInRequired, Op: stepRedeem.op(), SubError: "consent_required", // a matter of this resource, not of the account
			Detail: fmt.Sprintf("The authority granted the resource without %s; sign in again and consent, or have an administrator grant consent.", missing),
		}
	}
	r.Token = out.answer.token(scopes, time.Now())
	return r, nil
}

// prepareRedeem checks what Redeem was given and makes its MSAL client.
func (c *Client) prepareRedeem(ctx context.Context, grant token.Grant, scopes token.Scopes, claims string) (public.Client, []public.AcquireSilentOption, error) {
	bad := func(kind token.Kind, detail string) error { return token.NewError(kind, stepRedeem.op(), detail) }
	switch {
	case len(scopes) == 0:
		return public.Client{}, nil, bad(token.KindConfiguration, "The resource has no scopes; set its scopes in the configuration.")
	case grant.RefreshToken.IsZero() || grant.HomeAccountID == "":
		return public.Client{}, nil, bad(token.KindSignInRequired, "There is no stored sign-in for this account; sign in with broker login.")
	}
	opts := []public.AcquireSilentOption{public.WithSilentAccount(public.Account{HomeAccountID: grant.HomeAccountID})}
	if claims != "" {
		compact, err := token.ParseClaims(claims)
		if err != nil {
			return public.Client{}, nil, bad(token.KindInvalidRequest, "claims is not a JSON object of at most 16 KiB; send the challenge as it came, decoded.")
		}
		opts = append(opts, public.WithClaims(compact))
	}
	seam, err := c.open(ctx, grant.App)
	if err != nil {
		return public.Client{}, nil, err
	}
	client, err := seam.msal(grant.App, public.WithCache(accessor{grant}))
	return client, opts, err
}

// token makes the Token of an answer that arrived now.
func (a *tokenAnswer) token(scopes token.Scopes, now time.Time) token.Token {
	t := token.Token{Access: a.access, ObtainedOn: now, ExpiresOn: now.Add(a.expiresIn), Scope: a.scope}
	if a.refreshIn > 0 {
		t.RefreshOn = now.Add(a.refreshIn)
	}
	if t.Scope == "" {
		t.Scope = scopes.String() // RFC 6749 section 5.1: the same as asked for
	}
	return t
}

// notGranted gives the first wanted scope that the granted ones lack, "" where
// none does. It judges only where the authority names a scope of a resource at
// all; ".default" stands for whatever was consented; and Graph's scopes may come
// back without their audience.
func notGranted(wanted token.Scopes, granted string) string {
	given := make(map[string]bool)
	for g := range strings.FieldsSeq(granted) {
		if !token.IsReserved(g) {
			given[strings.ToLower(g)] = true
			given[strings.ToLower(lastSegment(g))] = true
		}
	}
	if len(given) == 0 {
		return ""
	}
	for _, w := range wanted {
		if strings.EqualFold(lastSegment(w), ".default") || given[strings.ToLower(w)] || given[strings.ToLower(lastSegment(w))] {
			continue
		}
		return w
	}
	return ""
}

// lastSegment is the permission's own name in a full scope.
func lastSegment(scope string) string { return scope[strings.LastIndexByte(scope, '/')+1:] }
