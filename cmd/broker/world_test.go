package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// The people of the sandbox.
const (
	alice = "alice@contoso.example"
	bob   = "bob@contoso.example"
)

// patience bounds every wait for a process or a file of these tests.
const testPatience = 20 * time.Second

// worldOptions say what a world is like.
type worldOptions struct {
	sandbox sandbox.Config
	yaml    string            // more of broker.yaml
	env     map[string]string // OTEL_… and BROKER_… of the broker
	dir     string            // for the files; empty: one that goes with the test

	// hooks answers https://hooks.example in a bubble, where people are told of
	// things then; nil: nobody is.
	hooks http.Handler
}

// world is a whole broker in this process and a sandbox of its own. On the
// network it is `broker serve`, over a loopback port; in a bubble of
// testing/synctest it is the same wiring without sockets, on the bubble's clock.
// Every answer is held to openapi/broker.yaml.
type world struct {
	t       *testing.T
	sb      *sandbox.Sandbox
	dir     string // conf/ and state/
	log     *lockedText
	env     map[string]string
	doc     *document
	hooks   http.Handler
	parts   *parts // only in a bubble
	base    string
	client  *http.Client
	running func() error // ends the broker in good order
	admin   string       // its key
	key     string       // of the consumer "app"

	mu     sync.Mutex
	errors []string // bodies of every answer of 400 and above
}

// newWorld starts a world on the network.
func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	sb, err := sandbox.Start(t.Context(), o.sandbox)
	if err != nil {
		t.Fatal(err)
	}
	w := settle(t, o, sb)
	w.start()
	return w
}

// newBubble starts a world without sockets. Call it in a bubble, and close it
// there.
func newBubble(t *testing.T, o worldOptions) *world {
	t.Helper()
	sb, err := sandbox.New(o.sandbox)
	if err != nil {
		t.Fatal(err)
	}
	w := settle(t, o, sb)
	w.startHere()
	return w
}

// settle writes the files of a world.
func settle(t *testing.T, o worldOptions, sb *sandbox.Sandbox) *world {
	t.Helper()
	doc, err := readDocument()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, sb: sb, dir: o.dir, log: &lockedText{}, env: o.env, doc: doc, hooks: o.hooks}
	if w.dir == "" {
		w.dir = t.TempDir()
	}
	for _, dir := range []string{"conf", "state"} {
		if err := lifecycle.EnsureStateDir(filepath.Join(w.dir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	caFile := ""
	if pem := sb.CAPEM(); len(pem) > 0 {
		caFile = filepath.Join(w.dir, "conf", "ca.pem")
		w.write("conf/ca.pem", string(pem))
	}
	yaml := o.yaml
	for key, value := range map[string]string{"listen": "127.0.0.1:0", "store": "file", "telemetry": "{log_level: debug, log_format: json}"} {
		if !strings.Contains(o.yaml, key+":") {
			yaml += key + ": " + value + "\n"
		}
	}
	w.write("conf/broker.yaml", sb.ConfigYAML(caFile)+yaml)
	return w
}

// path is a file of the world.
func (w *world) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := ownerfile.Write(w.path(name), []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// flags name the files of the world to a command.
func (w *world) flags(args ...string) []string {
	return append(args, "--config", w.path("conf/broker.yaml"), "--state-dir", w.path("state"))
}

// environment is what a command knows of the process around it: nothing of the
// machine that the test runs on.
func (w *world) environment(out, stderr io.Writer) environment {
	e := environment{getenv: func(k string) string { return w.env[k] }, stdin: strings.NewReader(""), stdout: out, stderr: stderr, workFactor: cheapWork}
	for k, v := range w.env {
		e.environ = append(e.environ, k+"="+v)
	}
	return e
}

// run is one command line; it gives the exit code and what it printed.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	var out, errs lockedText
	code = run(w.t.Context(), w.flags(args...), w.environment(&out, &errs))
	return code, out.String(), errs.String()
}

// start runs `broker serve` until stop, or the end of the test.
func (w *world) start() {
	w.t.Helper()
	ready := w.path("ready")
	_ = os.Remove(ready) // of one that was killed
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	from := w.log.Len()
	go func() {
		ended <- run(ctx, w.flags("serve", "--key-in-file", "--ready-file", ready), w.environment(io.Discard, w.log))
	}()
	w.running = sync.OnceValue(func() error {
		cancel()
		select {
		case code := <-ended:
			if code != exitDone {
				return fmt.Errorf("broker serve ended with code %d:\n%s", code, w.log.String()[from:])
			}
			return nil
		case <-time.After(testPatience):
			return fmt.Errorf("broker serve did not end")
		}
	})
	w.t.Cleanup(func() {
		if err := w.running(); err != nil {
			w.t.Error(err)
		}
	})
	w.eventually("broker serve", func() bool {
		select {
		case code := <-ended:
			w.t.Fatalf("broker serve ended with code %d:\n%s", code, w.log.String()[from:])
		default:
		}
		address, err := os.ReadFile(ready) // Windows may still hold on to what was just renamed
		w.base = "http://" + strings.TrimSpace(string(address))
		return err == nil
	})
	w.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1 << 10}, Timeout: time.Minute}
	w.t.Cleanup(w.client.CloseIdleConnections)
	w.admin = strings.TrimSpace(w.read("state/admin.key"))
}

