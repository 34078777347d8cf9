package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/httpapi"
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

// leaseBroker answers what a commandKey asks.
type leaseBroker struct {
	renew, lease func(n int) (status int, body string) // the n-th call; 0 is no answer
	renewed      int
	leased       []httpapi.ConsumerRequest
}

func (b *leaseBroker) RoundTrip(req *http.Request) (*http.Response, error) {
	status, body := 0, ""
	if strings.HasSuffix(req.URL.Path, "/renew") {
		b.renewed++
		status, body = b.renew(b.renewed)
	} else {
		var in httpapi.ConsumerRequest
		if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
			return nil, err
		}
		b.leased = append(b.leased, in)
		status, body = b.lease(len(b.leased))
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return answerWith(req, status, body), nil
}

// A lease is renewed, and made anew at a broker that has forgotten it, under the
// same name and hash. A short absence is not said at all, a long one once, and so
// is its end; what cannot be mended ends it.
func TestRenewal(t *testing.T) {
	const gone = `{"code":"not-found","detail":"There is no consumer \"crm\"."}`
	const known = `{"name":"exec-1","consumer":{"name":"exec-1"}}`
	ok := func(int) (int, string) { return http.StatusOK, "{}" }
	leased := func(int) (int, string) { return http.StatusCreated, known }
	const away = "broker: the broker at http://broker.test has not answered for 2 min, and the command's key no longer works; see `broker status`\n"
	for _, c := range []struct {
		name         string
		renew, lease func(n int) (int, string)
		want         string
		after        time.Duration // its end; an hour where it goes on
		leases       int
	}{
		{"all is well", ok, leased, "", time.Hour, 0},
		{"restarted", func(n int) (int, string) {
			if n == 3 {
				return http.StatusNotFound, gone
			}
			return ok(n)
		}, leased, "", time.Hour, 1},
		{
			"the consumer is gone", func(int) (int, string) { return http.StatusNotFound, gone },
			func(int) (int, string) { return http.StatusNotFound, gone },
			"broker: the command's key no longer works: There is no consumer \"crm\". Start the command again.\n", usualLease / 4, 1,
		},
		{"away for a moment", func(n int) (int, string) {
			if n%2 == 0 {
				return 0, ""
			}
			return ok(n)
		}, leased, "", time.Hour, 0},
		{"away for good", func(int) (int, string) { return 0, "" }, leased, away, time.Hour, 0},
		{"away for long", func(n int) (int, string) {
			if n < 200 {
				return 0, ""
			}
			return ok(n)
		}, leased, away + "broker: the broker is back, and the command's key works again\n", time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &leaseBroker{renew: c.renew, lease: c.lease}
				a := &api{base: "http://broker.test", key: token.NewSecret("bra_x"), http: &http.Client{Transport: b}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var out bytes.Buffer
				began := time.Now()
				asked := httpapi.ConsumerRequest{Name: "exec-1", KeySha256: "abc", Process: 7, Note: "exec of x", LeaseSeconds: 120}
				k := &commandKey{api: a, lease: usualLease, stderr: &out, request: asked}
				k.renewal(ctx)
				if out.String() != c.want || time.Since(began) != c.after {
					t.Errorf("after %v: %q; want after %v: %q", time.Since(began), out.String(), c.after, c.want)
				}
				if len(b.leased) != c.leases {
					t.Errorf("leased %d times, want %d", len(b.leased), c.leases)
				}
				for _, got := range b.leased {
					if d := cmp.Diff(asked, got); d != "" {
						t.Error(d)
					}
				}
			})
		})
	}
}

// A lost connection is a reason to look at once: the broker that comes next does
// not know the key.
func TestALostConnectionIsLookedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked []time.Duration
		b := &leaseBroker{lease: func(int) (int, string) { return http.StatusCreated, `{"name":"exec-1"}` }, renew: func(n int) (int, string) {
			asked = append(asked, time.Since(began))
			if n < 4 {
				return 0, ""
			}
			return http.StatusNotFound, `{"code":"not-found"}`
		}}
		a := &api{base: "http://broker.test", http: &http.Client{Transport: b}, lost: make(chan struct{}, 1)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		time.AfterFunc(3*time.Second, func() { a.lost <- struct{}{} })
		(&commandKey{api: a, lease: usualLease, stderr: io.Discard}).renewal(ctx)
		want := []time.Duration{3 * time.Second, 3300 * time.Millisecond}
		if len(asked) != 4 || asked[0] != want[0] || asked[1] != want[1] || asked[3] > 4500*time.Millisecond || len(b.leased) != 1 {
			t.Errorf("asked after %v, leased %d times", asked, len(b.leased))
		}
	})
}

func TestNoteOf(t *testing.T) {
	if got := noteOf(filepath.Join("bin", "report.sh")); got != "exec of report.sh" {
		t.Error(got)
	}
	if got := noteOf(strings.Repeat("é", 2000)); len([]rune(got)) != maxNote {
		t.Errorf("%d characters", len([]rune(got)))
	}
}
