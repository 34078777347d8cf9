package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func decode(body string, v any) error { return json.Unmarshal([]byte(body), v) }

func TestGraph(t *testing.T) {
	c := overTLS(t, Config{})
	bob := c.signIn("bob@contoso.example", graphScope)
	resp, body := c.get("/v1.0/me", bob.AccessToken)
	var me graphUser
	if err := decode(body, &me); err != nil || resp.StatusCode != http.StatusOK || me.UserPrincipalName != "bob@contoso.example" || me.ID != c.s.Users()[1].ObjectID {
		t.Errorf("me: %d %s", resp.StatusCode, body)
	}
	var all []string
	for next, pages := "/v1.0/me/messages?$top=10", 0; next != ""; pages++ {
		_, body := c.get(next, bob.AccessToken)
		var page graphPage
		if err := decode(body, &page); err != nil || pages > 3 {
			t.Fatalf("page %d: %s", pages, body)
		}
		for _, m := range page.Value {
			all = append(all, m.ID)
		}
		next = strings.TrimPrefix(page.Next, c.s.URL())
	}
	if len(all) != mailboxSize {
		t.Errorf("%d messages by paging, want %d", len(all), mailboxSize)
	}
	for path, want := range map[string]int{
		"/v1.0/me/messages?$top=0": 400, "/v1.0/me/messages?$top=x": 400, "/v1.0/me/messages?$skip=-1": 400, "/v1.0/users": 404, "/v1.0/me/messages?$top=3&$skip=24": 200,
	} {
		if resp, body := c.get(path, bob.AccessToken); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
}

func TestAPIsCheckTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, Config{AccessTokenLifetime: time.Hour})
		other := inMemory(t, Config{})
		graph := c.signIn("alice@contoso.example", graphScope)
		ews := c.refresh(graph.RefreshToken, ewsScope)
		forged := strings.Split(graph.AccessToken, ".")
		forged[1] = strings.Split(ews.AccessToken, ".")[1]
		for name, tc := range map[string]struct {
			token string
			graph int
			ews   int
		}{
			"graph token":     {graph.AccessToken, 200, 401},
			"ews token":       {ews.AccessToken, 401, 200},
			"none":            {"", 401, 401},
			"garbage":         {"x.y.z", 401, 401},
			"forged":          {strings.Join(forged, "."), 401, 401},
			"ID token":        {graph.IDToken, 401, 401},
			"another sandbox": {other.signIn("alice@contoso.example", graphScope).AccessToken, 401, 401},
			"few permissions": {c.refresh(graph.RefreshToken, audienceGraph+"/Calendars.Read").AccessToken, 403, 401},
			"no EWS":          {c.refresh(graph.RefreshToken, audienceOutlook+"/Mail.Read").AccessToken, 401, 403},
		} {
			if resp, body := c.get("/v1.0/me", tc.token); resp.StatusCode != tc.graph {
				t.Errorf("%s: Graph %d %s, want %d", name, resp.StatusCode, body, tc.graph)
			}
			if resp, body := c.soap(tc.token, `<m:GetFolder><m:FolderIds/></m:GetFolder>`); resp.StatusCode != tc.ews {
				t.Errorf("%s: EWS %d %s, want %d", name, resp.StatusCode, body, tc.ews)
			}
		}
		time.Sleep(time.Hour)
		resp, _ := c.get("/v1.0/me", graph.AccessToken)
		if resp.StatusCode != http.StatusUnauthorized || strings.Contains(resp.Header.Get("WWW-Authenticate"), "insufficient_claims") {
			t.Errorf("an expired token: %d %s", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
		}
	})
}

// soap sends a SOAP body to EWS.
func (c *client) soap(bearer, body string) (*http.Response, string) {
	c.t.Helper()
	text := `<?xml version="1.0"?><soap:Envelope xmlns:soap="` + nsSOAP + `" xmlns:m="` + nsMessages + `" xmlns:t="` + nsTypes + `"><soap:Body>` + body + `</soap:Body></soap:Envelope>`
	resp, out, err := c.do(c.request(http.MethodPost, "/EWS/Exchange.asmx", text, "Content-Type", "text/xml; charset=utf-8", "Authorization", "Bearer "+bearer))
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, out
}

