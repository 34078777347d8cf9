package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// pageVisit is a browser at the broker's page, as its script is.
type pageVisit struct {
	w            *world
	name, cookie string
	csrf         string
	seen         strings.Builder // all that the page was told
}

// ask sends what the page's script sends, and gives the answer's body.
func (v *pageVisit) ask(method, path, body string, wantStatus int) []byte {
	v.w.t.Helper()
	req, err := http.NewRequestWithContext(v.w.t.Context(), method, v.w.base+path, strings.NewReader(body))
	if err != nil {
		v.w.t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Broker-CSRF", v.csrf)
	if method != http.MethodGet {
		req.Header.Set("Origin", v.w.base)
	}
	if v.cookie != "" {
		req.AddCookie(&http.Cookie{Name: v.name, Value: v.cookie})
	}
	res, err := v.w.client.Do(req)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != wantStatus {
		v.w.t.Fatalf("%s %s: status %d, want %d (%v): %s", method, path, res.StatusCode, wantStatus, err, out)
	}
	if c := res.Cookies(); len(c) > 0 && c[0].Value != "" {
		v.name, v.cookie = c[0].Name, c[0].Value
	}
	v.seen.Write(out)
	return out
}

// TestThePage: by the command's link in, a sign-in, a look, a sign-out; no token is
// on the page, nothing of the way in stands in the log, and the audit log says that
// it was done at the page.
func TestThePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{Canary: true}})
	w.ready()
	code, out, errs := w.run("ui", "--print")
	link, err := url.Parse(strings.TrimSpace(out))
	if code != exitDone || err != nil || !strings.HasPrefix(link.String(), w.base+"/ui/enter#ticket=") {
		t.Fatalf("code %d, %q %q (%v)", code, out, errs, err)
	}
	ticket := strings.TrimPrefix(link.Fragment, "ticket=")
	v := &pageVisit{w: w}
	v.ask(http.MethodGet, link.Path, "", http.StatusOK)
	var opened struct{ CSRF string }
	if err := json.Unmarshal(v.ask(http.MethodPost, "/ui/session", `{"ticket":"`+ticket+`"}`, http.StatusCreated), &opened); err != nil {
		t.Fatal(err)
	}
	v.ask(http.MethodGet, "/ui/api/status", "", http.StatusUnauthorized) // the cookie alone is not enough
	v.csrf = opened.CSRF

	var s httpapi.SignIn
	if err := json.Unmarshal(v.ask(http.MethodPost, "/ui/api/signins", `{"account":"`+bob+`","flow":"browser"}`, http.StatusCreated), &s); err != nil {
		t.Fatal(err)
	}
	if err := w.sb.Browse(t.Context(), s.VerificationURI, bob); err != nil {
		t.Fatal(err)
	}
	if got := v.ask(http.MethodGet, "/ui/api/signins/"+s.ID+"?wait=30", "", http.StatusOK); !strings.Contains(string(got), `"succeeded"`) {
		t.Fatalf("%s", got)
	}
	w.token("graph")
	for _, path := range []string{"/ui/", "/ui/page.js", "/ui/view.js", "/ui/dom.js", "/ui/page.css", "/ui/api/status", "/ui/api/consumers", "/ui/api/doctor"} {
		v.ask(http.MethodGet, path, "", http.StatusOK)
	}
	v.ask(http.MethodDelete, "/ui/api/accounts/"+bob, "", http.StatusNoContent)
	v.ask(http.MethodDelete, "/ui/session", "", http.StatusNoContent)
	v.ask(http.MethodGet, "/ui/api/status", "", http.StatusUnauthorized)
	w.stop()

	for name, text := range map[string]string{"the page": v.seen.String(), "the log": w.log.String()} {
		for what, secret := range map[string]string{"a token": sandbox.CanaryMarker, "the admin key": w.admin, "a key": w.key, "the ticket": ticket, "the cookie": v.cookie} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", name, what)
			}
		}
	}
	if strings.Contains(w.log.String(), v.csrf) {
		t.Error("the log holds the other half of the session")
	}
	lines := w.read("state/audit/audit.jsonl")
	for _, want := range []string{
		`"event":"ui.entered","consumer":"ui"`, `"event":"signin.started","consumer":"ui"`, `"event":"signin.succeeded","consumer":"ui"`,
		`"event":"signout","consumer":"ui"`, `"event":"signin.succeeded","consumer":"admin"`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the audit log has no %s", want)
		}
	}
	if strings.Contains(lines, ticket) {
		t.Error("the audit log holds the ticket")
	}
}

// A link that a browser is started with can be seen by others, and is good for the
// same account only: here the real system says whose connection it is.
func TestThePageForTheSameUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	var ticket httpapi.UITicket
	w.call(w.admin, http.MethodPost, "/v1/ui/tickets", `{"same_user":true}`).into(&ticket)
	v := &pageVisit{w: w}
	v.ask(http.MethodPost, "/ui/session", `{"ticket":"`+ticket.Ticket+`"}`, http.StatusCreated)
}
