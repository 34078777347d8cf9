package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Every kind's answer, golden.
func TestEveryKind(t *testing.T) {
	for _, k := range token.Kinds() {
		t.Run(k.Code(), func(t *testing.T) {
			s := newStack(t)
			s.tokens.err = &token.Error{Kind: k, Op: "test", Err: errors.New("SECRET-CAUSE")}
			res := s.do(call{path: graph, key: s.crm})
			golden(t, "problem-"+k.Code(), res)
			p := s.problem(res, res.StatusCode, k)
			if p.Detail == "" || p.Title == "" {
				t.Errorf("no sentence: %+v", p)
			}
			if strings.Contains(p.Detail, "SECRET") {
				t.Error("the cause is passed on")
			}
			if log := s.log.String(); !strings.Contains(log, p.Instance) || !strings.Contains(log, "problem.kind="+k.Code()) || !strings.Contains(log, "consumer=crm") {
				t.Errorf("log line %s", log)
			}
		})
	}
}

// Everything that an authority can say, golden.
func TestEverythingKnown(t *testing.T) {
	s := newStack(t)
	s.tokens.err = fmt.Errorf("wrapped: %w", &token.Error{
		Kind: token.KindSignInRequired, Op: "redeem refresh token", Detail: "The sign-in of ops needs another factor; run broker login --account ops.",
		OAuthError: "interaction_required", SubError: "basic_action", AADSTS: 50076, Status: 400,
		CorrelationID: "9a8b7c6d-5e4f-4a3b-8c2d-1e0f9a8b7c6d", RequestID: "11111111-2222-3333-4444-555555555555",
		RetryAfter: 90*time.Second + time.Millisecond, Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
		Err: errors.New("SECRET-CAUSE"),
	})
	res := s.do(call{path: graph, key: s.crm})
	golden(t, "problem-everything", res)
	if strings.Contains(s.log.String(), "acrs") {
		t.Error("claims stand in the log")
	}
}

// A key in the place of a name is not repeated: the error ends in the caller's log.
func TestAProblemRepeatsNoKey(t *testing.T) {
	key := "brk_" + strings.Repeat("x", 43)
	p := ProblemOf(token.NewError(token.KindUnknownResource, "", "There is no resource \""+key+"\"."))
	if strings.Contains(p.Detail, "brk_") || !strings.Contains(p.Detail, "[a key]") {
		t.Errorf("detail: %s", p.Detail)
	}
	s := newStack(t)
	s.problem(s.do(call{path: "/v1/token?resource=graph&" + s.crm + "=1", key: s.crm}), http.StatusBadRequest, token.KindInvalidRequest)
	if res := s.do(call{path: "/v1/token?resource=graph&" + s.crm + "=1", key: s.crm}); strings.Contains(string(read(t, res)), s.crm[:20]) {
		t.Error("the key is repeated")
	}
}

func TestEveryKindHasAMeaning(t *testing.T) {
	for _, k := range token.Kinds() {
		m, ok := meanings[k]
		if !ok || m.title == "" || m.detail == "" || http.StatusText(m.status) == "" {
			t.Errorf("%v has meaning %+v", k, m)
		}
	}
	codes := closedDocument(t).Components.Schemas["Problem"].Value.Properties["code"].Value.Enum
	if len(codes) != len(token.Kinds()) {
		t.Errorf("the document has %d codes, there are %d kinds", len(codes), len(token.Kinds()))
	}
}

func TestForeignErrors(t *testing.T) {
	for err, kind := range map[error]token.Kind{
		errors.New("SECRET"):     token.KindInternal,
		context.DeadlineExceeded: token.KindTimeout,
	} {
		s := newStack(t)
		s.tokens.err = err
		res := s.do(call{path: graph, key: s.crm})
		s.problem(res, meanings[kind].status, kind)
		if strings.Contains(string(read(t, res)), "SECRET") {
			t.Error("a foreign error's text is passed on")
		}
	}
}

