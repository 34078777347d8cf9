package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

var update = flag.Bool("update", false, "write the golden files anew")

const testHost = "127.0.0.1:8477"

// stack is the whole API over fakes.
type stack struct {
	t        testing.TB
	server   *Server
	registry *consumer.Registry
	doc      *openapi3.T
	log      *lockedBuffer
	refused  map[string]int

	tokens   *fakeTokens
	accounts *fakeAccounts
	signIns  *fakeSignIns
	outlook  *fakeOutlook
	checks   []Check
	status   Status

	admin, crm, scraper, agent string // keys: of the administrator, of a consumer, of one with metrics, of the Outlook agent
}

// newStack makes the API; change may alter its Config.
func newStack(t testing.TB, change ...func(*Config)) *stack {
	t.Helper()
	admin, agent, crm, scraper := consumer.NewAdminKey(), consumer.NewAgentKey(), consumer.NewKey(), consumer.NewKey()
	reg, err := consumer.New(consumer.Config{AdminKey: admin, AgentKey: agent, Saver: memorySaver{}})
	if err != nil {
		t.Fatal(err)
	}
	err = reg.Replace([]consumer.Spec{
		{Name: "crm", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(crm)}}, Accounts: []string{"ops"}, Resources: []string{"graph"}, MAPI: []string{"archive", "gone"}},
		{Name: "scraper", Keys: []consumer.KeyHash{{SHA256: consumer.HashKey(scraper)}}, Metrics: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{
		t: t, registry: reg, doc: closedDocument(t), log: &lockedBuffer{}, refused: map[string]int{},
		tokens: &fakeTokens{}, accounts: &fakeAccounts{}, signIns: &fakeSignIns{}, outlook: &fakeOutlook{},
		checks: []Check{{Name: "config", Ok: true}},
		status: Status{Version: "1.0.0", StartedAt: time.Now(), Listen: []string{testHost}, Store: StoreStatus{Kind: StoreStatusKindMemory, Usable: true}},
		admin:  admin.Reveal(), crm: crm.Reveal(), scraper: scraper.Reveal(), agent: agent.Reveal(),
	}
	cfg := Config{
		Listen: []string{testHost}, Tokens: s.tokens, Accounts: s.accounts, SignIns: s.signIns, Consumers: reg, Outlook: s.outlook,
		Status: func(context.Context) Status { return s.status },
		Ready:  func(context.Context) []Check { return s.checks },
		Log:    slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "up 1\n")
		}),
		GateRefused: func(_ context.Context, reason string) { s.refused[reason]++ },
		Dialects:    func() config.Dialects { return config.Dialects{ManagedIdentity: true, AZD: true, Sidecar: true} },
		Names:       fakeNames{},
	}
	for _, c := range change {
		c(&cfg)
	}
	if s.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// call is one request of a test.
type call struct {
	method, path string // GET where empty
	key          string
	body         string      // sent as JSON
	header       http.Header // added last, so that it can replace anything
	ctx          context.Context
	change       func(*http.Request)
}

// do sends a request through the whole stack and holds the answer to the
// document.
func (s *stack) do(c call) *http.Response {
	s.t.Helper()
	r, res := s.send(c)
	s.check(r, res)
	return res
}

// send sends a request through the whole stack.
func (s *stack) send(c call) (*http.Request, *http.Response) {
	if c.method == "" {
		c.method = http.MethodGet
	}
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	r := httptest.NewRequest(c.method, c.path, body)
	if c.ctx != nil {
		r = r.WithContext(c.ctx)
	}
	r.RemoteAddr, r.Host = "127.0.0.1:50000", testHost
	if c.key != "" && isUnder(r.URL.Path, "/msi") {
		r.Header.Set("X-IDENTITY-HEADER", c.key)
	} else if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, c.header)
	if c.change != nil {
		c.change(r)
	}
	w := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(w, r)
	return r, w.Result()
}

// check holds an answer to the document and to what the contract says of all.
func (s *stack) check(r *http.Request, res *http.Response) {
	s.t.Helper()
	body := read(s.t, res)
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Request-Id") == "" {
		s.t.Errorf("%s %s: headers %v", r.Method, r.URL.Path, res.Header)
	}
	if res.StatusCode >= 400 && res.Header.Get("Content-Type") == mimeProblem {
		var p Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Status != res.StatusCode || p.Instance != res.Header.Get("X-Request-Id") {
			s.t.Errorf("problem %s with status %d (%v)", body, res.StatusCode, err)
		}
	}
	if isProxied(r.RequestURI) && res.Header.Get("Content-Type") != mimeProblem {
		return // the resource's own answer
	}
	pattern, item := findPath(s.doc, canonical(r).URL.Path)
	var op *openapi3.Operation
	if item != nil {
		op = item.GetOperation(r.Method)
	}
	if op == nil { // a route that is not there: only an error is possible
		s.checkError(r.URL.Path, body, res)
		return
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: &routers.Route{Spec: s.doc, Path: pattern, PathItem: item, Method: r.Method, Operation: op}},
		Status:                 res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: kind == "application/yaml" || kind == "text/plain"},
	})
	if err != nil {
		s.t.Errorf("%s %s: status %d does not match the document: %v\n%s", r.Method, r.URL.Path, res.StatusCode, err, body)
	}
	if res.StatusCode >= 500 && kind != mimeProblem && pattern != "/readyz" && !isUnder(pattern, "/msi") {
		s.t.Errorf("%s %s: status %d is not a problem", r.Method, r.URL.Path, res.StatusCode)
	}
}

