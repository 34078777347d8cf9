package httpapi

import (
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rsc.io/qr"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

const ownPage = "http://" + testHost

// visitor is a browser at the page.
type visitor struct {
	*stack
	cookie, csrf string
}

// ticket asks for one, as `broker ui` does.
func (s *stack) ticket(body string) string {
	s.t.Helper()
	return want[UITicket](s, s.do(call{method: http.MethodPost, path: "/v1/ui/tickets", key: s.admin, body: body}), http.StatusCreated).Ticket
}

// visit comes in with a new ticket.
func (s *stack) visit() *visitor {
	s.t.Helper()
	v := &visitor{stack: s}
	res := v.enter(s.ticket(""), nil)
	v.csrf = want[pageOpened](s, res, http.StatusCreated).CSRF
	v.cookie = res.Cookies()[0].Value
	return v
}

func (v *visitor) enter(ticket string, change func(*http.Request)) *http.Response {
	v.t.Helper()
	c := call{method: http.MethodPost, path: "/ui/session", body: `{"ticket":"` + ticket + `"}`, change: change}
	return v.browse(c)
}

// browse sends what the page's script sends. Every answer has the page's headers.
func (v *visitor) browse(c call) *http.Response {
	v.t.Helper()
	change := c.change
	c.change = func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if r.Method != http.MethodGet {
			r.Header.Set("Origin", ownPage)
		}
		if v.cookie != "" {
			r.AddCookie(&http.Cookie{Name: v.server.door.cookie, Value: v.cookie})
		}
		if v.csrf != "" {
			r.Header.Set(headerCSRF, v.csrf)
		}
		if change != nil {
			change(r)
		}
	}
	r, res := v.send(c)
	v.headed(r, res)
	return res
}

// headed checks what must stand on every answer under /ui.
func (s *stack) headed(r *http.Request, res *http.Response) {
	s.t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": pagePolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		"Access-Control-Allow-Origin": "",
	} {
		if got := res.Header.Get(name); got != want {
			s.t.Errorf("%s %s: %s is %q, want %q", r.Method, r.URL.Path, name, got, want)
		}
	}
}

// pageCalls are all routes of the page, each as the page calls it.
func pageCalls() map[string]call {
	all := map[string]call{}
	for pattern, methods := range newPageRoutes() {
		for method := range methods {
			c := call{method: method, path: strings.NewReplacer("{id}", "id", "{account}", "ops").Replace(pattern)}
			if method == http.MethodPost {
				c.body = `{}`
			}
			all[method+" "+pattern] = c
		}
	}
	return all
}

// needsSession reports whether a call of pageCalls is only for a page that is in.
func needsSession(name string) bool {
	method, pattern, _ := strings.Cut(name, " ")
	return newPageRoutes()[pattern][method].right == pageSession
}

func newPageStack(t testing.TB, change ...func(*Config)) *stack {
	s := newStack(t, change...)
	s.accounts.views = []account.View{{Name: "ops", State: account.StateOK}}
	s.signIns.set(signin.View{ID: "id", State: signin.StatePending, Flow: token.FlowDevice, UserCode: "CODE", VerificationURI: "https://login.example/device"})
	return s
}

