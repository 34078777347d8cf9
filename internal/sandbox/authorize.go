package sandbox

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// codeLifetime is that of Entra's authorization codes.
const codeLifetime = 10 * time.Minute

// authorization is one request of the authorization code flow with PKCE (RFC
// 6749 section 4.1, RFC 7636), first while the person decides, then as a code.
type authorization struct {
	redirect  string
	state     string
	mode      string // query or form_post
	challenge string
	scope     string
	claims    string
	nonce     string
	hint      string
	from      string
	expires   time.Time
	user      *account
	used      bool
}

// serveAuthorize shows the account picker, or approves at once.
func (s *Sandbox) serveAuthorize(w http.ResponseWriter, r *http.Request, tenant string) {
	s.run(EndpointAuthorize, w, r, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			s.showError(w, r, http.StatusMethodNotAllowed, errPost)
			return
		}
		if e := checkTenant(tenant); e != nil {
			s.showError(w, r, http.StatusBadRequest, *e)
			return
		}
		a, page, back := s.parseAuthorization(r)
		switch {
		case page != nil: // never redirect to a place that was not checked
			s.showError(w, r, http.StatusBadRequest, *page)
		case back != nil:
			s.sendBack(w, r, a, s.errorParameters(w, a, *back))
		default:
			s.authorize(w, r, a)
		}
	})
}

// parseAuthorization checks the request. The first error belongs on a page,
// because the redirect URI cannot be trusted; the second goes back to the client
// (RFC 6749 section 4.1.2.1).
func (s *Sandbox) parseAuthorization(r *http.Request) (a *authorization, page, back *oauthError) {
	q := r.URL.Query()
	a = &authorization{
		redirect: q.Get("redirect_uri"), state: q.Get("state"), mode: cmp.Or(q.Get("response_mode"), "query"),
		challenge: q.Get("code_challenge"), scope: q.Get("scope"), claims: q.Get("claims"),
		nonce: q.Get("nonce"), hint: q.Get("login_hint"), from: r.RemoteAddr, expires: s.now().Add(codeLifetime),
	}
	switch {
	case !strings.EqualFold(q.Get("client_id"), clientID):
		return a, new(errNoApp), nil
	case !loopbackRedirect(a.redirect):
		return a, new(oauthError{code: "invalid_request", aadsts: 50011, text: "The redirect URI specified in the request does not match the redirect URIs configured for the application: http://localhost with any port and path."}), nil
	case a.mode != "query" && a.mode != "form_post":
		return a, new(oauthError{code: "invalid_request", aadsts: 70007, text: "The 'response_mode' is not supported. Use query or form_post."}), nil
	case q.Get("response_type") != "code":
		return a, nil, new(oauthError{code: "unsupported_response_type", aadsts: 700054, text: "Only response_type 'code' is enabled for the application."})
	case a.challenge == "" || q.Get("code_challenge_method") != "S256":
		return a, nil, new(oauthError{code: "invalid_request", aadsts: 9002325, text: "Proof Key for Code Exchange with code_challenge_method S256 is required."})
	case a.scope == "":
		return a, nil, new(missing("scope"))
	}
	_, back = newIssue(a.scope, a.claims)
	return a, nil, back
}

// loopbackRedirect accepts the redirect URIs of a native application (RFC 8252
// section 7.3), and nothing else: the sandbox is no open redirector.
func loopbackRedirect(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return false
	}
	if host := u.Hostname(); host != "localhost" {
		ip := net.ParseIP(host)
		return ip != nil && ip.IsLoopback()
	}
	return true
}

// authorize lets the person decide, unless it is decided already: by
// ApproveAll, or by a request that holds the control key.
func (s *Sandbox) authorize(w http.ResponseWriter, r *http.Request, a *authorization) {
	s.mu.Lock()
	name := s.state.autoApprove
	if name != "" && s.state.users[strings.ToLower(a.hint)] != nil {
		name = a.hint
	}
	if s.hasControlKey(r) {
		name = cmp.Or(r.Header.Get(headerControlUser), name)
	}
	u := s.state.users[strings.ToLower(name)]
	id := ""
	if u == nil {
		id = randomText(24)
		s.forgetOld()
		s.state.requests[id] = a
	}
	s.mu.Unlock()
	if u == nil {
		s.showPicker(w, r, id, a)
		return
	}
	s.sendBack(w, r, a, s.newCode(a, u))
}

// forgetOld drops requests and codes that expired; s.mu is held.
func (s *Sandbox) forgetOld() {
	now := s.now()
	for _, m := range []map[string]*authorization{s.state.requests, s.state.codes} {
		maps.DeleteFunc(m, func(_ string, a *authorization) bool { return now.After(a.expires) })
	}
}

// newCode makes the authorization code for user, as parameters of the redirect.
func (s *Sandbox) newCode(a *authorization, u *account) url.Values {
	code := s.newOpaque("1.AXkA", 700)
	s.mu.Lock()
	defer s.mu.Unlock()
	done := *a
	done.user, done.expires = u, s.now().Add(codeLifetime)
	s.forgetOld()
	s.state.codes[code] = &done
	v := url.Values{"code": {code}, "session_state": {newGUID()}}
	if a.state != "" {
		v.Set("state", a.state)
	}
	return v
}

// errorParameters are those of RFC 6749 section 4.1.2.1.
func (s *Sandbox) errorParameters(w http.ResponseWriter, a *authorization, e oauthError) url.Values {
	body := s.errorBody(w, e)
	v := url.Values{"error": {body.Error}, "error_description": {body.Description}}
	if body.SubError != "" {
		v.Set("error_subcode", body.SubError)
	}
	if a.state != "" {
		v.Set("state", a.state)
	}
	return v
}

// sendBack returns the browser to the client, in the mode that it asked for.
func (s *Sandbox) sendBack(w http.ResponseWriter, r *http.Request, a *authorization, v url.Values) {
	if a.mode == "form_post" {
		s.showFormPost(w, r, a.redirect, v)
		return
	}
	u, err := url.Parse(a.redirect)
	if err != nil { // parseAuthorization parsed it before
		s.showError(w, r, http.StatusBadRequest, errBadAuthCode)
		return
	}
	q := u.Query()
	for k := range v {
		q.Set(k, v.Get(k))
	}
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// redeemCode redeems an authorization code, once.
func (s *Sandbox) redeemCode(r *http.Request) (issue, *oauthError) {
	form := r.PostForm
	for _, p := range []string{"code", "redirect_uri", "code_verifier"} {
		if form.Get(p) == "" {
			return issue{}, new(missing(p))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.state.codes[form.Get("code")]
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case !ok || s.now().After(a.expires) || form.Get("redirect_uri") != a.redirect:
		return issue{}, new(errBadAuthCode)
	case a.used:
		return issue{}, new(errUsedCode)
	case subtle.ConstantTimeCompare([]byte(encode(sum[:])), []byte(a.challenge)) != 1:
		return issue{}, new(errVerifier)
	case a.user.disabled:
		return issue{}, new(errDisabled)
	}
	is, bad := newIssue(cmp.Or(form.Get("scope"), a.scope), cmp.Or(form.Get("claims"), a.claims))
	if bad != nil {
		return issue{}, bad
	}
	a.used = true
	is.nonce = a.nonce
	s.signIn(&is, a.user)
	return is, nil
}
