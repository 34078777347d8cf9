package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/token"
)

// Every phase, shown and ensured, golden.
func TestEveryPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		for _, p := range mapiadapter.Phases() {
			s.outlook.set(archive(p), little())
			golden(t, "mapi-"+string(p), s.do(call{path: "/v1/mapi/archive", key: s.crm}))
			golden(t, "mapi-ensure-"+string(p), s.do(call{method: "POST", path: "/v1/mapi/archive/ensure", key: s.crm}))
		}
		golden(t, "mapi-little", s.do(call{path: "/v1/mapi/other", key: s.admin}))
		if strings.Contains(s.log.String(), "svc") || strings.Contains(s.log.String(), "profile Archive") {
			t.Errorf("an account or a profile stands in the log: %s", s.log)
		}
	})
}

func TestEnsureAnswersByThePhase(t *testing.T) {
	tests := []struct {
		phase  mapiadapter.Phase
		status int
		code   ProblemCode
		retry  string
		action ProblemUserAction
	}{
		{mapiadapter.Idle, 200, "", "", ""},
		{mapiadapter.Precheck, 202, "", "15", ""},
		{mapiadapter.Trigger, 202, "", "15", ""},
		{mapiadapter.Observe, 202, "", "15", ""},
		{mapiadapter.Backoff, 503, "mapi-backoff", "390", "none"},
		{mapiadapter.WaitSession, 503, "mapi-no-session", "", "sign-in"},
		{mapiadapter.WaitAgent, 503, "mapi-no-session", "", "sign-in"},
		{mapiadapter.NeedsUser, 409, "mapi-user-action-required", "", "sign-in"},
		{mapiadapter.Suspended, 503, "mapi-suspended", "", "contact-admin"},
		{mapiadapter.Unsupported, 501, "mapi-unsupported", "", "contact-admin"},
		{mapiadapter.Session0Broken, 501, "mapi-unsupported", "", "contact-admin"},
	}
	if len(tests) != len(mapiadapter.Phases()) {
		t.Error("the table has not every phase")
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		for _, tt := range tests {
			v := archive(tt.phase)
			s.outlook.set(v)
			res := s.do(call{method: "POST", path: "/v1/mapi/archive/ensure", key: s.crm, body: "{}"})
			if res.StatusCode != tt.status || res.Header.Get("Retry-After") != tt.retry {
				t.Errorf("%s: status %d, Retry-After %q; want %d, %q", tt.phase, res.StatusCode, res.Header.Get("Retry-After"), tt.status, tt.retry)
			}
			if tt.code == "" {
				if got := want[MapiTarget](s, res, tt.status); got.Phase != MapiPhase(tt.phase) {
					t.Errorf("%s: answer %+v", tt.phase, got)
				}
				continue
			}
			p := want[Problem](s, res, tt.status)
			if p.Code != tt.code || p.UserAction != tt.action || p.Retryable != (tt.action == "none") ||
				p.Target != "archive" || p.Phase != MapiPhase(tt.phase) || p.Reason != string(v.Reason) || p.Freshness != "expired" {
				t.Errorf("%s: problem %+v", tt.phase, p)
			}
			if !strings.HasPrefix(p.Detail, v.Message) || !strings.HasSuffix(p.Detail, v.Action) {
				t.Errorf("%s: detail %q", tt.phase, p.Detail)
			}
		}
		stale := archive(mapiadapter.Idle)
		stale.Freshness = mapiadapter.Unknown
		s.outlook.set(stale)
		if got := want[MapiTarget](s, s.do(call{method: "POST", path: "/v1/mapi/archive/ensure", key: s.crm}), 202); got.Freshness != "unknown" {
			t.Errorf("answer %+v", got)
		}
		late := archive(mapiadapter.Backoff)
		late.Retry = time.Now().Add(-time.Hour)
		s.outlook.set(late)
		if res := s.do(call{method: "POST", path: "/v1/mapi/archive/ensure", key: s.crm}); res.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q for a wait that is over", res.Header.Get("Retry-After"))
		}
	})
}

func TestEnsureWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.outlook.set(archive(mapiadapter.Observe))
		time.AfterFunc(40*time.Second, func() { s.outlook.set(archive(mapiadapter.Idle)) })
		for _, tt := range []struct {
			query, body string
			status      int
			took        time.Duration
		}{
			{"", "", 202, 0},
			{"?wait=30", `{"force":true}`, 202, 30 * time.Second},
			{"?wait=60", `{"force":false}`, 200, 10 * time.Second},
			{"?wait=60", "", 200, 0},
		} {
			began := time.Now()
			res := s.do(call{method: "POST", path: "/v1/mapi/archive/ensure" + tt.query, key: s.crm, body: tt.body})
			if took := time.Since(began); res.StatusCode != tt.status || took != tt.took {
				t.Errorf("%s: status %d after %v, want %d after %v", tt.query, res.StatusCode, took, tt.status, tt.took)
			}
		}
		if got := strings.Join(s.outlook.calls, "; "); got != "ensure archive false 0s; ensure archive true 30s; ensure archive false 1m0s; ensure archive false 1m0s" {
			t.Errorf("calls %s", got)
		}
	})
}

func TestEnsureEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.outlook.set(archive(mapiadapter.Observe))
		time.AfterFunc(5*time.Second, func() { close(s.server.stopping) })
		began := time.Now()
		res := s.do(call{method: "POST", path: "/v1/mapi/archive/ensure?wait=60", key: s.crm})
		if took := time.Since(began); res.StatusCode != http.StatusAccepted || took != 5*time.Second {
			t.Errorf("status %d after %v", res.StatusCode, took)
		}
	})
}

func TestListOfTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.outlook.set(archive(mapiadapter.Idle), little())
		for _, tt := range []struct{ key, want string }{{s.admin, "archive other"}, {s.crm, "archive"}, {s.scraper, ""}} {
			var names []string
			for _, v := range want[MapiTargetList](s, s.do(call{path: "/v1/mapi", key: tt.key}), 200).Targets {
				names = append(names, v.Target)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("targets %s, want %s", got, tt.want)
			}
		}
		golden(t, "mapi-none", s.do(call{path: "/v1/mapi", key: s.scraper}))
		golden(t, "mapi-list", s.do(call{path: "/v1/mapi", key: s.admin}))
	})
}

// A consumer cannot tell a target of others from one that is not there, nor can
// it by what it sends along.
func TestATargetOfOthersIsAsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.outlook.set(archive(mapiadapter.Idle), little())
		for _, c := range []call{
			{path: "/v1/mapi/%s"},
			{path: "/v1/mapi/%s/history"},
			{method: "POST", path: "/v1/mapi/%s/ensure"},
			{method: "POST", path: "/v1/mapi/%s/ensure", body: `{"wrong":1}`},
			{method: "POST", path: "/v1/mapi/%s/report", body: `{"ok":true}`},
			{method: "POST", path: "/v1/mapi/%s/report", body: `{}`},
		} {
			c.key = s.crm
			var seen []string
			for _, name := range []string{"other", "nosuch"} {
				one := c
				one.path = fmt.Sprintf(c.path, name)
				p := s.problem(s.do(one), 404, token.KindNotFound)
				seen = append(seen, strings.ReplaceAll(p.Detail, name, "NAME"))
			}
			if seen[0] != seen[1] || !strings.Contains(seen[0], "mapi of the consumer") {
				t.Errorf("%s %s: %q and %q", c.method, c.path, seen[0], seen[1])
			}
		}
		if len(s.outlook.calls) > 0 {
			t.Errorf("calls %v", s.outlook.calls)
		}
		s.problem(s.do(call{path: "/v1/mapi/gone", key: s.crm}), 404, token.KindNotFound) // its own, and not configured
		p := s.problem(s.do(call{path: "/v1/mapi/nosuch", key: s.admin}), 404, token.KindNotFound)
		if !strings.Contains(p.Detail, `"nosuch"; configured are archive, other`) {
			t.Errorf("detail %q", p.Detail)
		}
		s.outlook.set()
		if p := s.problem(s.do(call{path: "/v1/mapi/nosuch", key: s.admin}), 404, token.KindNotFound); !strings.Contains(p.Detail, "No Outlook target is configured") {
			t.Errorf("detail %q", p.Detail)
		}
	})
}

