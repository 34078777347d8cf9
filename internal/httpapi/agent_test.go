package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/token"
)

func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		sync := func(query, body string) (*http.Response, time.Duration) {
			began := time.Now()
			res := s.do(call{method: "POST", path: "/v1/agent/sync" + query, key: s.agent, body: body})
			return res, time.Since(began)
		}
		s.outlook.orders = mapiadapter.Orders{LookEvery: 30 * time.Second}
		res, took := sync("?wait=30", agentReport)
		if golden(t, "agent-sync-none", res); took != 30*time.Second {
			t.Errorf("answered after %v", took)
		}
		if _, took := sync("", agentReport); took != leastSync {
			t.Errorf("without wait: answered after %v", took)
		}
		s.outlook.orders = mapiadapter.Orders{
			LookEvery: 1500 * time.Millisecond, Services: []string{"CrmSync"},
			Work: []mapiadapter.Work{
				{ID: "archive/a1/7", Target: "archive", Kind: mapiadapter.WorkStart, Profile: "Archive", Mode: "cached", Ask: true, Text: "Outlook opens in 60 seconds.", NotAfter: time.Now().Add(time.Minute)},
				{ID: "archive/p/8", Target: "archive", Kind: mapiadapter.WorkNotice},
			},
		}
		res, took = sync("?wait=30", agentReport)
		if golden(t, "agent-sync", res); took != 0 {
			t.Errorf("answered after %v", took)
		}
		got := s.outlook.reports[0]
		if got.Facts.Host != "APP01" || got.Facts.Account != `CONTOSO\svc` || got.Agent.PID != 7 || got.Facts.Session.ID != 3 || s.outlook.calls[0] != `sync 1.0.0 by "" for 30s` {
			t.Errorf("report %+v, calls %v", got, s.outlook.calls)
		}
	})
}

func TestSyncRefuses(t *testing.T) {
	s := newStack(t)
	for body, says := range map[string]string{
		`{}`:                      `"agent" is missing`,
		`{"agent":{},"facts":{}}`: "is missing",
		strings.Replace(agentReport, `"facts"`, `"more":1,"facts"`, 1):           `no member "more"`,
		strings.Replace(agentReport, `"pid":7`, `"pid":"SECRET"`, 1):             `"agent.pid" must be a whole number`,
		strings.Replace(agentReport, `"id":3`, `"id":4294967296`, 1):             `"facts.session.id"`,
		strings.Replace(agentReport, `"started_on":"2000`, `"started_on":"x`, 1): "",
	} {
		res := s.do(call{method: "POST", path: "/v1/agent/sync", key: s.agent, body: body})
		if p := s.problem(res, 400, token.KindInvalidRequest); !strings.Contains(p.Detail, says) || strings.Contains(p.Detail, "SECRET") {
			t.Errorf("%s: detail %q, want %q", body, p.Detail, says)
		}
	}
	if len(s.outlook.calls) > 0 {
		t.Errorf("calls %v", s.outlook.calls)
	}
}

// An agent that sees more than this broker knows is heard all the same.
func TestSyncOverlooksWhatItDoesNotKnow(t *testing.T) {
	s := newStack(t)
	s.outlook.orders.Work = []mapiadapter.Work{{ID: "x", Target: "archive", Kind: mapiadapter.WorkProbe}}
	body := strings.Replace(agentReport, `"host"`, `"later":{"a":1},"host"`, 1)
	open, err := loadDocument() // as it is served: the tests' own is closed
	if err != nil {
		t.Fatal(err)
	}
	s.server.doc = func() (*document, error) { return open, nil }
	want[AgentOrders](s, s.do(call{method: "POST", path: "/v1/agent/sync", key: s.agent, body: body}), 200)
}