// TestThePageIsForItsOwnScript: each route, with one thing of the session or of the
// browser's marks wrong, is refused; with all of them right, it is not.
func TestThePageIsForItsOwnScript(t *testing.T) {
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	del := func(k string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(k) } }
	const in, out, no = 0, http.StatusUnauthorized, http.StatusForbidden
	tests := []struct {
		name                  string
		change                func(*http.Request)
		file, ticket, session int // what it comes to: for files, for the way in, and with a session
	}{
		{"all is right", func(*http.Request) {}, in, in, in},
		{"own referer", set("Referer", ownPage+"/ui/"), in, in, in},
		{"no cookie", del("Cookie"), in, in, out},
		{"another cookie", func(r *http.Request) { r.Header.Set("Cookie", "broker-ui="+strings.Repeat("A", 43)) }, in, in, out},
		{"no other half", del(headerCSRF), in, in, out},
		{"a wrong other half", set(headerCSRF, strings.Repeat("A", 43)), in, in, out},
		{"the other half twice", func(r *http.Request) { r.Header.Add(headerCSRF, r.Header.Get(headerCSRF)) }, in, in, out},
		{"the admin key instead", func(r *http.Request) { r.Header.Del("Cookie"); r.Header.Set("Authorization", "Bearer bra_") }, in, in, out},
		{"another origin", set("Origin", "https://evil.example"), no, no, no},
		{"another port", set("Origin", "http://127.0.0.1:9999"), no, no, no},
		{"https", set("Origin", "https://"+testHost), no, no, no},
		{"the other name of this host", set("Origin", "http://localhost:8477"), no, no, no},
		{"null origin", set("Origin", "null"), no, no, no},
		{"two origins", func(r *http.Request) { r.Header["Origin"] = []string{ownPage, ownPage} }, no, no, no},
		{"another referer", set("Referer", "https://evil.example/"+ownPage+"/ui/"), no, no, no},
		{"a referer that looks alike", set("Referer", "http://"+testHost+".evil.example/ui/"), no, no, no},
		{"cross-site", set("Sec-Fetch-Site", "cross-site"), no, no, no},
		{"same-site", set("Sec-Fetch-Site", "same-site"), no, no, no},
		{"rebinding", func(r *http.Request) {
			r.Host = "evil.example:8477"
			r.Header.Set("Origin", "http://evil.example:8477")
		}, no, no, no},
		{"no mark of a browser", del("Sec-Fetch-Site"), in, no, no},
		{"forwarded", set("X-Forwarded-For", "192.0.2.1"), no, no, no},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, c := range pageCalls() {
				s := newPageStack(t)
				v := s.visit()
				method, pattern, _ := strings.Cut(name, " ")
				want := map[right]int{pageFile: tt.file, pageTicket: tt.ticket, pageSession: tt.session}[newPageRoutes()[pattern][method].right]
				if c.path == "/ui/session" && method == http.MethodPost {
					c.body = `{"ticket":"` + s.ticket("") + `"}`
				}
				c.change = tt.change
				res := v.browse(c)
				if want == in && res.StatusCode >= 400 || want != in && res.StatusCode != want {
					t.Errorf("%s: status %d, want %d (0: let in)", name, res.StatusCode, want)
				}
				if want != in && (len(s.accounts.out) > 0 || len(s.signIns.started) > 0) {
					t.Errorf("%s: was refused, and done all the same", name)
				}
			}
		})
	}
}

// What is open is written out here once more: whoever adds a route to the page and
// means it for everybody says so twice.
func TestOnlyTheFilesOfThePageAreOpen(t *testing.T) {
	open := []string{"/ui", "/ui/", "/ui/enter", "/ui/page.js", "/ui/view.js", "/ui/dom.js", "/ui/page.css", "/ui/icon.svg"}
	for name := range pageCalls() {
		method, pattern, _ := strings.Cut(name, " ")
		want := pageSession
		switch {
		case method == http.MethodGet && slices.Contains(open, pattern):
			want = pageFile
		case name == "POST /ui/session":
			want = pageTicket
		}
		if got := newPageRoutes()[pattern][method].right; got != want {
			t.Errorf("%s: right %d, want %d", name, got, want)
		}
	}
}

// A browser says where everything but a GET comes from.
func TestThePageSaysWhereItCallsFrom(t *testing.T) {
	for name, c := range pageCalls() {
		s := newPageStack(t)
		v := s.visit()
		c.change = func(r *http.Request) { r.Header.Del("Origin") }
		if res := v.browse(c); (res.StatusCode == http.StatusForbidden) != (c.method != http.MethodGet) {
			t.Errorf("%s: status %d without an origin", name, res.StatusCode)
		}
		if c.method == http.MethodGet {
			continue
		}
		c.change = func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }
		if res := v.browse(c); res.StatusCode != http.StatusForbidden || s.refused[gateFetchSite] != 1 {
			t.Errorf("%s: status %d as if a person had typed it, refused %v", name, res.StatusCode, s.refused)
		}
	}
}

// No browser comes over a Unix socket or a pipe.
func TestThePageIsNotOnASocket(t *testing.T) {
	s := newPageStack(t)
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: "unix"}))
	for _, h := range []http.Header{{"Origin": {"http://localhost"}}, {"Referer": {"http://localhost/ui/"}}, {"Sec-Fetch-Site": {"same-origin"}}} {
		_, res := s.send(call{path: "/ui/", ctx: ctx, header: h, change: func(r *http.Request) { r.Host = "localhost" }})
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%v: status %d", h, res.StatusCode)
		}
	}
}