// checkError holds the error of a path that is not in the document to the form of
// the path's protocol.
func (s *stack) checkError(path string, body []byte, res *http.Response) {
	s.t.Helper()
	schema, kind, failed := "Problem", mimeProblem, res.StatusCode >= 400
	if res.Header.Get("Content-Type") != mimeProblem {
		switch {
		case isUnder(path, "/msi"):
			schema, kind = "ManagedIdentityError", "application/json"
		case isUnder(path, "/azd"):
			schema, kind, failed = "AZDAnswer", "application/json", res.StatusCode == http.StatusOK
		}
	}
	var v any
	err := json.Unmarshal(body, &v)
	if err == nil {
		err = s.doc.Components.Schemas[schema].Value.VisitJSON(v)
	}
	if err != nil || res.Header.Get("Content-Type") != kind || !failed {
		s.t.Errorf("status %d, %s is no %s: %v", res.StatusCode, body, schema, err)
	}
}

// findPath matches a path with the document's patterns.
func findPath(doc *openapi3.T, path string) (string, *openapi3.PathItem) {
	for pattern, item := range doc.Paths.Map() {
		expr := "^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(pattern), "[^/]+") + "$"
		if regexp.MustCompile(expr).MatchString(path) {
			return pattern, item
		}
	}
	return "", nil
}

// closedDocument is the document with every object closed: a member that is not
// described is an error.
func closedDocument(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := closeDocument()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var closeDocument = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := loadDocument()
	if err != nil {
		return nil, err
	}
	no := false
	for _, ref := range doc.spec.Components.Schemas {
		if v := ref.Value; len(v.Properties) > 0 && v.AdditionalProperties.Has == nil {
			v.AdditionalProperties.Has = &no
		}
	}
	return doc.spec, doc.spec.Validate(context.Background())
})

// read takes the body and leaves it readable again.
func read(t testing.TB, res *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	return b
}

// refusal checks an error of this kind in the form of the path's protocol.
func (s *stack) refusal(path string, res *http.Response, status int, kind token.Kind) {
	s.t.Helper()
	switch {
	case isUnder(path, "/msi"):
		if e := want[identityError](s, res, status); e.StatusCode != status || e.Message == "" {
			s.t.Errorf("error %+v, want status %d", e, status)
		}
	case isUnder(path, "/azd"):
		if e := want[azdAnswer](s, res, http.StatusOK); e.Status != "error" || e.Code == "" || e.Message == "" || e.Token != "" {
			s.t.Errorf("answer %+v is no error", e)
		}
	default:
		s.problem(res, status, kind)
	}
}

// problem reads a problem document and checks status and code.
func (s *stack) problem(res *http.Response, status int, kind token.Kind) Problem {
	s.t.Helper()
	var p Problem
	if err := json.Unmarshal(read(s.t, res), &p); err != nil {
		s.t.Fatalf("status %d, no problem: %v", res.StatusCode, err)
	}
	if res.StatusCode != status || string(p.Code) != kind.Code() {
		s.t.Errorf("status %d, code %s (%s); want %d, %s", res.StatusCode, p.Code, p.Detail, status, kind.Code())
	}
	if strings.Contains(p.Detail, "?.") || strings.Contains(p.Detail, "..") || strings.Contains(p.Detail, "%!") {
		s.t.Errorf("detail %q is no sentence", p.Detail)
	}
	return p
}

// want decodes an answer of this status into T.
func want[T any](s *stack, res *http.Response, status int) T {
	s.t.Helper()
	var v T
	b := read(s.t, res)
	if res.StatusCode != status {
		s.t.Fatalf("status %d, want %d: %s", res.StatusCode, status, b)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		s.t.Fatalf("%v: %s", err, b)
	}
	return v
}

// masks are what differs from run to run.
var masks = regexp.MustCompile(`("instance":"|"key":"brk_|"sha256_prefix":")[^"]*`)

