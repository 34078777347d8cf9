package httpapi

import (
	"bytes"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Beyond the rate a wrong key gets 429, by whatever path, and a right one its token.
func TestWrongKeysAreLimited(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	wrong := consumer.NewKey().Reveal()
	for _, path := range []string{graph, "/v1/status", "/v1/nothing", "/proxy/graph/me", "/AuthorizationHeader/graph"} {
		res := s.do(call{path: path, key: wrong})
		for n := 0; res.StatusCode == http.StatusUnauthorized && n < 1000; n++ {
			res = s.do(call{path: path, key: wrong})
		}
		p := s.problem(res, http.StatusTooManyRequests, token.KindRateLimited)
		if p.Instance == "" || p.Instance != res.Header.Get(headerRequestID) || res.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: instance %q, header %v", path, p.Instance, res.Header)
		}
	}
	if res := s.do(call{path: graph, key: s.crm}); res.StatusCode != http.StatusOK {
		t.Errorf("a right key: status %d", res.StatusCode)
	}
}

// The ready-made answer, its log line and its line of the audit log are those that
// are made for any other problem.
func TestTheReadyAnswerIsTheProblem(t *testing.T) {
	type said struct {
		status    int
		header    http.Header
		body, log string
		audit     []string
	}
	how := func(fail func(*Server, http.ResponseWriter, *http.Request)) said {
		var log bytes.Buffer
		kept := &refusals{}
		s := newStack(t, func(c *Config) {
			c.Log, c.Audit = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: untimed})), kept
		})
		w := httptest.NewRecorder()
		w.Header().Set(headerRequestID, "0123456789abcdef")
		fail(s.server, w, httptest.NewRequest(http.MethodGet, graph, nil))
		return said{w.Code, w.Header(), w.Body.String(), log.String(), kept.said}
	}
	ready := how(func(s *Server, w http.ResponseWriter, r *http.Request) { s.fail(w, r, s.cfg.Consumers.TooManyWrong()) })
	made := how(func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.send(w, s.note(w, r, s.cfg.Consumers.TooManyWrong()))
	})
	if ready.status != made.status || ready.body != made.body || ready.log != made.log ||
		!maps.EqualFunc(ready.header, made.header, slices.Equal[[]string]) || !slices.Equal(ready.audit, made.audit) {
		t.Errorf("ready: %+v\nmade:  %+v", ready, made)
	}
	if !strings.Contains(ready.body, `"instance":"0123456789abcdef"`) || ready.log == "" || len(ready.audit) != 1 {
		t.Errorf("said: %+v", ready)
	}
}

func untimed(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// refusals keeps what the audit log is told of requests that were refused.
type refusals struct {
	Audit
	said []string
}

func (a *refusals) Refused(_ *consumer.Identity, kind token.Kind, route, requestID string) {
	a.said = append(a.said, kind.Code()+" "+route+" "+requestID)
}