func TestEWS(t *testing.T) {
	c := overTLS(t, Config{})
	token := c.signIn("alice@contoso.example", ewsScope).AccessToken
	const find = `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="%d" Offset="%d" BasePoint="Beginning"/>` +
		`<m:ParentFolderIds><t:DistinguishedFolderId Id="%s"/></m:ParentFolderIds></m:FindItem>`
	for name, tc := range map[string]struct {
		body   string
		status int
		has    []string
		items  int
	}{
		"get folder":     {`<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder>`, 200, []string{"NoError", "<t:TotalCount>25</t:TotalCount>"}, 0},
		"root":           {`<m:GetFolder><m:FolderIds><t:DistinguishedFolderId Id="root"/></m:FolderIds></m:GetFolder>`, 200, []string{"NoError", "<t:ChildFolderCount>1</t:ChildFolderCount>"}, 0},
		"version":        {`<m:ConvertId DestinationFormat="EntryId"><m:SourceIds><t:AlternateId Id="DUMMY" Format="EwsId" Mailbox="DUMMY"/></m:SourceIds></m:ConvertId>`, 200, []string{"ServerVersionInfo", "ErrorInvalidIdMalformed"}, 0},
		"no such folder": {`<m:GetFolder><m:FolderIds><t:DistinguishedFolderId Id="drafts"/></m:FolderIds></m:GetFolder>`, 200, []string{"ErrorFolderNotFound"}, 0},
		"first page":     {fmt.Sprintf(find, 10, 0, "inbox"), 200, []string{"NoError", `IncludesLastItemInRange="false"`}, 10},
		"last page":      {fmt.Sprintf(find, 10, 20, "inbox"), 200, []string{`IncludesLastItemInRange="true"`}, 5},
		"beyond":         {fmt.Sprintf(find, 10, 99, "inbox"), 200, []string{`IncludesLastItemInRange="true"`}, 0},
		"find elsewhere": {fmt.Sprintf(find, 10, 0, "drafts"), 200, []string{"ErrorFolderNotFound"}, 0},
		"other call":     {`<m:SendItem/>`, 500, []string{"s:Fault", "ErrorInvalidOperation", "SendItem"}, 0},
		"empty body":     {``, 500, []string{"s:Fault", "ErrorSchemaValidation"}, 0},
		"no XML":         {`<`, 500, []string{"s:Fault", "ErrorSchemaValidation"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := c.soap(token, tc.body)
			if resp.StatusCode != tc.status || strings.Count(body, "<t:Message>") != tc.items {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			for _, want := range tc.has {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in %s", want, body)
				}
			}
			var envelope struct {
				XMLName xml.Name `xml:"http://schemas.xmlsoap.org/soap/envelope/ Envelope"`
			}
			if err := xml.Unmarshal([]byte(body), &envelope); err != nil {
				t.Errorf("not SOAP: %v", err)
			}
		})
	}
	if resp, _ := c.soap(token, strings.Repeat(" ", maxSOAP)); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", resp.StatusCode)
	}
	if resp, _ := c.get("/EWS/Exchange.asmx", token); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}
	c.fault(Fault{Scenario: "ews_blocked", Count: 1})
	if resp, _ := c.soap(token, ""); resp.StatusCode != http.StatusForbidden || resp.Header.Get("X-EWS-Policy-Reason") == "" {
		t.Errorf("blocked: %d %v", resp.StatusCode, resp.Header)
	}
}

var claimsParameter = regexp.MustCompile(`error="insufficient_claims", claims="([^"]+)"`)

