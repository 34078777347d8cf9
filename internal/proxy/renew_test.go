package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const bearerClaims = `Bearer realm="", error="insufficient_claims", claims="`

// asked is what a resource saw.
type asked struct{ seen []string }

// until refuses every token but this one, with the header given.
func (a *asked) until(good, challenge string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/unread" {
			body, _ := io.ReadAll(r.Body)
			a.seen = append(a.seen, fmt.Sprintf("%s %d %s", r.Header.Get("Authorization"), len(body), r.Method))
		} else {
			a.seen = append(a.seen, r.Header.Get("Authorization"))
		}
		if r.Header.Get("Authorization") == "Bearer "+good {
			_, _ = io.WriteString(w, "served")
			return
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Add("WWW-Authenticate", "Negotiate")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "refused")
	}
}

// A claims challenge is redeemed and the request sent once more, with the same
// body.
func TestClaimsChallenge(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		var a asked
		d := newDoor(t, a.until("CANARY-2", bearerClaims+claims64+`"`))
		n := 0
		var body io.Reader
		if method == http.MethodPost {
			n = maxRecorded
			body = struct{ io.Reader }{strings.NewReader(strings.Repeat("b", n))} // in chunks
		}
		d.want(d.ask(method, "ews/x", body), http.StatusOK, "served")
		if want := fmt.Sprintf("[Bearer CANARY-1 %d %s Bearer CANARY-2 %d %s]", n, method, n, method); fmt.Sprint(a.seen) != want {
			t.Errorf("the resource saw %v, want %s", a.seen, want)
		}
		if len(d.source.requests) != 2 || d.source.requests[1].Claims != claimsText {
			t.Errorf("redeemed: %+v", d.source.requests)
		}
		d.front.Close() // an answer is sent before its request is counted
		if len(d.issued) != 2 || len(d.results) != 1 || d.results[0].Status != http.StatusOK {
			t.Errorf("issued %v, results %+v", d.issued, d.results)
		}
	}
}

// Never twice: the second refusal is the caller's.
func TestClaimsChallengeTwice(t *testing.T) {
	var a asked
	d := newDoor(t, a.until("none", bearerClaims+claims64+`"`))
	res := d.ask(http.MethodPost, "ews/x", strings.NewReader("abc"))
	d.want(res, http.StatusUnauthorized, "refused")
	if len(a.seen) != 2 || len(d.source.requests) != 2 {
		t.Errorf("the resource saw %v, redeemed %d times", a.seen, len(d.source.requests))
	}
	if got := res.Header["Www-Authenticate"]; len(got) != 1 || !strings.HasPrefix(got[0], bearerClaims) {
		t.Errorf("WWW-Authenticate %q: no other scheme may be asked for", got)
	}
	d.want(d.ask(http.MethodPost, "ews/x", strings.NewReader("abc")), http.StatusUnauthorized, "refused")
	if len(a.seen) != 3 || len(d.source.requests) != 2 {
		t.Errorf("with the token of the challenge in hand the resource saw %v, redeemed %d times", a.seen, len(d.source.requests))
	}
}

// A body that was too large to be kept: the token is renewed all the same, and the
// caller told to send it again.
func TestClaimsChallengeForALargeBody(t *testing.T) {
	var a asked
	d := newDoor(t, a.until("CANARY-2", bearerClaims+claims64+`"`))
	large := strings.Repeat("b", maxRecorded+1)
	d.problem(d.ask(http.MethodPost, "ews/x", strings.NewReader(large)), token.KindUnavailable, "send the request again")
	if e := token.AsError(d.results[0].Err); e.RetryAfter != time.Second {
		t.Errorf("Retry-After %v", e.RetryAfter)
	}
	d.want(d.ask(http.MethodPost, "ews/x", strings.NewReader(large)), http.StatusOK, "served")
	if len(a.seen) != 2 {
		t.Errorf("the resource saw %v", a.seen)
	}
}

