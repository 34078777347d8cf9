package sandbox

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

//go:embed pages/*.html pages/style.css
var pageFiles embed.FS

// parsePages parses the templates; html/template escapes every value in them.
func parsePages() (*template.Template, error) {
	t, err := template.ParseFS(pageFiles, "pages/*.html", "pages/style.css")
	if err != nil {
		return nil, fmt.Errorf("parse the sandbox's pages: %w", err)
	}
	return t, nil
}

// sessionCookie ties a form to the browser that got it. The prefix makes the
// browser insist on Secure and Path=/ (RFC 6265bis section 4.1.3.2).
const sessionCookie = "__Host-sandbox"

// page is what every template gets.
type page struct {
	Title     string
	Nonce     string // of the style and the script of this page
	FormToken string
	Problem   string

	Code    string // user code
	Request string // an authorization that waits
	App     string
	Client  string
	From    string
	Asked   string
	Scopes  []scopeLine
	Users   []User
	Hint    string

	Good   bool // of a result: approved
	Detail string
	Number int // AADSTS
	Trace  string

	Target string // of a form_post
	Fields []field
}

type field struct{ Name, Value string }

// scopeLine explains one permission to a person.
type scopeLine struct{ Name, Text string }

// show renders a page. Its Content-Security-Policy allows nothing from outside
// and forms to post only here and, where the flow goes on, to target.
func (s *Sandbox) show(w http.ResponseWriter, status int, name string, p page, target string) {
	p.Nonce = randomText(16)
	var out bytes.Buffer
	if err := s.pages.ExecuteTemplate(&out, name, p); err != nil { // only a defect of ours
		http.Error(w, "the sandbox cannot show this page", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+p.Nonce+"'; script-src 'nonce-"+p.Nonce+
		"'; form-action 'self'"+target+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

// formToken is the hidden field that only a page of ours, in this browser, holds.
func (s *Sandbox) formToken(w http.ResponseWriter, r *http.Request) string {
	session := ""
	if c, err := r.Cookie(sessionCookie); err == nil {
		session = c.Value
	} else {
		session = randomText(24)
		http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	return s.tokenFor(session)
}

func (s *Sandbox) tokenFor(session string) string {
	m := hmac.New(sha256.New, s.formKey)
	m.Write([]byte(session))
	return encode(m.Sum(nil))
}

// checkForm accepts a POST from a page of ours only.
func (s *Sandbox) checkForm(r *http.Request) bool {
	if r.ParseForm() != nil {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != s.url && origin != "null" {
		return false
	}
	c, err := r.Cookie(sessionCookie)
	return err == nil && hmac.Equal([]byte(r.PostForm.Get("form_token")), []byte(s.tokenFor(c.Value)))
}

// serveHome tells a person who came by what this is.
func (s *Sandbox) serveHome(w http.ResponseWriter, r *http.Request) {
	s.show(w, http.StatusOK, "home.html", page{Title: "Sandbox"}, "")
}

// serveDevicePage is where a person types the code of a device sign-in, sees who
// asks for what, and approves or declines.
func (s *Sandbox) serveDevicePage(w http.ResponseWriter, r *http.Request) {
	s.run(EndpointDevicePage, w, r, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			s.askCode(w, r, http.StatusOK, r.URL.Query().Get("user_code"), "")
		case r.Method != http.MethodPost:
			s.showError(w, r, http.StatusMethodNotAllowed, errPost)
		case !s.checkForm(r):
			s.askCode(w, r, http.StatusForbidden, r.PostForm.Get("user_code"), "This form was open for too long or came from another page. Please try again.")
		case r.PostForm.Get("decision") == "":
			s.confirmCode(w, r)
		default:
			s.decideCode(w, r)
		}
	})
}

func (s *Sandbox) askCode(w http.ResponseWriter, r *http.Request, status int, code, problem string) {
	s.show(w, status, "code.html", page{
		Title: "Enter code", FormToken: s.formToken(w, r), Code: code, Problem: problem,
	}, "")
}

// confirmCode shows who is asking.
func (s *Sandbox) confirmCode(w http.ResponseWriter, r *http.Request) {
	typed := r.PostForm.Get("user_code")
	s.mu.Lock()
	d := s.pending(typed)
	var known device
	if d != nil {
		known = *d
	}
	users := s.users()
	s.mu.Unlock()
	if d == nil {
		s.askCode(w, r, http.StatusOK, typed, "That code did not work. Check it and try again, or ask the program for a new one.")
		return
	}
	s.show(w, http.StatusOK, "decide.html", page{
		Title: "Sign in", FormToken: s.formToken(w, r), Code: known.userCode, App: appName, Client: clientID,
		From: here(known.from), Asked: known.asked.UTC().Format("15:04:05 UTC"), Scopes: explain(known.scope), Users: users,
	}, "")
}

// decideCode settles the code.
func (s *Sandbox) decideCode(w http.ResponseWriter, r *http.Request) {
	form := r.PostForm
	p := page{Title: "Signed in", Good: true, App: appName}
	var err error
	if form.Get("decision") == "approve" {
		err = s.Approve(form.Get("user_code"), form.Get("user"))
		p.Detail = form.Get("user")
	} else {
		err = s.Decline(form.Get("user_code"))
		p.Title, p.Good = "Declined", false
	}
	if err != nil {
		s.askCode(w, r, http.StatusConflict, "", "That code was used or has expired meanwhile. Ask the program for a new one.")
		return
	}
	s.show(w, http.StatusOK, "result.html", p, "")
}

// showPicker lets the person choose an account for an authorization request.
func (s *Sandbox) showPicker(w http.ResponseWriter, r *http.Request, id string, a *authorization) {
	s.show(w, http.StatusOK, "decide.html", page{
		Title: "Sign in", FormToken: s.formToken(w, r), Request: id, App: appName, Client: clientID,
		From: here(a.from), Asked: s.now().UTC().Format("15:04:05 UTC"), Scopes: explain(a.scope), Users: s.Users(), Hint: strings.ToLower(a.hint),
	}, formAction(a.redirect))
}

// serveSignInPage takes the decision of showPicker's page.
func (s *Sandbox) serveSignInPage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !s.checkForm(r) {
		s.showError(w, r, http.StatusForbidden, oauthError{aadsts: 900144, text: "This form was open for too long or came from another page. Start the sign-in again from the program."})
		return
	}
	s.mu.Lock()
	id := r.PostForm.Get("request")
	a, ok := s.state.requests[id]
	if ok && s.now().After(a.expires) {
		ok = false
	}
	u := s.state.users[strings.ToLower(r.PostForm.Get("user"))]
	approve := r.PostForm.Get("decision") == "approve"
	if ok && (u != nil || !approve) {
		delete(s.state.requests, id)
	}
	s.mu.Unlock()
	switch {
	case !ok:
		s.showError(w, r, http.StatusBadRequest, errBadAuthCode)
	case !approve:
		s.sendBack(w, r, a, s.errorParameters(w, a, oauthError{code: "access_denied", suberror: "cancel", aadsts: 65004, text: errDeclined.text}))
	case u == nil:
		s.showError(w, r, http.StatusBadRequest, oauthError{aadsts: 50034, text: "The user account does not exist in the directory."})
	default:
		s.sendBack(w, r, a, s.newCode(a, u))
	}
}

// showFormPost is the page of OAuth 2.0 Form Post Response Mode: it posts itself
// to the redirect URI, with a button for browsers without scripts.
func (s *Sandbox) showFormPost(w http.ResponseWriter, r *http.Request, target string, v url.Values) {
	p := page{Title: "Working…", Target: target, App: appName}
	for k := range v {
		p.Fields = append(p.Fields, field{k, v.Get(k)})
	}
	slices.SortFunc(p.Fields, func(a, b field) int { return strings.Compare(a.Name, b.Name) })
	s.show(w, http.StatusOK, "formpost.html", p, formAction(target))
}

// showError is Entra's error page.
func (s *Sandbox) showError(w http.ResponseWriter, _ *http.Request, status int, e oauthError) {
	p := page{Title: "Sorry, but we’re having trouble signing you in", Detail: e.text, Number: e.aadsts, Trace: w.Header().Get(headerRequestID)}
	if e.aadsts == errBlocked.aadsts {
		p.Title = "You don’t have access to this"
	}
	s.show(w, status, "error.html", p, "")
}

// formAction is the source expression of a loopback redirect URI.
func formAction(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || u.Host == "" {
		return ""
	}
	return " " + u.Scheme + "://" + u.Host
}

// here names the computer that a request came from.
func here(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return "this computer (" + host + ")"
}

// explain puts the scopes that matter to a person into words.
func explain(scope string) []scopeLine {
	words := map[string]string{
		"mail.read":             "Read your mail",
		"mail.readwrite":        "Read and write your mail",
		"mail.send":             "Send mail as you",
		"user.read":             "Read your profile",
		"ews.accessasuser.all":  "Use your mailbox as you (Exchange Web Services)",
		"imap.accessasuser.all": "Read and write your mail (IMAP)",
		"pop.accessasuser.all":  "Read your mail (POP)",
		"smtp.send":             "Send mail as you (SMTP)",
	}
	q, bad := parseScopes(scope)
	if bad != nil {
		return nil
	}
	var lines []scopeLine
	for _, p := range q.permissions {
		lines = append(lines, scopeLine{q.audience + "/" + p, cmp.Or(words[strings.ToLower(p)], p)})
	}
	if q.offline {
		lines = append(lines, scopeLine{"offline_access", "Keep this access while you are away"})
	}
	return lines
}