// challenged gives the decoded claims of a challenge, or "".
func challenged(t *testing.T, resp *http.Response) string {
	t.Helper()
	m := claimsParameter.FindStringSubmatch(resp.Header.Get("WWW-Authenticate"))
	if resp.StatusCode != http.StatusUnauthorized || m == nil {
		return ""
	}
	b, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestClaimsChallenge(t *testing.T) {
	c := inMemory(t, Config{})
	a := c.signIn("alice@contoso.example", graphScope)
	c.fault(Fault{Scenario: "cae", Endpoint: EndpointGraph})
	resp, _ := c.get("/v1.0/me", a.AccessToken)
	claims := challenged(t, resp)
	if claims == "" {
		t.Fatalf("no challenge: %d %v", resp.StatusCode, resp.Header)
	}
	plain := c.refresh(a.RefreshToken, graphScope)
	if resp, _ := c.get("/v1.0/me", plain.AccessToken); challenged(t, resp) == "" {
		t.Error("a token redeemed without the claims was accepted")
	}
	form := refreshForm(a.RefreshToken, graphScope)
	form.Set("claims", strings.TrimSuffix(claims, "}}")+`,"xms_cc":{"values":["cp1"]}}}`) // as MSAL merges it
	good := c.mustPost("token", form)
	if claimsOf(t, good.AccessToken)["xms_cc"] == nil {
		t.Error("the capability is lost beside the claims")
	}
	if resp, body := c.get("/v1.0/me", good.AccessToken); resp.StatusCode != http.StatusOK {
		t.Errorf("a token redeemed with the claims: %d %s", resp.StatusCode, body)
	}
	c.fault(Fault{Scenario: "cae", Endpoint: EndpointGraph})
	if resp, _ := c.get("/v1.0/me", good.AccessToken); challenged(t, resp) == "" {
		t.Error("an answer to the old challenge satisfied a new one")
	}
}

func TestRevocationChallengesCapableTokens(t *testing.T) {
	c := inMemory(t, Config{})
	a := c.signIn("alice@contoso.example", graphScope)
	form := refreshForm(a.RefreshToken, graphScope)
	form.Set("claims", `{"access_token":{"xms_cc":{"values":["cp1"]}}}`)
	capable := c.mustPost("token", form)
	if err := c.s.Revoke("alice@contoso.example"); err != nil {
		t.Fatal(err)
	}
	if resp, _ := c.get("/v1.0/me", capable.AccessToken); challenged(t, resp) == "" {
		t.Errorf("cp1: %d", resp.StatusCode)
	}
	if resp, _ := c.get("/v1.0/me", a.AccessToken); resp.StatusCode != http.StatusOK {
		t.Errorf("without cp1 a token lives to its end, as with Entra; got %d", resp.StatusCode)
	}
}

// ask asks the control endpoints.
func (c *client) ask(method, path, body string) (int, string) {
	c.t.Helper()
	resp, out, err := c.do(c.request(method, path, body, "X-Sandbox-Key", c.s.ControlKey()))
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, out
}

func TestControl(t *testing.T) {
	c := overTLS(t, Config{})
	ask := c.ask
	d := c.deviceCode(graphScope)
	if _, out := ask("GET", "/sandbox/codes", ""); out != `["`+d.UserCode+`"]` {
		t.Errorf("codes: %s", out)
	}
	declined := c.deviceCode(graphScope)
	for _, step := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/sandbox/approve", `{"user_code":"` + d.UserCode + `","user":"bob@contoso.example"}`, 204},
		{"POST", "/sandbox/approve", `{"user_code":"NOPE"}`, 400},
		{"POST", "/sandbox/decline", `{"user_code":"` + declined.UserCode + `"}`, 204},
		{"POST", "/sandbox/users", `{"user":"ops@contoso.example"}`, 204},
		{"POST", "/sandbox/faults", `{"scenario":"throttled","endpoint":"token-refresh","count":1,"retry_after":7}`, 201},
		{"POST", "/sandbox/faults", `{"scenario":"nope"}`, 400},
		{"POST", "/sandbox/faults", `{"scenari":"throttled"}`, 400},
		{"DELETE", "/sandbox/faults/99", ``, 400},
		{"POST", "/sandbox/clock", `{"seconds":60}`, 204},
		{"POST", "/sandbox/clock", `{"seconds":0}`, 204},
		{"POST", "/sandbox/frequency", `{"seconds":3600}`, 204},
		{"POST", "/sandbox/nothing", ``, 404},
	} {
		if status, out := ask(step.method, step.path, step.body); status != step.status {
			t.Errorf("%s %s %s: %d %s, want %d", step.method, step.path, step.body, status, out, step.status)
		}
	}
	wantError(t, c.poll(declined.DeviceCode), 400, "authorization_declined", 65004)
	if a := c.poll(d.DeviceCode); claimsOf(t, a.IDToken)["preferred_username"] != "bob@contoso.example" {
		t.Fatalf("approved: %s", a.Raw)
	}
}

