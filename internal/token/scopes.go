package token

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Scopes is the scope set of one resource: full scopes of one audience, without
// the reserved OIDC scopes, in the order they were given.
type Scopes []string

// defaultAudience is the audience of a scope that names none (Entra's rule).
const defaultAudience = "https://graph.microsoft.com"

// Errors of ParseScopes.
var (
	ErrNoScopes     = errors.New("no scope is given")
	ErrOnlyReserved = errors.New("only the reserved scopes openid, profile, email and offline_access are given; they give no access to a resource")
	ErrTwoAudiences = errors.New("the scopes belong to two audiences; one access token can serve only one")
)

// IsReserved reports whether scope is one of OpenID Connect's own (OIDC Core
// section 5.4 and 11), which MSAL adds by itself.
func IsReserved(scope string) bool {
	switch strings.ToLower(scope) {
	case "openid", "profile", "email", "offline_access":
		return true
	}
	return false
}

// ParseScopes checks one resource's scopes and drops the reserved ones. It
// refuses an empty set, reserved scopes alone, characters outside RFC 6749
// section 3.3, and scopes of two audiences (AADSTS28000, 70011).
func ParseScopes(in []string) (Scopes, error) {
	if len(in) == 0 {
		return nil, ErrNoScopes
	}
	var out Scopes
	for _, s := range in {
		if err := checkScope(s); err != nil {
			return nil, err
		}
		if IsReserved(s) || slices.Contains(out, s) {
			continue
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, ErrOnlyReserved
	}
	for _, s := range out[1:] {
		if !strings.EqualFold(Audience(s), out.Audience()) {
			return nil, fmt.Errorf("%w (%q and %q)", ErrTwoAudiences, out[0], s)
		}
	}
	return out, nil
}

// checkScope holds a scope to scope-token of RFC 6749 section 3.3.
func checkScope(s string) error {
	if s == "" {
		return fmt.Errorf("%w: an entry is empty", ErrNoScopes)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("scope %q holds a character that no scope may hold; write one scope per list entry", s)
		}
	}
	return nil
}

// Audience is the resource a full scope belongs to: everything before its last
// path segment. A scope without a slash belongs to Microsoft Graph.
func Audience(scope string) string {
	i := strings.LastIndexByte(scope, '/')
	if i <= 0 || strings.HasSuffix(scope[:i], ":/") {
		return defaultAudience
	}
	return strings.TrimSuffix(scope[:i], "/")
}

// Audience is the one audience of the set.
func (s Scopes) Audience() string {
	if len(s) == 0 {
		return ""
	}
	return Audience(s[0])
}

// String joins the scopes as a token request does.
func (s Scopes) String() string { return strings.Join(s, " ") }

// Host is the host name of the audience, or the audience itself where it is not
// a URL (an application ID URI such as api://…).
func (s Scopes) Host() string {
	if u, err := url.Parse(s.Audience()); err == nil && u.Host != "" {
		return u.Host
	}
	return s.Audience()
}