// startHere wires the broker and runs its parts, but for the watch on files,
// which needs the system.
func (w *world) startHere() {
	w.t.Helper()
	o := &options{config: w.path("conf/broker.yaml"), stateDir: w.path("state"), env: w.environment(io.Discard, w.log)}
	loaded, err := loadConfig(o)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := wire(context.Background(), loaded, wiring{env: o.env, keyInFile: true, upstream: outside{sandbox: w.sb.Transport(), hooks: w.hooks}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	tasks := slices.DeleteFunc(p.tasks(), func(t lifecycle.Task) bool { return t.Name == "configuration watch" })
	if w.hooks != nil {
		tasks = append(tasks, p.noticeTasks()...)
	}
	go func() { ended <- (&lifecycle.Group{Log: p.log}).Run(ctx, tasks...) }()
	w.parts, w.base = p, "http://"+loaded.Config.Listen
	w.client = &http.Client{Transport: p.server.Transport()}
	w.admin = p.adminKey.Reveal()
	w.running = sync.OnceValue(func() error {
		cancel()
		return joined(<-ended, p.close(context.Background()))
	})
}

// outside is what a world without sockets reaches: its sandbox, and a webhook.
type outside struct {
	sandbox http.RoundTripper
	hooks   http.Handler
}

func (o outside) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "hooks.example" || o.hooks == nil {
		return o.sandbox.RoundTrip(r)
	}
	answer := httptest.NewRecorder()
	o.hooks.ServeHTTP(answer, r)
	return answer.Result(), nil
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// stop ends the broker in good order.
func (w *world) stop() {
	w.t.Helper()
	if err := w.running(); err != nil {
		w.t.Fatal(err)
	}
}

// close ends a world in a bubble.
func (w *world) close() {
	w.t.Helper()
	w.stop()
	if err := w.sb.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart stops the broker and starts it again on the same files.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	if w.parts != nil {
		w.startHere()
	} else {
		w.start()
	}
}

// eventually asks until the answer is yes.
func (w *world) eventually(what string, ask func() bool) {
	w.t.Helper()
	for end := time.Now().Add(testPatience); !ask(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %v; the log:\n%s", what, testPatience, w.log)
		}
	}
}

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
	err    error
}

// call sends one request, with an optional JSON body and further headers
// ("Name: value"), and holds the answer to the document.
func (w *world) call(key, method, path, body string, headers ...string) answer {
	w.t.Helper()
	a := w.try(key, method, path, body, headers...)
	if a.err != nil {
		w.t.Fatalf("%s %s: %v", method, path, a.err)
	}
	return a
}