// TestControlSteers plays faults and an administrator over the wire.
func TestControlSteers(t *testing.T) {
	c := overTLS(t, Config{})
	ask := c.ask
	a := c.signIn("bob@contoso.example", graphScope)
	ask("POST", "/sandbox/faults", `{"scenario":"throttled","endpoint":"token-refresh","count":1,"retry_after":7}`)
	if _, out := ask("GET", "/sandbox/faults", ""); !strings.Contains(out, `"scenario":"throttled"`) || !strings.Contains(out, `"retry_after":7`) {
		t.Errorf("faults: %s", out)
	}
	if got := c.refresh(a.RefreshToken, graphScope); got.Status != 429 || got.Header.Get("Retry-After") != "7" {
		t.Errorf("%d %s", got.Status, got.Raw)
	}
	ask("POST", "/sandbox/faults", `{"scenario":"reset"}`)
	ask("DELETE", "/sandbox/faults", "")
	var st Stats
	if _, out := ask("GET", "/sandbox/stats", ""); decode(out, &st) != nil || st.SignIns != 1 || st.Requests[EndpointTokenRefresh] != 1 {
		t.Errorf("stats: %s", out)
	}
	ask("DELETE", "/sandbox/stats", "")
	if st := c.s.Stats(); len(st.Requests) != 0 || len(st.Polls) != 0 {
		t.Errorf("stats after the reset: %+v", st)
	}
	ask("POST", "/sandbox/disable", `{"user":"bob@contoso.example"}`)
	wantError(t, c.refresh(a.RefreshToken, graphScope), 400, "invalid_grant", 50057)
	ask("POST", "/sandbox/disable", `{"user":"bob@contoso.example","disabled":false}`)
	ask("POST", "/sandbox/revoke", `{"user":"bob@contoso.example"}`)
	wantError(t, c.refresh(a.RefreshToken, graphScope), 400, "invalid_grant", 50173)
	ask("POST", "/sandbox/users", `{"user":"ops@contoso.example"}`)
	if status, out := ask("POST", "/sandbox/approve", `{"user":"ops@contoso.example"}`); status != 204 || c.poll(c.deviceCode(graphScope).DeviceCode).Status != 200 {
		t.Errorf("approve all: %d %s", status, out)
	}
	var names []Scenario
	if _, out := ask("GET", "/sandbox/scenarios", ""); decode(out, &names) != nil || !cmp.Equal(names, Scenarios()) {
		t.Errorf("scenarios: %s", out)
	}
	if _, out := ask("GET", "/sandbox/users", ""); !strings.Contains(out, "ops@contoso.example") {
		t.Errorf("users: %s", out)
	}
}

func TestControlNeedsTheKey(t *testing.T) {
	c := inMemory(t, Config{})
	for name, header := range map[string][]string{
		"none": nil, "wrong": {"X-Sandbox-Key", "sbk_wrong"}, "empty bearer": {"Authorization", "Bearer "}, "basic": {"Authorization", "Basic " + c.s.ControlKey()},
	} {
		if resp, _, err := c.do(c.request(http.MethodGet, "/sandbox/stats", "", header...)); err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v %v", name, resp.StatusCode, err)
		}
	}
	if resp, _, err := c.do(c.request(http.MethodGet, "/sandbox/stats", "", "Authorization", "bearer "+c.s.ControlKey())); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("bearer: %v %v", resp.StatusCode, err)
	}
	q := authorizeQuery("query", "")
	if resp, _, err := c.do(c.request(http.MethodGet, authorizePath+q.Encode(), "", "X-Sandbox-User", "bob@contoso.example", "X-Sandbox-Key", "wrong")); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a wrong key approved a sign-in: %d", resp.StatusCode)
	}
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	c := inMemory(t, Config{AutoApprove: true, Sizes: Sizes{Access: 1, Refresh: 64}})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("user%d@contoso.example", i)
			if _, err := c.s.AddUser(name); err != nil {
				t.Error(err)
			}
			if err := c.s.ApproveAll(name); err != nil {
				t.Error(err)
			}
			a := c.poll(c.deviceCode(graphScope).DeviceCode)
			for range 5 {
				if a = c.refresh(a.RefreshToken, graphScope); a.Status == 200 {
					c.get("/v1.0/me", a.AccessToken)
				}
				id, err := c.s.Fault(Fault{Scenario: "unavailable", Endpoint: EndpointGraph, Count: 1})
				if err != nil {
					t.Error(err)
				}
				c.s.ClearFault(id)
				c.s.Stats()
				c.s.Faults()
				c.s.PendingCodes()
				c.authCode("query", name)
			}
			c.mustPost("token", url.Values{"grant_type": {"x"}})
		})
	}
	wg.Wait()
	if got := c.s.Stats(); got.SignIns != 16 || got.Redemptions != 80 {
		t.Errorf("stats: %+v", got)
	}
}
