// Package samples_test runs the compiled samples against a broker that answers
// by a script, and holds what they ask to openapi/broker.yaml.
package samples_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/m365-token-broker/broker/openapi"
)

const key = "brk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

// answer is one answer to ensure.
type answer struct {
	status     int
	retryAfter string
	detail     string
}

var fresh = answer{status: http.StatusOK}

// broker answers ensure by a script, its last answer again and again, and notes
// the reports.
type broker struct {
	t    *testing.T
	spec *openapi3.T

	mu      sync.Mutex // guards what follows
	script  []answer
	ensures int
	reports []string
}

func startBroker(t *testing.T, script ...answer) (*broker, string) {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData([]byte(openapi.YAML()))
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, spec: spec, script: script}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, server.URL
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb, found := strings.CutPrefix(r.URL.Path, "/v1/mapi/archive/")
	if !found || r.Header.Get("Authorization") != "Bearer "+key {
		b.t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
	}
	body := new(bytes.Buffer)
	if _, err := body.ReadFrom(r.Body); err != nil {
		b.t.Error(err)
	}
	b.hold(r, "/v1/mapi/{target}/"+verb, body.Bytes())
	b.mu.Lock()
	defer b.mu.Unlock()
	if verb == "report" {
		b.reports = append(b.reports, body.String())
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if r.URL.RawQuery != "wait=60" || body.Len() > 0 {
		b.t.Errorf("%s with %q", r.URL, body)
	}
	a := b.script[min(b.ensures, len(b.script)-1)]
	b.ensures++
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(a.status)
	fmt.Fprintf(w, `{"title":"x","detail":%q,"code":"x"}`, a.detail)
}

// hold holds a request to the contract.
func (b *broker) hold(r *http.Request, path string, body []byte) {
	item := b.spec.Paths.Value(path)
	if item == nil || item.GetOperation(r.Method) == nil {
		b.t.Errorf("the contract has no %s %s", r.Method, path)
		return
	}
	again := r.Clone(r.Context())
	again.Body = http.NoBody
	if len(body) > 0 {
		again.Body = readCloser{bytes.NewReader(body)}
	}
	err := openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request: again, PathParams: map[string]string{"target": "archive"},
		Route:   &routers.Route{Spec: b.spec, Path: path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		Options: &openapi3filter.Options{MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	})
	if err != nil {
		b.t.Errorf("%s %s %q: %v", r.Method, r.URL, body, err)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// sample is a compiled sample.
type sample struct {
	// command runs it for the target archive, so that the openings give these
	// HRESULTs, and then succeed.
	command func(ctx context.Context, t *testing.T, hresults ...string) *exec.Cmd
	// again says that it fails each time where it fails the first time.
	again bool
}

// run runs the sample and returns its exit code and what it said.
func (s sample) run(t *testing.T, url string, hresults ...string) (int, string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute) // a sample that hangs
	defer stop()
	cmd := s.command(ctx, t, hresults...)
	cmd.Env = append(cmd.Environ(), "BROKER_URL="+url)
	if !slices.ContainsFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "BROKER_KEY_FILE=") }) {
		cmd.Env = append(cmd.Env, "BROKER_KEY="+key)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

const (
	dead      = "0x8004011D"
	okReport  = `{"ok":true}`
	badReport = `{"hresult":"0x8004011D","operation":"OpenMsgStore"}`
)

func (s sample) test(t *testing.T) {
	sentence := `Log on as DOM\svc on HOST ("RDP" is fine), and lock the session – then wait.`
	for name, c := range map[string]struct {
		script []answer
		says   string
	}{
		"fresh":                {[]answer{fresh}, "the mailbox is open"},
		"running, then fresh":  {[]answer{{status: 202, retryAfter: "1"}, {status: 202, retryAfter: "1"}, fresh}, "the mailbox is open"},
		"later":                {[]answer{{503, "300", sentence}}, sentence},
		"later, nobody knows":  {[]answer{{503, "", sentence}}, sentence},
		"a person must act":    {[]answer{{409, "", sentence}}, sentence},
		"never":                {[]answer{{501, "", sentence}}, sentence},
		"another target's key": {[]answer{{404, "", "There is no such target."}}, "There is no such target."},
	} {
		t.Run(name, func(t *testing.T) {
			b, url := startBroker(t, c.script...)
			code, said := s.run(t, url)
			if code != 0 || !strings.Contains(said, c.says) {
				t.Errorf("exit code %d, and it says\n%s", code, said)
			}
			if b.ensures != len(c.script) || !slices.Equal(b.reports, []string{okReport}) {
				t.Errorf("%d times asked, reports %q", b.ensures, b.reports)
			}
		})
	}
	t.Run("the token is dead", func(t *testing.T) {
		b, url := startBroker(t, fresh)
		code, said := s.run(t, url, dead)
		wantCode, wantReports := 0, []string{badReport, okReport}
		if s.again {
			wantCode, wantReports = 1, []string{badReport, badReport, badReport}
		}
		if code != wantCode || b.ensures != len(wantReports) || !slices.Equal(b.reports, wantReports) || !strings.Contains(said, "0x8004011D") {
			t.Errorf("exit code %d, %d times asked, reports %q, and it says\n%s", code, b.ensures, b.reports, said)
		}
	})
	t.Run("no broker", func(t *testing.T) {
		_, url := startBroker(t, fresh)
		code, said := s.run(t, strings.Replace(url, "127.0.0.1", "127.0.0.2", 1))
		if code != 0 || !strings.Contains(said, "does not answer") || !strings.Contains(said, "the mailbox is open") {
			t.Errorf("exit code %d, and it says\n%s", code, said)
		}
	})
	t.Run("usage", func(t *testing.T) {
		cmd := s.command(t.Context(), t)
		cmd.Args = cmd.Args[:slices.Index(cmd.Args, "archive")]
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 {
			t.Error(err)
		}
	})
}

// The variables that name the compiled samples: `.ci/run samples` and
// scripts/wine-test set them.
const (
	csVariable  = "BROKER_TEST_SAMPLE_CS"
	cppVariable = "BROKER_TEST_SAMPLE_CPP"
)

func TestCSharp(t *testing.T) {
	path := os.Getenv(csVariable)
	if path == "" {
		t.Skip("the sample is not compiled (" + csVariable + "); .ci/run samples does that")
	}
	s := sample{command: func(ctx context.Context, t *testing.T, hresults ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "mono", append([]string{path, "archive"}, hresults...)...)
		cmd.Env = append(os.Environ(), "BROKER_KEY_FILE="+keyFile(t))
		return cmd
	}}
	s.test(t)
}

// keyFile is a file with the key.
func keyFile(t *testing.T) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "key")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(key + "\n"); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
