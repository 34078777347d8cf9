package sandbox

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Why Graph or EWS refuses a bearer token.
var (
	errNoBearer  = errors.New("no bearer token")
	errExpired   = errors.New("the token is expired")
	errAudience  = errors.New("the token is for another audience")
	errChallenge = errors.New("the user's sessions were revoked")
)

// bearer checks signature, issuer and tenant of the request's token, not yet
// what it is for.
func (s *Sandbox) bearer(r *http.Request) (accessClaims, error) {
	var c accessClaims
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" {
		return c, errNoBearer
	}
	if err := s.signer.verify(strings.TrimSpace(text), s.canarySuffix(), &c); err != nil {
		return c, err
	}
	if c.Issuer != s.issuer() || c.TenantID != tenantID {
		return c, errBadToken
	}
	return c, nil
}

// admit is bearer and everything else that a resource checks: times, audience,
// and, where the client declared cp1, whether the user was revoked since.
func (s *Sandbox) admit(r *http.Request, audience string) (accessClaims, error) {
	c, err := s.bearer(r)
	if err != nil {
		return c, err
	}
	now := s.now().Unix()
	if c.ExpiresAt <= now || c.NotBefore > now {
		return c, errExpired
	}
	if c.Audience != audience {
		return c, errAudience
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(c.UPN)
	if err != nil {
		return c, err
	}
	if slices.Contains(c.Capabilities, "cp1") && c.Sandbox.Generation != u.generation {
		return c, errChallenge
	}
	return c, nil
}

// permits reports whether the token holds one of the permissions.
func (c accessClaims) permits(anyOf ...string) bool {
	return slices.ContainsFunc(strings.Fields(c.Scopes), func(have string) bool {
		return slices.ContainsFunc(anyOf, func(want string) bool { return strings.EqualFold(have, want) })
	})
}

// unsatisfied reports whether the request's token was redeemed without the
// claims of the challenge f; s.mu is held.
func unsatisfied(s *Sandbox, f *activeFault, r *http.Request) bool {
	c, err := s.bearer(r)
	return err == nil && c.Sandbox.NotBefore < f.demand
}

// challenge answers with the claims challenge of a fault.
func challenge(s *Sandbox, c call) { s.challengeBearer(c.w, c.endpoint, c.fault.demand) }

// challengeBearer answers 401 with a claims challenge in the form of Microsoft's
// "Claims challenges, claims requests and client capabilities".
func (s *Sandbox) challengeBearer(w http.ResponseWriter, e Endpoint, notBefore int64) {
	claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, notBefore)
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="", authorization_uri="%s/common/oauth2/authorize", error="insufficient_claims", claims="%s"`,
		s.url, base64.StdEncoding.EncodeToString([]byte(claims))))
	s.unauthorized(w, e, "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenCreatedWithOutdatedPolicies.")
}

// rejectBearer answers 401 without a challenge.
func (s *Sandbox) rejectBearer(w http.ResponseWriter, e Endpoint) {
	h := w.Header()
	if e == EndpointEWS {
		h.Set("WWW-Authenticate", `Bearer client_id="00000002-0000-0ff1-ce00-000000000000", trusted_issuers="00000001-0000-0000-c000-000000000000@*", token_types="app_asserted_user_v1 service_asserted_app_v1", error="invalid_token"`)
		h.Set("X-Ms-Diagnostics", `2000003;reason="The token is invalid, expired or for another audience.";error_category="invalid_token"`)
	} else {
		h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="", authorization_uri="%s/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`, s.url))
	}
	s.unauthorized(w, e, "Access token validation failure or access token has expired.")
}

func (s *Sandbox) unauthorized(w http.ResponseWriter, e Endpoint, text string) {
	if e == EndpointEWS { // Exchange answers 401 without a body
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", text)
}

// turnAway answers a request that admit refused.
func (s *Sandbox) turnAway(w http.ResponseWriter, e Endpoint, err error) {
	if errors.Is(err, errChallenge) {
		s.challengeBearer(w, e, s.now().Unix())
		return
	}
	s.rejectBearer(w, e)
}