// A page that a person opens has Sec-Fetch-Site: none. What changes something
// never has.
func TestThePageCanBeOpenedByItsAddress(t *testing.T) {
	s := newPageStack(t)
	typed := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }
	for name, c := range pageCalls() {
		c.change = typed
		r, res := s.send(c)
		s.headed(r, res)
		if needsSession(name) || c.method != http.MethodGet {
			if res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: status %d", name, res.StatusCode)
			}
		} else if res.StatusCode >= 400 {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
	for _, path := range []string{"/livez", "/v1/status", "/proxy/graph/ui/", "/uix", "/%75i/", "/openapi.json"} {
		if res := s.do(call{path: path, key: s.admin, change: typed}); res.StatusCode != http.StatusForbidden || res.Header.Get("Content-Security-Policy") != "" {
			t.Errorf("%s: status %d; a browser is let through", path, res.StatusCode)
		}
	}
}

// Every kind of caller of the API, without a page: the files are for all, the rest is
// for none of them, the administrator included.
func TestNoKeyOpensThePage(t *testing.T) {
	for caller := range whoMay() {
		t.Run(caller, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for name, c := range pageCalls() {
					s, who := newCaller(t, caller)
					who.method, who.path, who.body = c.method, c.path, c.body
					r, res := s.send(who)
					s.headed(r, res)
					got := met(s, c.path, res)
					if want := map[bool]string{true: letIn, false: denied}[c.method == http.MethodGet && !needsSession(name)]; got != want {
						t.Errorf("%s: %s, want %s", name, got, want)
					}
				}
			})
		})
	}
}

func TestATicketIsGoodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPageStack(t)
		v := &visitor{stack: s}
		for _, wrong := range []string{"", "x", strings.Repeat("A", 43)} {
			s.problem(v.enter(wrong, nil), http.StatusUnauthorized, token.KindUnauthenticated)
		}
		first := s.ticket(`{}`)
		if res := v.enter(first, nil); res.StatusCode != http.StatusCreated {
			t.Fatalf("status %d", res.StatusCode)
		}
		s.problem(v.enter(first, nil), http.StatusUnauthorized, token.KindUnauthenticated)
		late, inTime := s.ticket(""), s.ticket("")
		time.Sleep(ticketTime - time.Nanosecond)
		if res := v.enter(inTime, nil); res.StatusCode != http.StatusCreated {
			t.Errorf("status %d at the end of the time", res.StatusCode)
		}
		time.Sleep(time.Nanosecond)
		s.problem(v.enter(late, nil), http.StatusUnauthorized, token.KindUnauthenticated)
		for _, body := range []string{"", "no JSON", `["` + late + `"]`} {
			res := v.browse(call{method: http.MethodPost, path: "/ui/session", body: body})
			if res.StatusCode < 400 || len(res.Cookies()) > 0 {
				t.Errorf("body %q: status %d, cookies %v", body, res.StatusCode, res.Cookies())
			}
		}
		if strings.Contains(s.log.String(), first) {
			t.Error("a ticket stands in the log")
		}
	})
}

// Of many who come with one ticket at the same time, one gets in.
func TestATicketIsRacedFor(t *testing.T) {
	s := newPageStack(t)
	ticket := s.ticket("")
	const many = 16
	statuses := make(chan int, many)
	for range many {
		go func() { statuses <- (&visitor{stack: s}).enter(ticket, nil).StatusCode }()
	}
	in := 0
	for range many {
		switch got := <-statuses; got {
		case http.StatusCreated:
			in++
		case http.StatusUnauthorized:
		default:
			t.Errorf("status %d", got)
		}
	}
	if in != 1 || len(s.server.door.sessions) != 1 {
		t.Errorf("%d got in, %d sessions", in, len(s.server.door.sessions))
	}
}