func TestRoutesThatAreNotThere(t *testing.T) {
	tests := []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1", 404, ""},
		{"GET", "/v1/token/", 404, ""},
		{"GET", "/v1/Token", 404, ""},
		{"GET", "/v1/signins/a/b", 404, ""},
		{"GET", "/v1/consumers/crm/rotate/x", 404, ""},
		{"OPTIONS", "/nosuch", 404, ""},
		{"DELETE", "/v1/token", 405, "GET, POST"},
		{"HEAD", "/v1/token", 405, "GET, POST"},
		{"OPTIONS", "/v1/token", 405, "GET, POST"},
		{"PUT", "/v1/accounts/ops", 405, "DELETE, GET"},
		{"GET", "/v1/signins", 405, "POST"},
		{"GET", "/v1/consumers/crm", 405, "DELETE"},
		{"PATCH", "/v1/consumers/crm/renew", 405, "POST"},
		{"TRACE", "/v1/status", 405, "GET"},
		{"BREW", "/v1/status", 405, "GET"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			s := newStack(t)
			res := s.do(call{method: tt.method, path: tt.path, key: s.crm})
			kind := token.KindNotFound
			if tt.status == 405 {
				kind = token.KindInvalidRequest
			}
			s.problem(res, tt.status, kind)
			if got := res.Header.Values("Allow"); strings.Join(got, "|") != tt.allow {
				t.Errorf("Allow %q, want %q", got, tt.allow)
			}
			s.problem(s.do(call{method: tt.method, path: tt.path}), 401, token.KindUnauthenticated)
		})
	}
}

func TestUnknownParametersOfOtherRoutes(t *testing.T) {
	s := newStack(t)
	for path, want := range map[string]string{
		"/v1/accounts?x=1":              `"x"`,
		"/livez?verbose":                `"verbose"`,
		"/v1/signins/a?wiat=3":          "did you mean wait?",
		"/v1/signins/a?wait=SECRET":     "wait must be",
		"/v1/signins/a?wait=61":         "between 0 and 60",
		"/v1/signins/a?wait=1&wait=2":   "sent twice",
		"/v1/status?%zz":                "broken % escape",
		"/openapi.json?v=1":             `"v"`,
		"/v1/accounts/ops?wait=1":       `"wait"`,
		"/v1/accounts/ops?token=SECRET": `"token"`,
	} {
		p := s.problem(s.do(call{path: path, key: s.admin}), 400, token.KindInvalidRequest)
		if !strings.Contains(p.Detail, want) || strings.Contains(p.Detail, "SECRET") {
			t.Errorf("%s: detail %q, want %s", path, p.Detail, want)
		}
	}
}

func TestPanics(t *testing.T) {
	for name, hook := range map[string]func(context.Context){
		"error":   func(context.Context) { panic(errors.New("SECRET")) },
		"string":  func(context.Context) { panic("SECRET") },
		"other":   func(context.Context) { panic(struct{ s string }{"SECRET"}) },
		"runtime": func(context.Context) { _ = []int{}[len("SECRET")] },
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []call{{path: graph}, {method: "POST", path: tokenPath, body: `{"resource":"graph"}`}} {
				s := newStack(t)
				s.tokens.hook = hook
				c.key = s.crm
				res := s.do(c)
				p := s.problem(res, 500, token.KindInternal)
				log := s.log.String()
				if strings.Contains(log+p.Detail, "SECRET") {
					t.Errorf("the panic's value got out: %s", log)
				}
				if !strings.Contains(log, "Token") || !strings.Contains(log, p.Instance) {
					t.Errorf("the log does not say where: %s", log)
				}
			}
		})
	}
}

func TestAPanicAfterTheAnswerBeganCutsItOff(t *testing.T) {
	s := newStack(t, func(c *Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write([]byte("half"))
			panic("SECRET")
		})
	})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			t.Errorf("panic %v, want http.ErrAbortHandler", p)
		}
	}()
	s.do(call{path: "/metrics", key: s.admin})
}

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	s := newStack(t)
	for range 3 * warningsAtOnce {
		s.do(call{path: "/livez", header: http.Header{"Origin": {"null"}}})
	}
	if n := strings.Count(s.log.String(), "level=WARN"); n == 0 || n > warningsAtOnce+warningsPerSecond {
		t.Errorf("%d warnings", n)
	}
}