// golden compares an answer with testdata.
func golden(t *testing.T, name string, res *http.Response) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(res.Status + "\n")
	for _, h := range []string{"Allow", "Content-Type", "Location", "Retry-After", "Www-Authenticate"} {
		if v := res.Header.Get(h); v != "" {
			b.WriteString(h + ": " + v + "\n")
		}
	}
	b.WriteString("\n")
	if body := read(t, res); len(body) > 0 {
		body = masks.ReplaceAll(body, []byte("${1}…"))
		if err := json.Indent(&b, body, "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run go test -update)", err)
	}
	if got := b.String(); got != strings.ReplaceAll(string(old), "\r\n", "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, old)
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// memorySaver keeps consumers nowhere: the registry has them.
type memorySaver struct{}

func (memorySaver) Save(context.Context, consumer.Spec) error { return nil }
func (memorySaver) Remove(context.Context, string) error      { return nil }

// fakeTokens answers with an entry or an error.
type fakeTokens struct {
	mu      sync.Mutex
	answer  cache.Answer
	err     error
	last    token.Request
	changed chan struct{} // closed by set

	hook func(ctx context.Context) // called by Token when set
}

func (f *fakeTokens) set(a cache.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = a
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
}

func (f *fakeTokens) Token(ctx context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error) {
	if f.hook != nil {
		f.hook(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = req
	if f.err == nil && !id.Admin && req.Key.Resource == "forbidden" {
		return cache.Answer{}, id.Allows(req.Key)
	}
	return f.answer, f.err
}

func (f *fakeTokens) Changed(ctx context.Context, _ *consumer.Identity, _ token.Request, etag string) (cache.Answer, error) {
	for {
		f.mu.Lock()
		a, changed := f.answer, f.changed
		f.mu.Unlock()
		if a.Entry.ETag() != etag {
			return a, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cache.Answer{}, token.AsError(ctx.Err())
		}
	}
}

// entry makes a real entry through a real cache.
func entry(t testing.TB, access string) cache.Answer {
	t.Helper()
	now := time.Now()
	c := cache.New(cache.Config{
		Source: sourceFunc(func() token.Token {
			return token.Token{Access: token.NewSecret(access), ObtainedOn: now, ExpiresOn: now.Add(time.Hour), Scope: "https://graph.microsoft.com/.default"}
		}),
		Hold: func(*token.Error, int) time.Duration { return 0 },
	})
	a, err := c.Token(context.Background(), token.Request{Key: token.Key{Account: "ops", Resource: "graph"}})
	if err != nil {
		t.Fatal(err)
	}
	return cache.Answer{Entry: a.Entry, FromCache: true}
}

type sourceFunc func() token.Token

func (f sourceFunc) Token(context.Context, token.Request) (token.Token, error) { return f(), nil }

type fakeAccounts struct {
	views []account.View
	err   error
	out   []string
}

func (f *fakeAccounts) Accounts() []account.View { return f.views }

func (f *fakeAccounts) Account(name string) (account.View, error) {
	for _, v := range f.views {
		if v.Name == name || v.Username == name {
			return v, nil
		}
	}
	return account.View{}, token.NewError(token.KindUnknownAccount, "", "There is no such account; broker accounts lists them.")
}

func (f *fakeAccounts) SignOut(_ context.Context, name string) error {
	if _, err := f.Account(name); err != nil {
		return err
	}
	f.out = append(f.out, name)
	return f.err
}

// fakeSignIns has one sign-in.
type fakeSignIns struct {
	mu      sync.Mutex
	view    signin.View
	err     error
	changed chan struct{}
	started []string
}

func (f *fakeSignIns) set(v signin.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = v
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
}

func (f *fakeSignIns) Start(_ context.Context, account string, flow token.Flow, resource string) (signin.View, bool, error) {
	f.started = append(f.started, account+"/"+string(flow)+"/"+resource)
	return f.view, len(f.started) == 1, f.err
}

func (f *fakeSignIns) SignIn(id string) (signin.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.view.ID != id {
		return signin.View{}, token.NewError(token.KindNotFound, "", "There is no such sign-in; start a new one.")
	}
	return f.view, nil
}

func (f *fakeSignIns) Wait(ctx context.Context, id string) (signin.View, error) {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	select {
	case <-changed:
		return f.SignIn(id)
	case <-ctx.Done():
		return signin.View{}, token.AsError(ctx.Err())
	}
}

func (f *fakeSignIns) Cancel(id string) (signin.View, error) {
	v, err := f.SignIn(id)
	if err == nil {
		v.State, v.UserCode, v.VerificationURI, v.Message = signin.StateCancelled, "", "", "The sign-in was cancelled."
		v.Problem = token.NewError(token.KindCancelled, "sign in", "The sign-in was cancelled; start another one.")
	}
	return v, err
}