// What browsers ask before they call from elsewhere is answered with no permission,
// and no other method opens what GET and POST open.
func TestOtherMethodsOpenNothing(t *testing.T) {
	s := newPageStack(t)
	for _, c := range pageCalls() {
		for _, method := range []string{http.MethodOptions, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodTrace, "get"} {
			for _, origin := range []string{ownPage, "https://evil.example"} {
				r, res := s.send(call{method: method, path: c.path, header: http.Header{
					"Origin": {origin}, "Sec-Fetch-Site": {"same-origin"}, "Access-Control-Request-Method": {c.method}, "Access-Control-Request-Headers": {headerCSRF},
				}})
				s.headed(r, res)
				for name := range res.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s", method, c.path, name)
					}
				}
				if want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusForbidden}[origin == ownPage]; res.StatusCode != want {
					t.Errorf("%s %s from %s: status %d, want %d", method, c.path, origin, res.StatusCode, want)
				}
			}
		}
	}
}

// userPeer is a process of this account.
type userPeer struct {
	fakePeer
	user string
}

func (p userPeer) Process(context.Context) (peer.Process, error) {
	if p.user == "" {
		return peer.Process{}, peer.ErrUnknown
	}
	return peer.Process{User: p.user}, nil
}

// A ticket that others could see is good for the account that asked for it only.
func TestATicketOfOneUser(t *testing.T) {
	user := "1000"
	s := newPageStack(t, func(c *Config) {
		c.Peer = func(net.Conn) consumer.Peer { return userPeer{user: user} }
	})
	at := func(u string) func(*http.Request) {
		return func(r *http.Request) {
			user = u
			*r = *r.WithContext(s.server.withPeer(t.Context(), nil))
		}
	}
	ask := call{method: http.MethodPost, path: "/v1/ui/tickets", key: s.admin, body: `{"same_user":true}`, change: at("1000")}
	ticket := want[UITicket](s, s.do(ask), http.StatusCreated).Ticket
	v := &visitor{stack: s}
	for _, other := range []string{"1001", "0", ""} {
		s.problem(v.enter(ticket, at(other)), http.StatusForbidden, token.KindDenied)
	}
	s.problem(v.enter(ticket, nil), http.StatusForbidden, token.KindDenied) // no connection
	if res := v.enter(ticket, at("1000")); res.StatusCode != http.StatusCreated {
		t.Errorf("status %d for the account itself; the thief has used the ticket up", res.StatusCode)
	}
	if res := v.enter(s.ticket(""), at("1001")); res.StatusCode != http.StatusCreated {
		t.Errorf("status %d with a ticket for anybody", res.StatusCode)
	}
}

func TestASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPageStack(t)
		looks := func(v *visitor, person string) int {
			return v.browse(call{path: "/ui/api/status", header: http.Header{headerPerson: {person}}}).StatusCode
		}
		v := s.visit()
		for range 3 { // the page's own looks do not keep it open
			time.Sleep(pageIdle/3 - time.Second)
			if got := looks(v, ""); got != http.StatusOK {
				t.Fatalf("status %d", got)
			}
		}
		time.Sleep(3 * time.Second)
		if got := looks(v, ""); got != http.StatusUnauthorized {
			t.Errorf("status %d after the idle time", got)
		}
		v = s.visit()
		for range int(pageTime/pageIdle) * 2 { // a person does, but not for ever
			if got := looks(v, "1"); got != http.StatusOK {
				t.Fatalf("status %d", got)
			}
			time.Sleep(pageIdle / 2)
		}
		if got := looks(v, "1"); got != http.StatusUnauthorized {
			t.Errorf("status %d after the whole time", got)
		}
		v = s.visit()
		if res := v.browse(call{method: http.MethodDelete, path: "/ui/session"}); res.StatusCode != http.StatusNoContent || res.Cookies()[0].MaxAge >= 0 {
			t.Errorf("left with status %d and %v", res.StatusCode, res.Cookies())
		}
		if got := looks(v, "1"); got != http.StatusUnauthorized {
			t.Errorf("status %d after leaving", got)
		}
	})
}

