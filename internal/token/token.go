// Package token holds the nouns that every part of the broker speaks: which
// token (Key), the token itself (Token), secrets that cannot print (Secret),
// scopes, the outcome of a sign-in (Grant) and the closed list of error kinds.
//
// It imports nothing but the standard library and is the ground that every
// other package stands on.
package token

import (
	"context"
	"time"
)

// Key names one access token: the account it belongs to and the configured
// resource it is for. Both are canonical names (see account.Book and
// config.Config), so two Keys are the same token exactly when they are equal.
type Key struct {
	Account  string // alias from the configuration, or the lower-case user name
	Resource string // name of a configured resource, for example "graph"
}

// Token is one access token as the authority gave it. It is immutable and safe
// to share between goroutines.
type Token struct {
	Access     Secret    // the bearer token
	ObtainedOn time.Time // when it arrived
	ExpiresOn  time.Time // RFC 6749 section 5.1, expires_in added to ObtainedOn
	RefreshOn  time.Time // from Entra's refresh_in; zero where it was not given
	Scope      string    // the granted scopes, separated by spaces

	// Trace is an opaque reference to the span that redeemed this token, so
	// that every waiter can link to it. Empty without tracing.
	Trace string
}

// Lifetime is how long the token was valid for when it was obtained.
func (t Token) Lifetime() time.Duration { return t.ExpiresOn.Sub(t.ObtainedOn) }

// Request is one consumer's wish for a token, after names were resolved.
type Request struct {
	Key         Key
	MinValidity time.Duration // wanted time to expiry; zero means the broker's default
	Claims      string        // decoded JSON of a claims challenge; redeemed past the cache
	Force       bool          // redeem even though a valid token is cached
}

// Source gives tokens. A Source obeys the context of each call and returns
// errors of type *Error. It is safe for concurrent use.
type Source interface {
	Token(ctx context.Context, req Request) (Token, error)
}

// App is one app registration at one authority: what a sign-in is made with.
type App struct {
	Authority string // https://host[:port], no path
	Tenant    string // GUID; a domain only where the authority knows no GUID
	ClientID  string
}

// Flow is the way a person signs in.
type Flow string

// The sign-in flows. FlowDevice is RFC 8628, FlowBrowser is the authorization
// code flow with PKCE on a loopback redirect (RFC 8252, RFC 7636).
const (
	FlowDevice  Flow = "device"
	FlowBrowser Flow = "browser"
)

// Grant is what a sign-in leaves behind and a redemption needs: the refresh
// token and whose it is.
type Grant struct {
	App           App
	HomeAccountID string // "<object id>.<tenant id>" as Entra says; the subject elsewhere
	Username      string // preferred_username (UPN)
	Flow          Flow
	RefreshToken  Secret
	SignedInOn    time.Time // when the person signed in
	ObtainedOn    time.Time // when this very refresh token arrived
}

// DeviceCode is a device authorization that waits for a person (RFC 8628
// section 3.2).
type DeviceCode struct {
	UserCode        string
	VerificationURI string
	Message         string // one sentence for the person, in the authority's words or ours
	ExpiresOn       time.Time
	Interval        time.Duration

	// Wait polls until the person is done, the code expires or ctx ends. After
	// an error whose Kind is Retryable it may be called again: the code goes on.
	Wait func(ctx context.Context) (Grant, error)

	// Fault is what stands in the way of polling at this moment, nil where
	// nothing does. It may be nil itself, and is safe to call during Wait.
	Fault func() *Error
}