func TestWithoutOutlook(t *testing.T) {
	s := newStack(t, func(c *Config) { c.Outlook = nil })
	for _, c := range []call{
		{path: "/v1/mapi"},
		{path: "/v1/mapi/archive"},
		{path: "/v1/mapi/archive/history"},
		{method: "POST", path: "/v1/mapi/archive/ensure"},
		{method: "POST", path: "/v1/mapi/archive/report", body: `{"ok":true}`},
		{method: "POST", path: "/v1/mapi/archive/pause"},
		{method: "POST", path: "/v1/mapi/archive/resume"},
		{method: "POST", path: "/v1/agent/sync", body: agentReport},
	} {
		c.key = s.admin
		if p := s.problem(s.do(c), 404, token.KindNotFound); !strings.Contains(p.Detail, "No Outlook target is configured") {
			t.Errorf("%s: detail %q", c.path, p.Detail)
		}
	}
	if got := want[Status](s, s.do(call{path: "/v1/status", key: s.admin}), 200).Mapi; got == nil || len(got) > 0 {
		t.Errorf("targets of the status: %v", got)
	}
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.outlook.set(archive(mapiadapter.Precheck))
		report := func(body string) *http.Response {
			return s.do(call{method: "POST", path: "/v1/mapi/archive/report", key: s.crm, body: body})
		}
		golden(t, "mapi-report", report(`{"hresult":"0x8004011D","operation":"OpenMsgStore"}`))
		for _, body := range []string{`{"hresult":"8004011d"}`, `{"hresult":"-2147221219"}`, `{"hresult":2147746077}`, `{"hresult":-2147221219}`} {
			want[MapiTarget](s, report(body), 202)
		}
		want[MapiTarget](s, report(`{"ok":true,"operation":"MAPILogonEx"}`), 202)
		failed := "report archive false 0x8004011D "
		if diff := slices.Compare(s.outlook.calls, []string{failed + "OpenMsgStore", failed, failed, failed, failed, "report archive true 0x00000000 MAPILogonEx"}); diff != 0 {
			t.Errorf("calls %q", s.outlook.calls)
		}
		s.outlook.calls = nil
		for _, tt := range []struct{ body, says string }{
			{`{}`, "hresult is missing"},
			{`{"operation":"Logon"}`, "hresult is missing"},
			{`{"ok":false}`, `"ok" must be true`},
			{`{"ok":1}`, `"ok" must be true`},
			{`{"hresult":"0x8004011D","ok":true}`, "exclude each other"},
			{`{"hresult":""}`, `"hresult" must be a text or a whole number`},
			{`{"hresult":null}`, `"hresult" must be a text or a whole number`},
			{`{"hresult":1.5}`, `"hresult" must be a text or a whole number`},
			{`{"hresult":"0x0"}`, "is no failure"},
			{`{"hresult":0}`, "is no failure"},
			{`{"hresult":80040111}`, "is no failure"}, // decimal: a number is never hexadecimal
			{`{"hresult":"SECRET"}`, "is no HRESULT"},
			{`{"hresult":4294967296}`, "is no HRESULT"},
			{`{"hresult":1e300}`, "HRESULT"},
			{`{"hresult":"0x8004011D","operation":""}`, `"operation" is empty`},
			{`{"hresult":"0x8004011D","why":1}`, `no member "why"`},
		} {
			p := s.problem(report(tt.body), 400, token.KindInvalidRequest)
			if !strings.Contains(p.Detail, tt.says) || strings.Contains(p.Detail, "SECRET") {
				t.Errorf("%s: detail %q, want %q", tt.body, p.Detail, tt.says)
			}
		}
		if len(s.outlook.calls) > 0 {
			t.Errorf("calls %q", s.outlook.calls)
		}
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.outlook.set(archive(mapiadapter.Idle))
		golden(t, "mapi-history-none", s.do(call{path: "/v1/mapi/archive/history", key: s.crm}))
		now := time.Now()
		s.outlook.entries = []mapiadapter.Entry{
			{Seq: 1, On: now, Event: "report_error", From: mapiadapter.Idle, To: mapiadapter.Precheck, Cause: "c1", Outcome: "0x8004011D", Detail: "OpenMsgStore", State: []byte(`{"secret":1}`)},
			{Seq: 2, On: now.Add(1500 * time.Millisecond), Event: "tick", From: mapiadapter.Precheck, To: mapiadapter.Trigger, Cause: "c1", Attempt: "a1", Action: "start"},
			{Seq: 3, On: now.Add(time.Minute), Event: "tick", From: mapiadapter.Trigger, To: mapiadapter.Backoff, Attempt: "a1", Reason: "no_proof"},
		}
		golden(t, "mapi-history", s.do(call{path: "/v1/mapi/archive/history", key: s.crm}))
		if got := want[MapiHistory](s, s.do(call{path: "/v1/mapi/archive/history?limit=2", key: s.admin}), 200); len(got.Entries) != 2 || got.Entries[1].Seq != 3 {
			t.Errorf("history %+v", got)
		}
		if got := strings.Join(s.outlook.calls, "; "); got != "history archive 100; history archive 100; history archive 2" {
			t.Errorf("calls %s", got)
		}
		for _, limit := range []string{"0", "-1", "1001", "x", ""} {
			p := s.problem(s.do(call{path: "/v1/mapi/archive/history?limit=" + limit, key: s.crm}), 400, token.KindInvalidRequest)
			if !strings.Contains(p.Detail, "between 1 and 1000") {
				t.Errorf("limit %q: %s", limit, p.Detail)
			}
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	s := newStack(t)
	s.outlook.set(archive(mapiadapter.Suspended))
	for _, do := range []string{"pause", "resume"} {
		path := "/v1/mapi/archive/" + do
		if got := want[MapiTarget](s, s.do(call{method: "POST", path: path, key: s.admin}), 200); got.Phase != "suspended" {
			t.Errorf("%s: %+v", do, got)
		}
		s.problem(s.do(call{method: "POST", path: path, key: s.crm}), 403, token.KindDenied)
		s.problem(s.do(call{method: "POST", path: "/v1/mapi/nosuch/" + do, key: s.admin}), 404, token.KindNotFound)
	}
	if got := strings.Join(s.outlook.calls, "; "); got != "pause archive; resume archive" {
		t.Errorf("calls %s", got)
	}
}

// What the fallback itself cannot do is told as it says.
func TestFaultsOfTheFallback(t *testing.T) {
	s := newStack(t)
	s.outlook.set(archive(mapiadapter.Idle))
	s.outlook.err = token.NewError(token.KindUnavailable, "Outlook target", "Outlook targets need a running broker; start it with: broker serve")
	for _, c := range []call{
		{path: "/v1/mapi/archive/history"},
		{method: "POST", path: "/v1/mapi/archive/ensure"},
		{method: "POST", path: "/v1/mapi/archive/report", body: `{"ok":true}`},
		{method: "POST", path: "/v1/mapi/archive/pause"},
		{method: "POST", path: "/v1/mapi/archive/resume"},
		{method: "POST", path: "/v1/agent/sync", body: agentReport},
	} {
		c.key = s.admin
		s.problem(s.do(c), 503, token.KindUnavailable)
	}
	s.outlook.err = errors.New("SECRET")
	res := s.do(call{method: "POST", path: "/v1/mapi/archive/ensure", key: s.admin})
	if s.problem(res, 500, token.KindInternal); strings.Contains(string(read(t, res)), "SECRET") {
		t.Error("a foreign error's text is passed on")
	}
	s.outlook.err = nil
	odd := archive(mapiadapter.Idle)
	odd.Phase = "nosuch"
	if err := ensured(odd); token.KindOf(err) != token.KindInternal {
		t.Errorf("a phase that is not known gives %v", err)
	}
}

// The document has every phase, freshness and policy of the machine.
func TestTheDocumentsWordsAreTheMachines(t *testing.T) {
	schemas := closedDocument(t).Components.Schemas
	enum := func(schema, property string) string {
		v := schemas[schema].Value
		if property != "" {
			v = v.Properties[property].Value
		}
		return fmt.Sprint(v.Enum)
	}
	for _, tt := range []struct {
		got  string
		want any
	}{
		{enum("MapiPhase", ""), mapiadapter.Phases()},
		{enum("MapiFreshness", ""), []mapiadapter.Freshness{mapiadapter.Fresh, mapiadapter.Due, mapiadapter.Expired, mapiadapter.Unknown}},
		{enum("MapiTarget", "policy"), []mapiadapter.Policy{mapiadapter.Supervise, mapiadapter.Nudge, mapiadapter.NotifyOnly}},
		{enum("MapiTarget", "proof_kind"), []mapiadapter.ProofKind{mapiadapter.ProofEvidence, mapiadapter.ProofProbe, mapiadapter.ProofConsumer}},
		{enum("AgentWork", "kind"), []mapiadapter.WorkKind{mapiadapter.WorkStart, mapiadapter.WorkSend, mapiadapter.WorkProbe, mapiadapter.WorkNotice}},
		{enum("AgentResult", "outcome"), []mapiadapter.Outcome{mapiadapter.Done, mapiadapter.Declined, mapiadapter.Refused, mapiadapter.Failed}},
	} {
		if tt.got != fmt.Sprint(tt.want) && !sameSet(tt.got, fmt.Sprint(tt.want)) {
			t.Errorf("the document has %s, the machine %v", tt.got, tt.want)
		}
	}
}

func sameSet(a, b string) bool {
	x, y := strings.Fields(strings.Trim(a, "[]")), strings.Fields(strings.Trim(b, "[]"))
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// The adapter is what this package asks for.
var _ Outlook = (*mapiadapter.Adapter)(nil)
