package httpapi

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// What a caller meets on a route.
const (
	letIn   = "in"      // what then comes of it is another test's
	unknown = "unknown" // 401: nobody knows who that is
	denied  = "denied"  // 403: known, and may not
	wrong   = "wrong"   // 403: the right key from the wrong process
	none    = "none"    // 404: to this caller it does not exist
)

// The groups of routes, in the order of the table's columns.
const (
	forAll     = iota // the probes and the document
	forKeyless        // the sidecar's route for programs without a key
	forTokens         // tokens, in every protocol, and the proxy
	forList           // the caller's own Outlook targets
	forTarget         // one Outlook target
	forAdmin
	forAgent
	forMetrics
)

// whoMay is the whole policy: every kind of caller, and what it meets in each
// group of routes.
func whoMay() map[string][]string {
	nobody := []string{letIn, unknown, unknown, unknown, unknown, unknown, unknown, unknown}
	consumer := []string{letIn, letIn, letIn, letIn, letIn, denied, denied, denied}
	wrongProcess := []string{letIn, wrong, wrong, wrong, wrong, wrong, wrong, wrong}
	outside := []string{letIn, denied, denied, denied, denied, denied, denied, denied}
	return map[string][]string{
		"no key":                                    nobody,
		"a wrong key":                               nobody,
		"a key that ended":                          nobody,
		"a consumer":                                consumer,
		"a consumer without the right":              {letIn, denied, denied, letIn, none, denied, denied, denied},
		"a reader of metrics":                       {letIn, denied, denied, letIn, none, denied, denied, letIn},
		"a tied consumer, right process":            consumer,
		"a tied consumer, wrong process":            wrongProcess,
		"a tied consumer, process not known":        wrongProcess,
		"a tied consumer, no connection":            wrongProcess,
		"a consumer outside its hours":              outside,
		"a lease":                                   consumer,
		"a lease that ended":                        nobody,
		"a lease like a tied one, any process":      consumer,
		"a lease like one outside its hours":        outside,
		"a child of a lease's process, without key": {letIn, letIn, unknown, unknown, unknown, unknown, unknown, unknown},
		"a stranger to the lease's process, no key": nobody,
		"the admin":                                 {letIn, letIn, letIn, letIn, letIn, letIn, letIn, letIn},
		"the admin, wrong process":                  {letIn, letIn, letIn, letIn, letIn, letIn, letIn, letIn},
		"the agent":                                 {letIn, denied, denied, denied, denied, denied, letIn, denied},
		"the admin key of another broker":           nobody,
	}
}

// groupOf is the column of a route. One that is not here fails the test: whoever
// adds a route says who may use it.
func groupOf(t *testing.T, pattern string) int {
	t.Helper()
	switch pattern {
	case "/livez", "/readyz", "/healthz", "/openapi.yaml", "/openapi.json":
		return forAll
	case "/AuthorizationHeaderUnauthenticated/{api}":
		return forKeyless
	case "/v1/token", "/msi/token", "/azd/token", "/AuthorizationHeader/{api}", "/proxy/{resource}/{path}":
		return forTokens
	case "/v1/mapi":
		return forList
	case "/v1/mapi/{target}", "/v1/mapi/{target}/ensure", "/v1/mapi/{target}/report", "/v1/mapi/{target}/history":
		return forTarget
	case "/v1/agent/sync":
		return forAgent
	case "/metrics":
		return forMetrics
	case "/v1/signins", "/v1/signins/{id}", "/v1/accounts", "/v1/accounts/{account}", "/v1/consumers", "/v1/consumers/{name}",
		"/v1/consumers/{name}/rotate", "/v1/consumers/{name}/renew", "/v1/mapi/{target}/pause", "/v1/mapi/{target}/resume",
		"/v1/export", "/v1/import", "/v1/status", "/v1/ews", "/v1/doctor", "/v1/notify/test", "/v1/ui/tickets":
		return forAdmin
	}
	t.Fatalf("%s is in no group; say who may use it", pattern)
	return 0
}

// Every route of the document, with every kind of caller, through the whole stack.
func TestWhoMayWhat(t *testing.T) {
	bodies := map[string]string{
		"postToken": `{"resource":"graph"}`, "startSignIn": `{}`, "addConsumer": `{"name":"new"}`,
		"renewConsumer": `{"lease_seconds":60}`, "reportMapiTarget": `{"ok":true}`, "syncAgent": agentReport,
		"exportAccounts": `{"passphrase":"short"}`, "importAccounts": `{"file":"YWdl","passphrase":"x"}`,
		"postAZDToken": `{"scopes":["https://graph.microsoft.com/.default"]}`,
	}
	paths := strings.NewReplacer("{id}", "id", "{account}", "ops", "{name}", "crm", "{target}", "archive",
		"{api}", "graph", "{resource}", "graph", "{path}", "v1.0/me")
	doc := closedDocument(t)
	for caller, row := range whoMay() {
		t.Run(caller, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for pattern, item := range doc.Paths.Map() {
					for method, op := range item.Operations() {
						path := paths.Replace(pattern)
						if method == http.MethodGet && (pattern == tokenPath || pattern == identityPath) {
							path += "?resource=graph"
						}
						s, c := newCaller(t, caller)
						c.method, c.path, c.body = method, path, bodies[op.OperationID]
						if got, want := met(s, pattern, s.do(c)), row[groupOf(t, pattern)]; got != want {
							t.Errorf("%s %s: %s, want %s", method, pattern, got, want)
						}
					}
				}
			})
		})
	}
}

