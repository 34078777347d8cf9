package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// answers answers every request.
type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answerWith(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/problem+json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}
}

// A key that no longer works is said once, also where the broker was only away
// for longer than the lease; a short absence is not said at all.
func TestRenewLease(t *testing.T) {
	gone := `{"code":"not-found","detail":"There is no consumer."}`
	for _, c := range []struct {
		name   string
		answer func(n int, req *http.Request) (*http.Response, error)
		want   string
		after  time.Duration
	}{
		{
			"restarted", func(n int, req *http.Request) (*http.Response, error) {
				if n < 3 {
					return answerWith(req, http.StatusOK, "{}"), nil
				}
				return answerWith(req, http.StatusNotFound, gone), nil
			},
			"broker: the broker was restarted, and the command's key no longer works; start the command again\n", 3 * renewEvery,
		},
		{
			"away for good", func(int, *http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
			"broker: the broker at http://broker.test has not answered for 2 min, and the command's key no longer works; see `broker status`, then start the command again\n", lease,
		},
		{
			"away for a moment", func(n int, req *http.Request) (*http.Response, error) {
				if n%2 == 0 {
					return nil, errors.New("connection refused")
				}
				return answerWith(req, http.StatusOK, "{}"), nil
			},
			"", time.Hour,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				a := &api{base: "http://broker.test", key: token.NewSecret("bra_x"), http: &http.Client{Transport: answers(func(req *http.Request) (*http.Response, error) {
					n++
					return c.answer(n, req)
				})}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var out bytes.Buffer
				began := time.Now()
				renewLease(ctx, &options{env: environment{stderr: &out}}, a, "exec-1")
				if out.String() != c.want || time.Since(began) != c.after {
					t.Errorf("after %v: %q; want after %v: %q", time.Since(began), out.String(), c.after, c.want)
				}
			})
		})
	}
}

func TestExecutable(t *testing.T) {
	if got := executable(strings.Repeat("x", maxExecutable)); got != "" {
		t.Errorf("too long: %q", got)
	}
	if got := executable("report.sh"); !strings.HasSuffix(got, "report.sh") || got == "report.sh" {
		t.Errorf("not absolute: %q", got)
	}
}