// try is call for other goroutines: it fails nothing.
func (w *world) try(key, method, path, body string, headers ...string) answer {
	a := answer{t: w.t}
	req, err := http.NewRequestWithContext(context.Background(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		a.err = err
		return a
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := w.client.Do(req)
	if err != nil {
		a.err = err
		return a
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	if a.body, a.err = io.ReadAll(res.Body); a.err != nil {
		return a
	}
	if a.status >= http.StatusBadRequest {
		w.mu.Lock()
		w.errors = append(w.errors, string(a.body))
		w.mu.Unlock()
	}
	if err := w.doc.hold(req, res, a.body); err != nil {
		a.err = fmt.Errorf("status %d is not of the document: %w\n%s", a.status, err, a.body)
	}
	return a
}

// into decodes a good answer.
func (a answer) into(v any) {
	a.t.Helper()
	if a.status >= http.StatusBadRequest {
		a.t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
}

// problem decodes an error.
func (a answer) problem() httpapi.Problem {
	a.t.Helper()
	var p httpapi.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.status < http.StatusBadRequest {
		a.t.Fatalf("status %d is no problem: %s", a.status, a.body)
	}
	return p
}

// begin starts a sign-in with a device code.
func (w *world) begin(body string) httpapi.SignIn {
	w.t.Helper()
	var v httpapi.SignIn
	w.call(w.admin, http.MethodPost, "/v1/signins", body).into(&v)
	return v
}

// follow waits until a sign-in is over.
func (w *world) follow(id string) httpapi.SignIn {
	w.t.Helper()
	for range 40 {
		var v httpapi.SignIn
		w.call(w.admin, http.MethodGet, "/v1/signins/"+id+"?wait=60", "").into(&v)
		if v.State != httpapi.SignInStatePending {
			return v
		}
	}
	w.t.Fatal("the sign-in does not end")
	return httpapi.SignIn{}
}

// signIn signs a user in: with a device code in a bubble, where waiting costs
// nothing, and with the browser on the network.
func (w *world) signIn(user string) {
	w.t.Helper()
	flow := httpapi.FlowBrowser
	if w.parts != nil {
		flow = httpapi.FlowDevice
	}
	v := w.begin(fmt.Sprintf(`{"account":%q,"flow":%q}`, user, flow))
	var err error
	if flow == httpapi.FlowDevice {
		err = w.sb.Approve(v.UserCode, user)
	} else {
		err = w.sb.Browse(w.t.Context(), v.VerificationURI, user)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if v = w.follow(v.ID); v.State != httpapi.SignInStateSucceeded || v.Account != user {
		w.t.Fatalf("sign-in of %s: %+v", user, v)
	}
}

// consumer makes a consumer that may have graph and ews of the accounts, and
// gives its key.
func (w *world) consumer(name string, accounts ...string) string {
	w.t.Helper()
	var made httpapi.ConsumerKey
	body, err := json.Marshal(httpapi.ConsumerRequest{Name: name, Accounts: accounts, Resources: []string{"graph", "ews"}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.call(w.admin, http.MethodPost, "/v1/consumers", string(body)).into(&made)
	return made.Key
}

// ready signs alice in and gives the consumer "app" its key.
func (w *world) ready() {
	w.t.Helper()
	w.signIn(alice)
	w.key = w.consumer("app", alice)
}

// get asks for a token as the consumer.
func (w *world) get(resource string) answer {
	w.t.Helper()
	return w.call(w.key, http.MethodGet, "/v1/token?resource="+resource, "")
}

// token is a token that must be there.
func (w *world) token(resource string) httpapi.Token {
	w.t.Helper()
	var v httpapi.Token
	w.get(resource).into(&v)
	return v
}

// account is the account as its administrator sees it.
func (w *world) account(name string) httpapi.Account {
	w.t.Helper()
	var v httpapi.Account
	w.call(w.admin, http.MethodGet, "/v1/accounts/"+name, "").into(&v)
	return v
}

// fault lets the sandbox fail until clearFaults.
func (w *world) fault(f sandbox.Fault) {
	w.t.Helper()
	if _, err := w.sb.Fault(f); err != nil {
		w.t.Fatal(err)
	}
}

// redemptions is how many refresh tokens the sandbox was sent.
func (w *world) redemptions() int { return w.sb.Stats().Requests[sandbox.EndpointTokenRefresh] }

// lockedText is a log that can be read while it is written.
type lockedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedText) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Len()
}