// Who comes in again leaves; and whoever is one too many takes the oldest's place.
func TestHowManyComeIn(t *testing.T) {
	s := newPageStack(t)
	status := func(v *visitor) int { return v.browse(call{path: "/ui/api/status"}).StatusCode }
	v := s.visit()
	again := &visitor{stack: s, cookie: v.cookie}
	if res := again.enter(s.ticket(""), nil); res.StatusCode != http.StatusCreated || status(v) != http.StatusUnauthorized {
		t.Errorf("came in again with status %d; the old session goes on", res.StatusCode)
	}
	var all []*visitor
	for range maxSessions + 1 {
		all = append(all, s.visit())
	}
	for i, v := range all {
		if got := status(v); (got == http.StatusOK) != (i > 0) {
			t.Errorf("session %d: status %d", i, got)
		}
	}
	var tickets []string
	for range maxTickets + 1 {
		tickets = append(tickets, s.ticket(""))
	}
	for i, ticket := range tickets {
		if res := (&visitor{stack: s}).enter(ticket, nil); (res.StatusCode == http.StatusCreated) != (i > 0) {
			t.Errorf("ticket %d: status %d", i, res.StatusCode)
		}
	}
	if d := s.server.door; len(d.tickets) > maxTickets || len(d.sessions) > maxSessions {
		t.Errorf("%d tickets, %d sessions", len(d.tickets), len(d.sessions))
	}
}

// The cookie is for the page only, and no script can read it. Another broker has
// another one.
func TestTheCookie(t *testing.T) {
	s := newPageStack(t)
	res := (&visitor{stack: s}).enter(s.ticket(""), nil)
	c := res.Cookies()[0]
	if c.Path != "/ui" || c.Domain != "" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 8*3600 || len(c.Value) != 43 {
		t.Errorf("cookie %+v", c)
	}
	if !regexp.MustCompile(`^broker-ui-[0-9a-f]{8}$`).MatchString(c.Name) || c.Name == newPageStack(t).server.door.cookie {
		t.Errorf("name %s", c.Name)
	}
	if strings.Contains(string(read(t, res)), c.Value) {
		t.Error("the page's script is told the cookie")
	}
	// Another port of this address can set cookies of the name too.
	v := s.visit()
	other := v.browse(call{path: "/ui/api/status", change: func(r *http.Request) {
		r.Header["Cookie"] = []string{c.Name + "=x; " + r.Header.Get("Cookie")}
	}})
	if other.StatusCode != http.StatusOK {
		t.Errorf("status %d with a cookie of somebody else before the own one", other.StatusCode)
	}
}

// What the page is told is what the API tells the administrator.
func TestThePageSeesWhatTheAPISays(t *testing.T) {
	s := newPageStack(t)
	v := s.visit()
	for _, path := range []string{"status", "consumers", "doctor", "signins/id"} {
		mine, theirs := v.browse(call{path: "/ui/api/" + path}), s.do(call{path: "/v1/" + path, key: s.admin})
		if a, b := read(t, mine), read(t, theirs); string(a) != string(b) || mine.StatusCode != http.StatusOK {
			t.Errorf("%s:\n%s\nwant:\n%s", path, a, b)
		}
	}
	if res := v.browse(call{path: "/ui/api/signins/id?wait=1&wait=2"}); res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d for a wrong query", res.StatusCode)
	}
}

// What is done at the page is told to the audit log as done there.
func TestThePageIsAudited(t *testing.T) {
	h := &heard{t: t}
	s := newPageStack(t, func(c *Config) { c.Audit = h })
	v := s.visit()
	v.browse(call{method: http.MethodDelete, path: "/ui/api/accounts/ops"})
	v.browse(call{method: http.MethodDelete, path: "/ui/api/accounts/nobody"})
	v.csrf = "x"
	v.browse(call{path: "/ui/api/status"})
	s.send(call{path: "/ui/", header: http.Header{"Sec-Fetch-Site": {"cross-site"}}})
	want := []string{
		"ui did ui.entered ", "ui did signout ops", `refused ui unknown-account "DELETE /ui/api/accounts/{account}"`,
		`refused nobody unauthenticated "GET /ui/api/status"`, `refused nobody denied "gate sec-fetch-site"`,
	}
	if !slices.Equal(h.lines, want) {
		t.Errorf("told %q, want %q", h.lines, want)
	}
}

