package sandbox

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// The grants of the token endpoint. MSAL Go sends the short name of the device
// code grant; RFC 8628 section 3.4 has the URN.
const (
	grantDevice    = "device_code"
	grantDeviceURN = "urn:ietf:params:oauth:grant-type:device_code"
	grantCode      = "authorization_code"
	grantRefresh   = "refresh_token"
)

// inactivity ends a refresh token that nobody used.
const inactivity = 90 * 24 * time.Hour

// tokenAnswer is a successful answer (RFC 6749 section 5.1) with Entra's extras.
type tokenAnswer struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
	ExtExpiresIn int    `json:"ext_expires_in"`
	RefreshIn    int    `json:"refresh_in,omitempty"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

// issue is everything that an answer is made of.
type issue struct {
	user       User
	generation int
	signedIn   time.Time
	scopes     scopeRequest
	claims     claimsRequest
	nonce      string
	refresh    string // the new refresh token, or empty
	clientInfo bool
}

func (s *Sandbox) serveToken(w http.ResponseWriter, r *http.Request) {
	if e := checkClient(r); e != nil {
		s.refuse(w, *e)
		return
	}
	var (
		is  issue
		bad *oauthError
	)
	switch grant := r.PostForm.Get("grant_type"); grant {
	case grantDevice, grantDeviceURN:
		is, bad = s.redeemDevice(r)
	case grantCode:
		is, bad = s.redeemCode(r)
	case grantRefresh:
		is, bad = s.redeemRefresh(r)
	case "":
		bad = new(missing("grant_type"))
	default:
		bad = new(errGrantType)
	}
	if bad != nil {
		s.refuse(w, *bad)
		return
	}
	is.clientInfo = r.PostForm.Get("client_info") == "1"
	s.answer(w, is)
}

// answer mints the tokens of is and sends them.
func (s *Sandbox) answer(w http.ResponseWriter, is issue) {
	now := s.now()
	lifetime, refreshIn := s.lifetime(is)
	a := tokenAnswer{
		TokenType: "Bearer", Scope: is.scopes.scope(), RefreshToken: is.refresh,
		ExpiresIn: seconds(lifetime), ExtExpiresIn: seconds(lifetime), RefreshIn: seconds(refreshIn),
	}
	var err error
	if a.AccessToken, err = s.mintAccess(is, now, lifetime); err == nil && is.scopes.openID {
		a.IDToken, err = s.mintID(is, now)
	}
	if err != nil {
		s.refuse(w, oauthError{status: http.StatusInternalServerError, code: "server_error", aadsts: 90033, text: "A transient error has occurred. Please try again."})
		return
	}
	if is.clientInfo {
		a.ClientInfo = encode([]byte(`{"uid":"` + is.user.ObjectID + `","utid":"` + tenantID + `"}`))
	}
	writeJSON(w, http.StatusOK, a)
}

// lifetime is how long an access token lives, and when to refresh it: 60 to 90
// minutes, or a day with refresh_in where the client handles challenges.
func (s *Sandbox) lifetime(is issue) (lifetime, refreshIn time.Duration) {
	lifetime, refreshIn = s.cfg.AccessTokenLifetime, s.cfg.RefreshIn
	if lifetime > 0 {
		return lifetime, refreshIn
	}
	if !is.claims.cae() {
		return between(time.Hour, 90*time.Minute), refreshIn
	}
	lifetime = between(24*time.Hour, 28*time.Hour)
	if refreshIn == 0 {
		refreshIn = lifetime / 2
	}
	return lifetime, refreshIn
}

// redeemDevice is one poll of the device code grant.
func (s *Sandbox) redeemDevice(r *http.Request) (issue, *oauthError) {
	code := r.PostForm.Get("device_code")
	if code == "" {
		return issue{}, new(missing("device_code"))
	}
	is, bad := s.tryDevice(r, code)
	outcome := "token"
	if bad != nil {
		outcome = bad.code
	}
	s.stats.poll(code, outcome)
	return is, bad
}

func (s *Sandbox) tryDevice(r *http.Request, code string) (issue, *oauthError) {
	d, bad := s.pollDevice(code)
	if bad != nil {
		return issue{}, bad
	}
	is, bad := newIssue(cmp.Or(r.PostForm.Get("scope"), d.scope), cmp.Or(r.PostForm.Get("claims"), d.claims))
	if bad != nil {
		return issue{}, bad
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.state != deviceApproved { // another poll was faster
		return issue{}, new(errUsedCode)
	}
	d.state = deviceRedeemed
	s.signIn(&is, d.user)
	return is, nil
}

// signIn begins a family of refresh tokens; s.mu is held.
func (s *Sandbox) signIn(is *issue, u *account) {
	f := &family{user: u, generation: u.generation, signedIn: s.now(), scope: is.scopes.raw}
	is.user, is.generation, is.signedIn = u.User, u.generation, f.signedIn
	if is.scopes.offline {
		is.refresh = s.addRefreshToken(f)
	}
	s.stats.signedIn()
}

// redeemRefresh redeems a refresh token and rotates it.
func (s *Sandbox) redeemRefresh(r *http.Request) (issue, *oauthError) {
	text := r.PostForm.Get("refresh_token")
	if text == "" {
		return issue{}, new(missing("refresh_token"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.state.tokens[sha256.Sum256([]byte(text))]
	if !ok {
		return issue{}, new(errBadRefresh)
	}
	is, bad := newIssue(cmp.Or(r.PostForm.Get("scope"), t.family.scope), r.PostForm.Get("claims"))
	if bad != nil {
		return issue{}, bad
	}
	if bad := s.judge(t); bad != nil {
		return issue{}, bad
	}
	f := t.family
	t.used = true
	is.user, is.generation, is.signedIn = f.user.User, f.generation, f.signedIn
	is.refresh = s.addRefreshToken(f)
	s.stats.redeemed()
	return is, nil
}

// judge says why a refresh token cannot be redeemed; s.mu is held.
func (s *Sandbox) judge(t *refreshToken) *oauthError {
	f, now := t.family, s.now()
	if t.used && s.cfg.RevokeUsed {
		f.dead = f.dead || !s.cfg.KeepFamily
		return new(errRevoked)
	}
	switch {
	case f.user.disabled:
		return new(errDisabled)
	case f.dead || f.generation != f.user.generation:
		return new(errRevoked)
	case s.state.frequency > 0 && now.Sub(f.signedIn) >= s.state.frequency:
		e := errFrequency
		e.text += " The token was issued on " + f.signedIn.UTC().Format(time.RFC3339Nano) +
			" and the maximum allowed lifetime for this request is " + strconv.Itoa(seconds(s.state.frequency)) + "."
		return &e
	case now.Sub(t.issued) > inactivity:
		return new(errIdle)
	}
	return nil
}

// newIssue understands the parameters that every grant shares.
func newIssue(scope, claims string) (issue, *oauthError) {
	scopes, bad := parseScopes(scope)
	if bad != nil {
		return issue{}, bad
	}
	var c claimsRequest
	if claims != "" && json.Unmarshal([]byte(claims), &c) != nil {
		return issue{}, new(errBadClaims)
	}
	return issue{scopes: scopes, claims: c}, nil
}
