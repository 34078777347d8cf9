package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/client"
)

const key = "brk_CANARYCANARYCANARYCANARYCANARYCANARYCANARYC"

// broker is a stand-in: it answers in this process, so that time can be fake.
type broker struct {
	mu      sync.Mutex
	asked   []string                                   // method, target and body of each request
	header  http.Header                                // of the last request
	answers []func(*http.Request) (int, string, error) // one for each request; the last one stays
	delay   time.Duration
	life    time.Duration // of tokens
}

func (b *broker) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	b.asked = append(b.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	b.header = r.Header
	n, answer := len(b.asked), func(*http.Request) (int, string, error) { return 0, "", nil }
	if len(b.answers) > 0 {
		answer = b.answers[min(n, len(b.answers))-1]
	}
	b.mu.Unlock()
	if b.delay > 0 {
		select {
		case <-time.After(b.delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	status, text, err := answer(r)
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if status == 0 {
		life := b.life
		if life == 0 {
			life = time.Hour
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"CANARY-%d","token_type":"Bearer","expires_on":%d,"expires_in":3600,"resource":"graph","scope":"s","account":"ops","source":"cache"}`, n, time.Now().Add(life).Unix())
		return w.Result(), nil
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if retry := r.Context().Value("retry"); retry != nil {
		w.Header().Set("Retry-After", fmt.Sprint(retry))
	}
	w.WriteHeader(status)
	_, _ = w.WriteString(text)
	return w.Result(), nil
}

func good(*http.Request) (int, string, error) { return 0, "", nil }

func says(status int, body string) func(*http.Request) (int, string, error) {
	return func(*http.Request) (int, string, error) { return status, body, nil }
}

func refused(*http.Request) (int, string, error) {
	return 0, "", errors.New("connect: connection refused")
}

const busy = `{"type":"t","title":"t","status":503,"code":"upstream-unavailable","detail":"Try later.","retryable":true,"user_action":"none","instance":"i","retry_after":3}`

func (b *broker) client(t *testing.T, change ...func(*client.Options)) *client.Client {
	t.Helper()
	o := client.Options{URL: "http://127.0.0.1:8477/", Key: key, HTTPClient: &http.Client{Transport: b}}
	for _, c := range change {
		c(&o)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		c := b.client(t)
		tok, err := c.Token(t.Context(), client.Request{Resource: "graph", Account: "ops@contoso.com", MinValidity: 90*time.Second + 1})
		if err != nil || tok.AccessToken() != "CANARY-1" || tok.Authorization() != "Bearer CANARY-1" || tok.Account != "ops" || tok.Scope != "s" {
			t.Fatalf("%v, %v", tok, err)
		}
		if want := "GET /v1/token?account=ops%40contoso.com&min_validity=91&resource=graph"; b.asked[0] != want {
			t.Errorf("asked %s", b.asked)
		}
		if b.header.Get("Authorization") != "Bearer "+key {
			t.Error("the key is not sent")
		}
	})
}

// A token is kept until close to its end, per resource and account.
func TestATokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		c := b.client(t)
		ask := func(r client.Request, want string) {
			t.Helper()
			if tok, err := c.Token(t.Context(), r); err != nil || tok.AccessToken() != want {
				t.Errorf("%s, %v; want %s", tok.AccessToken(), err, want)
			}
		}
		graph := client.Request{Resource: "graph"}
		ask(graph, "CANARY-1")
		ask(graph, "CANARY-1")
		ask(client.Request{Resource: "graph", Account: "bob"}, "CANARY-2")
		ask(client.Request{Resource: "ews"}, "CANARY-3")
		ask(client.Request{Resource: "graph", MinValidity: 2 * time.Hour}, "CANARY-4")
		time.Sleep(54 * time.Minute)
		ask(graph, "CANARY-4")
		time.Sleep(2 * time.Minute)
		ask(graph, "CANARY-5")
		c.Forget()
		ask(graph, "CANARY-6")
		ask(client.Request{Resource: "graph", ForceRefresh: true}, "CANARY-7")
		ask(client.Request{Resource: "graph", Claims: `{"access_token":{}}`}, "CANARY-8")
		ask(graph, "CANARY-8")
		want := []string{`POST /v1/token {"resource":"graph","force_refresh":true}`, `POST /v1/token {"resource":"graph","claims":"{\"access_token\":{}}"}`}
		if b.asked[6] != want[0] || b.asked[7] != want[1] {
			t.Errorf("asked %q", b.asked[6:])
		}
	})
}

// Many goroutines are one request to the broker; each leaves with its own context.
func TestManyCallersAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{delay: time.Second}
		c := b.client(t)
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var left, got atomic.Int64
		for i := range 100 {
			ctx := t.Context()
			if i < 10 {
				ctx = first
			}
			wg.Go(func() {
				switch tok, err := c.Token(ctx, client.Request{Resource: "graph"}); {
				case errors.Is(err, context.Canceled):
					left.Add(1)
				case tok.AccessToken() == "CANARY-1":
					got.Add(1)
				}
			})
		}
		time.Sleep(time.Millisecond)
		leave()
		wg.Wait()
		if len(b.asked) != 1 || left.Load() != 10 || got.Load() != 90 {
			t.Errorf("%d requests, %d left, %d got the token", len(b.asked), left.Load(), got.Load())
		}
	})
}

// A request that nobody waits for any more ends, and the next caller starts anew.
func TestTheLastCallerEndsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{delay: time.Second}
		c := b.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Token(ctx, client.Request{Resource: "graph"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if _, err := c.Token(ctx, client.Request{Resource: "graph"}); !errors.Is(err, context.DeadlineExceeded) || len(b.asked) != 1 {
			t.Errorf("error %v, %d requests", err, len(b.asked))
		}
		if tok, err := c.Token(t.Context(), client.Request{Resource: "graph"}); err != nil || tok.AccessToken() != "CANARY-2" {
			t.Errorf("%v, %v", tok, err)
		}
	})
}

// What passes by itself is waited for, as long as the broker says, and within
// MaxWait.
func TestRetry(t *testing.T) {
	limited := `{"code":"rate-limited","detail":"Slow.","retryable":true,"retry_after":1}`
	tests := []struct {
		name    string
		answers []func(*http.Request) (int, string, error)
		maxWait time.Duration
		asked   int
		took    [2]time.Duration // at least, at most
		fails   string           // part of the error
	}{
		{"the broker is restarted", []func(*http.Request) (int, string, error){refused, refused, refused, good}, 0, 4, [2]time.Duration{350 * time.Millisecond, 700 * time.Millisecond}, ""},
		{"upstream is down for a moment", []func(*http.Request) (int, string, error){says(503, busy), good}, 0, 2, [2]time.Duration{3 * time.Second, 3 * time.Second}, ""},
		{"too fast", []func(*http.Request) (int, string, error){says(429, limited), says(429, limited), good}, 0, 3, [2]time.Duration{2 * time.Second, 2 * time.Second}, ""},
		{"no usable answer, with no time said", []func(*http.Request) (int, string, error){says(502, `{"code":"upstream-invalid","retryable":true}`), good}, 0, 2, [2]time.Duration{50 * time.Millisecond, 100 * time.Millisecond}, ""},
		{"too long", []func(*http.Request) (int, string, error){says(503, strings.Replace(busy, `:3}`, `:60}`, 1))}, 0, 1, [2]time.Duration{0, 0}, "Try later."},
		{"down for good", []func(*http.Request) (int, string, error){says(503, busy)}, 10 * time.Second, 4, [2]time.Duration{9 * time.Second, 9 * time.Second}, "Try later."},
		{"never there", []func(*http.Request) (int, string, error){refused}, 5 * time.Second, 0, [2]time.Duration{3 * time.Second, 5 * time.Second}, "broker status"},
		{"once", []func(*http.Request) (int, string, error){refused}, -1, 1, [2]time.Duration{0, 0}, "broker status"},
		{"lasting", []func(*http.Request) (int, string, error){says(403, `{"code":"denied","detail":"Not you.","retryable":false}`)}, 0, 1, [2]time.Duration{0, 0}, "denied: Not you."},
		{"a person signs in", []func(*http.Request) (int, string, error){says(409, `{"code":"sign-in-pending","detail":"Wait.","retryable":true,"retry_after":5}`)}, 0, 1, [2]time.Duration{0, 0}, "Wait."},
		{"something else", []func(*http.Request) (int, string, error){says(503, `<html>`)}, 0, 1, [2]time.Duration{0, 0}, "something else than the broker"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{answers: tt.answers}
				c := b.client(t, func(o *client.Options) { o.MaxWait = tt.maxWait })
				began := time.Now()
				tok, err := c.Token(t.Context(), client.Request{Resource: "graph"})
				took := time.Since(began)
				if took < tt.took[0] || took > tt.took[1] || tt.asked > 0 && len(b.asked) != tt.asked {
					t.Errorf("%d requests in %v", len(b.asked), took)
				}
				if tt.fails == "" && (err != nil || tok.AccessToken() == "") || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
					t.Errorf("%v, %v", tok, err)
				}
				if err != nil && strings.Contains(err.Error(), "CANARY") {
					t.Errorf("the key stands in %v", err)
				}
			})
		})
	}
}

// The caller's context ends a pause.
func TestACallerDoesNotWaitForAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{answers: []func(*http.Request) (int, string, error){says(503, busy)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := b.client(t).Token(ctx, client.Request{Resource: "graph"})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A token that is close to its end is better than none, while the broker is away.
func TestAnOldTokenIsBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{answers: []func(*http.Request) (int, string, error){good, refused}}
		c := b.client(t, func(o *client.Options) { o.MaxWait = -1 })
		graph := client.Request{Resource: "graph"}
		if _, err := c.Token(t.Context(), graph); err != nil {
			t.Fatal(err)
		}
		time.Sleep(57 * time.Minute)
		if tok, err := c.Token(t.Context(), graph); err != nil || tok.AccessToken() != "CANARY-1" {
			t.Errorf("%v, %v", tok, err)
		}
		if _, err := c.Token(t.Context(), client.Request{Resource: "graph", ForceRefresh: true}); err == nil {
			t.Error("a forced refresh gave the old token")
		}
		b.answers = []func(*http.Request) (int, string, error){says(403, `{"code":"denied","detail":"Not any more.","retryable":false}`)}
		if _, err := c.Token(t.Context(), graph); err == nil {
			t.Error("a consumer that was cut off gets the old token")
		}
		b.answers = []func(*http.Request) (int, string, error){refused}
		time.Sleep(2*time.Minute + 30*time.Second)
		if _, err := c.Token(t.Context(), graph); err == nil {
			t.Error("a token that ends within a minute was given")
		}
	})
}

func TestErrors(t *testing.T) {
	body := `{"type":"t","title":"A sign-in is required","status":409,"code":"sign-in-required","detail":"Sign in again.","retryable":false,"user_action":"sign-in","instance":"abc",` +
		`"error":"interaction_required","suberror":"basic_action","aadsts":50076,"correlation_id":"c","claims":"{\"access_token\":{}}","sign_in":"/v1/signins"}`
	b := &broker{answers: []func(*http.Request) (int, string, error){says(409, body)}}
	_, err := b.client(t).Token(t.Context(), client.Request{Resource: "graph", Account: "ops"})
	signIn, ok := errors.AsType[*client.SignInRequiredError](err)
	if !ok || signIn.Pending || signIn.Command() != "broker login --account ops" || signIn.Link != "http://127.0.0.1:8477/v1/signins" {
		t.Fatalf("%#v", err)
	}
	e, ok := errors.AsType[*client.Error](err)
	want := client.Error{
		Status: 409, Code: "sign-in-required", Title: "A sign-in is required", Detail: "Sign in again.", UserAction: "sign-in", RequestID: "abc",
		OAuthError: "interaction_required", SubError: "basic_action", AADSTS: 50076, CorrelationID: "c", Claims: `{"access_token":{}}`,
	}
	if !ok || *e != want {
		t.Errorf("%+v", e)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "error", signIn, "problem", e)
	if strings.Contains(log.String()+err.Error(), "access_token") || !strings.Contains(log.String(), "sign-in-required") {
		t.Errorf("logged %s", log.String())
	}
	if (&client.SignInRequiredError{}).Command() != "broker login" {
		t.Error("Command without an account")
	}
	if got := (&client.Error{Status: 500, Code: "internal"}).Error(); got != "token broker: internal (status 500)" {
		t.Error(got)
	}
}

func TestAnswersThatAreNoTokens(t *testing.T) {
	for _, body := range []string{``, `{}`, `{"access_token":"CANARY"}`, `{"access_token":"CANARY","expires_on":"x"}`, `<html>`} {
		b := &broker{answers: []func(*http.Request) (int, string, error){says(200, body)}}
		if tok, err := b.client(t).Token(t.Context(), client.Request{Resource: "graph"}); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v, %v", body, tok, err)
		}
	}
	if _, err := (&broker{}).client(t).Token(t.Context(), client.Request{}); err == nil {
		t.Error("a request without a resource is sent")
	}
}