// The files hold no inline script or style, nothing from elsewhere, and nothing that
// takes text for HTML; the policy would stop it, and nobody would see the page.
func TestTheFilesOfThePage(t *testing.T) {
	s := newPageStack(t)
	bad := regexp.MustCompile(`(?i)<script>|<style|\sstyle=|\son[a-z]+=|javascript:|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|localStorage|@import|url\(`)
	elsewhere := regexp.MustCompile(`(?:https?:)?//[a-z0-9.]+\.[a-z]+`)
	err := fs.WalkDir(pageFiles, "ui", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		if found := bad.Find(text); found != nil {
			t.Errorf("%s holds %q", name, found)
		}
		if found := elsewhere.Find(text); found != nil && string(found) != "http://www.w3.org" { // the name of SVG
			t.Errorf("%s names %q", name, found)
		}
		path := strings.Replace("/"+name, "page.html", "", 1)
		_, res := s.send(call{path: path})
		if got := read(t, res); string(got) != string(text) || res.Header.Get("Content-Type") == "" {
			t.Errorf("%s: status %d, %d bytes", path, res.StatusCode, len(got))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, res := s.send(call{path: "/ui"}); res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != "/ui/" {
		t.Errorf("/ui: status %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
}

// What the document lists has a word on the page, and the checks an order.
func TestThePageHasAWordForEachState(t *testing.T) {
	text, err := pageFiles.ReadFile("ui/view.js")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := loadDocument()
	if err != nil {
		t.Fatal(err)
	}
	check := doc.spec.Components.Schemas["DoctorCheck"].Value.Properties["result"]
	schemas := doc.spec.Components.Schemas
	for table, values := range map[string][]any{
		`states = \{.*?\};`: schemas["AccountState"].Value.Enum, `phases = \{.*?\};`: schemas["MapiPhase"].Value.Enum,
		`access = \{.*?\};`: schemas["MapiFreshness"].Value.Enum, `results = \{.*?\};`: check.Value.Enum, `order = \[.*?\]`: check.Value.Enum,
	} {
		words := regexp.MustCompile(`(?s)const ` + table).Find(text)
		if words == nil || len(values) == 0 {
			t.Errorf("view.js has no %s, or the document none", table)
			continue
		}
		for _, v := range values {
			if !regexp.MustCompile(`\b` + v.(string) + `(?:: |")`).Match(words) {
				t.Errorf("%s has nothing for %s", table, v)
			}
		}
	}
}

// The picture has a rectangle for each run of dark modules, and no other.
func TestTheQRCode(t *testing.T) {
	s := newPageStack(t)
	v := s.visit()
	res := v.browse(call{path: "/ui/api/signins/id/qr"})
	svg := string(read(t, res))
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "image/svg+xml" {
		t.Fatalf("status %d, %s", res.StatusCode, svg)
	}
	code, err := qr.Encode("https://login.example/device", qr.M)
	if err != nil {
		t.Fatal(err)
	}
	dark := map[[2]int]bool{}
	for _, m := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`).FindAllStringSubmatch(svg, -1) {
		n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v }
		for x := range n(3) {
			dark[[2]int{n(1) + x - qrQuiet, n(2) - qrQuiet}] = true
		}
	}
	for y := range code.Size {
		for x := range code.Size {
			if dark[[2]int{x, y}] != code.Black(x, y) {
				t.Fatalf("module %d, %d is wrong", x, y)
			}
		}
	}
	for _, view := range []signin.View{
		{ID: "id", State: signin.StatePending, Flow: token.FlowBrowser, VerificationURI: "https://login.example/authorize"},
		{ID: "id", State: signin.StateSucceeded, Flow: token.FlowDevice},
		{ID: "other"},
	} {
		s.signIns.set(view)
		s.problem(v.browse(call{path: "/ui/api/signins/id/qr"}), http.StatusNotFound, token.KindNotFound)
	}
	if strings.Contains(svg, "login.example") {
		t.Error("the link stands in the picture as text")
	}
}

func TestTheTicketsAnswer(t *testing.T) {
	s := newPageStack(t)
	res := s.do(call{method: http.MethodPost, path: "/v1/ui/tickets", key: s.admin})
	var out UITicket
	if err := json.Unmarshal(read(t, res), &out); err != nil || out.Path != "/ui/enter" || len(out.Ticket) != 43 {
		t.Errorf("%+v, %v", out, err)
	}
	if left := time.Until(time.Unix(out.ExpiresOn, 0)); left > ticketTime || left < ticketTime-5*time.Second {
		t.Errorf("ends in %v", left)
	}
	s.problem(s.do(call{method: http.MethodPost, path: "/v1/ui/tickets", key: s.admin, body: `{"same":true}`}), http.StatusBadRequest, token.KindInvalidRequest)
}