func TestTheAccountOfAnAgentIsLookedAt(t *testing.T) {
	var seen []string
	s := newStack(t, func(c *Config) {
		c.AgentUser = func(_ context.Context, local, remote netip.AddrPort) string {
			seen = append(seen, local.String()+" "+remote.String())
			return "S-1-5-21-1"
		}
	})
	s.outlook.orders.Work = []mapiadapter.Work{{ID: "x", Target: "archive", Kind: mapiadapter.WorkProbe}}
	local := func(addr net.Addr) context.Context {
		return context.WithValue(t.Context(), http.LocalAddrContextKey, addr)
	}
	c := call{method: "POST", path: "/v1/agent/sync", key: s.agent, body: agentReport}
	for _, tt := range []struct {
		ctx  context.Context
		want string
	}{
		{local(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8477}), "S-1-5-21-1"},
		{local(pipeAddr{}), ""}, // cannot be asked about
		{nil, ""},               // of this process
	} {
		c.ctx, s.outlook.calls = tt.ctx, nil
		want[AgentOrders](s, s.do(c), 200)
		if got := s.outlook.calls[0]; got != fmt.Sprintf("sync 1.0.0 by %q for 1s", tt.want) {
			t.Errorf("%s, want %q", got, tt.want)
		}
	}
	if !slices.Equal(seen, []string{"127.0.0.1:8477 127.0.0.1:50000"}) {
		t.Errorf("looked at %q", seen)
	}
}

func TestASyncEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		time.AfterFunc(5*time.Second, func() { close(s.server.stopping) })
		began := time.Now()
		want[AgentOrders](s, s.do(call{method: "POST", path: "/v1/agent/sync?wait=60", key: s.agent, body: agentReport}), 200)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("answered after %v", took)
		}
	})
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// The document describes every member of what agent and broker exchange, and
// none that is not there.
func TestTheDocumentHasTheAgentsMembers(t *testing.T) {
	schemas := closedDocument(t).Components.Schemas
	full := reflect.New(reflect.TypeFor[mapiadapter.Report]()).Elem()
	fill(full, "start")
	rep := full.Interface().(mapiadapter.Report)
	rep.Results[0].Outcome = mapiadapter.Done
	compare(t, schemas, "AgentReport", rep)
	compare(t, schemas, "AgentReport", mapiadapter.Report{Results: []mapiadapter.Result{{ID: "x", Target: "x", Kind: "send", Outcome: mapiadapter.Failed}}}) // nil lists, zero times
	work := reflect.New(reflect.TypeFor[mapiadapter.Work]()).Elem()
	fill(work, "probe")
	compare(t, schemas, "AgentWork", work.Interface())
	for name := range schemas {
		typ, ok := agentTypes()[name]
		if !ok {
			continue
		}
		var members []string
		for f := range typ.Fields() {
			member, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			members = append(members, member)
		}
		for p := range schemas[name].Value.Properties {
			if !slices.Contains(members, p) {
				t.Errorf("%s: the document has %s, the type has not", name, p)
			}
		}
		if len(members) != len(schemas[name].Value.Properties) {
			t.Errorf("%s: the type has %v, the document %d members", name, members, len(schemas[name].Value.Properties))
		}
	}
}

func agentTypes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"AgentReport": reflect.TypeFor[AgentReport](), "AgentInfo": reflect.TypeFor[AgentInfo](), "AgentFacts": reflect.TypeFor[AgentFacts](),
		"AgentSession": reflect.TypeFor[AgentSession](), "AgentInstallation": reflect.TypeFor[AgentInstallation](),
		"AgentProfiles": reflect.TypeFor[AgentProfiles](), "AgentProcess": reflect.TypeFor[AgentProcess](), "AgentEnded": reflect.TypeFor[AgentEnded](),
		"AgentView": reflect.TypeFor[AgentView](), "AgentService": reflect.TypeFor[AgentService](), "AgentResult": reflect.TypeFor[AgentResult](),
		"AgentWork": reflect.TypeFor[AgentWork](),
	}
}

func compare(t *testing.T, schemas openapi3.Schemas, name string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	if err := schemas[name].Value.VisitJSON(tree, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s does not describe %s: %v", name, b, err)
	}
}

// fill puts something into every field; texts are word, which must be in every
// list of words that a member takes.
func fill(v reflect.Value, word string) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Now().Add(time.Nanosecond)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(word)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1<<32 - 1)
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(f, word)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), word)
	case reflect.Map:
		one := reflect.New(v.Type().Elem()).Elem()
		fill(one, word)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(word), one)
	default:
		panic(errors.New("a kind of field that this test does not know: " + v.Kind().String()))
	}
}