// A large body that waits for 100 Continue was not sent when the challenge came.
func TestClaimsChallengeBeforeTheBody(t *testing.T) {
	var a asked
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer CANARY-2" {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprintf(w, "served %d", n)
			return
		}
		a.until("", bearerClaims+claims64+`"`)(w, r)
	})
	d.client.Transport.(*http.Transport).ExpectContinueTimeout = expectTime
	res := d.ask(http.MethodPost, "ews/unread", strings.NewReader(strings.Repeat("b", 3*maxRecorded)), "Expect", "100-continue")
	d.want(res, http.StatusOK, fmt.Sprintf("served %d", 3*maxRecorded))
}

// What the redemption of the claims meets is the caller's to know.
func TestClaimsThatNeedAPerson(t *testing.T) {
	var a asked
	d := newDoor(t, a.until("none", bearerClaims+claims64+`"`))
	d.want(d.ask(http.MethodGet, "graph/x", nil), http.StatusUnauthorized, "")
	d = newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		d.source.fail(token.NewError(token.KindSignInRequired, "", "Run broker login."))
		a.until("none", bearerClaims+claims64+`"`)(w, r)
	})
	d.problem(d.ask(http.MethodGet, "graph/x", nil), token.KindSignInRequired, "Run broker login.")
}

// A token that is refused without a reason is renewed by force once where it is
// not fresh; what cannot be mended is the resource's answer.
func TestPlainRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asked
		good := "CANARY-2"
		src := &source{}
		p, err := New(Config{Tokens: newTokens(src), Bases: map[string]string{"ews": "https://mail.example"}, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			if r.Body == nil {
				r.Body = http.NoBody
			}
			a.until(good, `Bearer error="invalid_token"`)(w, r)
			return w.Result(), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(n int) int {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader(strings.Repeat("b", n)))
			if err := p.Forward(w, r, somebody(), token.Key{Resource: "ews"}); err != nil {
				t.Fatal(err)
			}
			return w.Code
		}
		for _, c := range []struct {
			after        time.Duration
			good         string
			size, status int
			redeemed     int
		}{
			{0, "CANARY-2", 1, 401, 1},                             // it is fresh
			{2 * time.Minute, "CANARY-2", 2 * maxRecorded, 401, 1}, // it cannot be sent again
			{0, "CANARY-2", 1, 200, 2},
			{2 * time.Minute, "none", 1, 401, 3},
			{0, "none", 1, 401, 3}, // that is fresh again
		} {
			time.Sleep(c.after) // the bubble's clock
			good = c.good
			if status := ask(c.size); status != c.status || len(src.requests) != c.redeemed {
				t.Errorf("%+v: status %d, redeemed %d times", c, status, len(src.requests))
			}
		}
		src.fail(token.NewError(token.KindUnavailable, "", "Try again."))
		time.Sleep(2 * time.Minute)
		if status := ask(1); status != http.StatusUnauthorized {
			t.Errorf("status %d", status)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A request in which nothing moves ends; one that flows, however slowly, does not.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, resource := io.Pipe()
		p, err := New(Config{Tokens: newTokens(&source{}), Bases: map[string]string{"ews": "https://mail.example"}, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/silent" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			go func() {
				<-r.Context().Done()
				_ = body.CloseWithError(r.Context().Err())
			}()
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body, ContentLength: -1}, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = p.Forward(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/silent", nil), somebody(), token.Key{Resource: "ews"})
		if token.KindOf(err) != token.KindTimeout || time.Since(began) != defaultIdle {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		w := httptest.NewRecorder()
		ended := make(chan error, 1)
		go func() {
			ended <- p.Forward(w, httptest.NewRequest(http.MethodPost, "/stream", strings.NewReader("x")), somebody(), token.Key{Resource: "ews"})
		}()
		for range 30 { // a sign of life each minute, as of GetStreamingEvents
			time.Sleep(time.Minute)
			if _, err := io.WriteString(resource, "ping "); err != nil {
				t.Fatal(err)
			}
		}
		began = time.Now()
		<-ended
		if got := time.Since(began); w.Body.Len() != 30*5 || got < defaultIdle || got > defaultIdle+time.Minute {
			t.Errorf("%d bytes, ended %v after the last", w.Body.Len(), got)
		}
	})
}