var loggedKind = regexp.MustCompile(`problem\.kind=([a-z-]+)`)

// met reads what the caller met: from the log, which has the kind of an error in
// whatever protocol it is answered.
func met(s *stack, pattern string, res *http.Response) string {
	kind := loggedKind.FindStringSubmatch(s.log.String())
	refused := res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden
	switch {
	case kind == nil && refused:
		s.t.Errorf("%s: a refusal that is not in the log", pattern)
		return ""
	case kind == nil:
		return letIn
	case strings.Contains(string(read(s.t, res)), "CANARY"):
		s.t.Errorf("%s: a refusal holds a token", pattern)
	}
	switch kind[1] {
	case token.KindUnauthenticated.Code():
		return unknown
	case token.KindDenied.Code():
		return denied
	case token.KindWrongProcess.Code():
		return wrong
	case token.KindNotFound.Code():
		if strings.HasPrefix(pattern, "/v1/mapi/") {
			return none
		}
	}
	if refused {
		s.t.Errorf("%s: status %d for %s", pattern, res.StatusCode, kind[1])
	}
	return letIn
}

// newCaller makes a stack and a request of this kind of caller.
func newCaller(t *testing.T, caller string) (*stack, call) {
	t.Helper()
	root := peer.Root{PID: 10, Start: 1}
	process := fakePeer{image: program}
	switch caller {
	case "a tied consumer, wrong process", "a lease like a tied one, any process", "the admin, wrong process":
		process.image = "/opt/evil"
	case "a tied consumer, process not known":
		process.image = ""
	case "a child of a lease's process, without key":
		process.root = root
	}
	admin := consumer.NewAdminKey()
	agent := consumer.NewAgentKey()
	reg, err := consumer.New(consumer.Config{
		AdminKey: admin, AgentKey: agent, Saver: memorySaver{}, Root: func(int) (peer.Root, error) { return root, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, func(c *Config) {
		c.Consumers, c.Tokens, c.Proxy = reg, policyTokens{entry(t, "CANARY")}, policyProxy{}
		c.Peer = func(net.Conn) consumer.Peer { return process }
	})
	s.outlook.set(archive(mapiadapter.Idle))
	s.signIns.set(signin.View{ID: "id", State: signin.StateSucceeded, Flow: token.FlowDevice})
	c := call{key: keyFor(t, reg, caller, map[string]token.Secret{"the admin": admin, "the admin, wrong process": admin, "the agent": agent})}
	if caller != "a tied consumer, no connection" {
		c.ctx = s.server.withPeer(t.Context(), nil)
	}
	return s, c
}

// keyFor makes the consumers, and gives the key of this kind of caller.
func keyFor(t *testing.T, reg *consumer.Registry, caller string, own map[string]token.Secret) string {
	t.Helper()
	configured := consumer.NewKey()
	spec := consumer.Spec{
		Name: "crm", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(configured)}},
		Accounts: []string{"ops"}, Resources: []string{"graph"}, MAPI: []string{"archive"},
	}
	lease := consumer.Spec{Name: "run", SameAs: "crm", Lease: time.Hour}
	switch {
	case caller == "a key that ended":
		spec.Keys[0].EndsOn = time.Now().Add(-time.Second)
	case caller == "a consumer without the right":
		spec.Resources, spec.MAPI = []string{"ews"}, nil
	case caller == "a reader of metrics":
		spec.Accounts, spec.Resources, spec.MAPI, spec.Metrics = nil, nil, nil, true
	case strings.Contains(caller, "outside its hours"): // the clock stands at the turn of a Friday to a Saturday
		spec.Hours = hoursOf(t, "tue-wed 00:00-24:00")
	case strings.Contains(caller, "tied"):
		spec.Executable, spec.User, spec.UserID = program, "svc", "1000"
	case strings.Contains(caller, "lease's process"):
		lease.Process = 10
	case caller == "a lease that ended":
		lease.Lease = time.Minute
	}
	if err := reg.Replace([]consumer.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	key := configured
	if strings.Contains(caller, "lease") {
		var err error
		if key, _, err = reg.Add(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
	}
	switch caller {
	case "no key", "a child of a lease's process, without key", "a stranger to the lease's process, no key":
		return ""
	case "a wrong key":
		return consumer.NewKey().Reveal()
	case "the admin key of another broker":
		return consumer.NewAdminKey().Reveal()
	case "a lease that ended":
		time.Sleep(time.Minute)
	}
	if k, ok := own[caller]; ok {
		key = k
	}
	return key.Reveal()
}

// policyTokens gives a token to whoever may have it, as the broker does.
type policyTokens struct{ answer cache.Answer }

func (p policyTokens) Token(_ context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error) {
	return p.answer, id.Allows(token.Key{Account: "ops", Resource: req.Key.Resource})
}

func (p policyTokens) Changed(context.Context, *consumer.Identity, token.Request, string) (cache.Answer, error) {
	return p.answer, nil
}

// policyProxy sends a request on for whoever may have the token.
type policyProxy struct{}

func (policyProxy) Forward(w http.ResponseWriter, _ *http.Request, id *consumer.Identity, to token.Key) error {
	if err := id.Allows(token.Key{Account: "ops", Resource: to.Resource}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
