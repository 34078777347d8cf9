package client

import (
	"fmt"
	"log/slog"
	"time"
)

// Token is one access token. It is immutable. None of the ways to print it shows
// the token itself.
type Token struct {
	ExpiresOn time.Time
	Resource  string // as it was asked for
	Scope     string // the granted scopes, separated by spaces
	Account   string // whose it is, by the broker's name for the account

	access func() string // a closure, so that no way of printing finds it
}

// AccessToken is the token itself; the empty text for the zero Token.
func (t Token) AccessToken() string {
	if t.access == nil {
		return ""
	}
	return t.access()
}

// Authorization is the value of the Authorization header of a request.
func (t Token) Authorization() string { return "Bearer " + t.AccessToken() }

// String says what the token is for, and hides the token.
func (t Token) String() string {
	return fmt.Sprintf("token for %s, valid until %s", t.Resource, t.ExpiresOn.UTC().Format(time.RFC3339))
}

// GoString is String, for %#v.
func (t Token) GoString() string { return t.String() }

// LogValue is String in parts, for slog.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("resource", t.Resource), slog.Time("expires_on", t.ExpiresOn))
}
