package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// pipeListener is a loopback listener in memory, so that connections, deadlines
// and the stop run on the bubble's clock.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8477} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- loopbackConn{theirs}:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type loopbackConn struct{ net.Conn }

func (loopbackConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8477} }

func (loopbackConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}
}

// running is a server on a pipe, and a client for it.
type running struct {
	*stack
	listener *pipeListener
	client   *http.Client
	stop     context.CancelFunc
	done     chan error
}

func start(t *testing.T, change ...func(*Config)) *running {
	s := newStack(t, change...)
	s.tokens.set(entry(t, "CANARY-1"))
	l := newPipeListener()
	ctx, stop := context.WithCancel(t.Context())
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }}
	r := &running{stack: s, listener: l, client: &http.Client{Transport: tr}, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- s.server.Serve(ctx, l); close(r.done) }()
	t.Cleanup(func() {
		stop()
		tr.CloseIdleConnections()
		for range r.done { // a test may have taken the error already
		}
		synctest.Wait()
	})
	return r
}

type result struct {
	status     int
	body       string
	retryAfter string
	after      time.Duration
	err        error
}

func (r *running) get(path string, header ...string) result {
	return r.send(http.MethodGet, path, nil, header...)
}

func (r *running) send(method, path string, body io.Reader, header ...string) result {
	begin := time.Now()
	req, _ := http.NewRequest(method, "http://"+testHost+path, body)
	req.Header.Set("X-Broker-Key", r.crm)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return result{err: err, after: time.Since(begin)}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return result{res.StatusCode, string(b), res.Header.Get("Retry-After"), time.Since(begin), err}
}

func (r *running) etag() string { return r.tokens.answer.Entry.ETag() }

func TestServeAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		if got := r.get(graph); got.status != 200 || !strings.Contains(got.body, "CANARY-1") {
			t.Fatalf("%+v", got)
		}
		r.stop()
		if err := <-r.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if got := r.get("/livez"); got.err == nil {
			t.Errorf("after the stop: %+v", got)
		}
	})
}

func TestStopLetsAnswersFinishAndEndsLongPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		release := make(chan struct{})
		poll, slow := make(chan result, 1), make(chan result, 1)
		go func() { poll <- r.get(graph+"&wait=60", "If-None-Match", r.etag()) }()
		synctest.Wait()
		r.tokens.hook = func(context.Context) { <-release }
		go func() { slow <- r.get(graph) }()
		synctest.Wait()

		r.stop()
		if got := <-poll; got.status != 304 || got.after > time.Second {
			t.Errorf("the long poll: %+v", got)
		}
		time.Sleep(3 * time.Second)
		select {
		case err := <-r.done:
			t.Fatalf("Serve returned (%v) before the answer was finished", err)
		default:
		}
		close(release)
		if got := <-slow; got.status != 200 {
			t.Errorf("the answer in flight: %+v", got)
		}
		if err := <-r.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// stopProblem checks that an answer says that the broker is stopping.
func stopProblem(t *testing.T, what string, got result) {
	t.Helper()
	var p Problem
	if got.err != nil || got.status != 503 || json.Unmarshal([]byte(got.body), &p) != nil {
		t.Errorf("%s: %+v", what, got)
		return
	}
	if p.Code != ProblemCodeUpstreamUnavailable || !p.Retryable || p.RetryAfter != 5 || got.retryAfter != "5" || !strings.HasPrefix(p.Detail, "The broker is stopping; ") {
		t.Errorf("%s: %+v, Retry-After %q", what, p, got.retryAfter)
	}
}

// What hangs, because the authority or the caller does, is answered too.
func TestStopAnswersWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		r.tokens.hook = func(ctx context.Context) { <-ctx.Done() }
		r.tokens.err = token.AsError(context.Canceled)
		get, post := make(chan result, 1), make(chan result, 1)
		go func() { get <- r.get(graph) }()
		body, more := io.Pipe()
		go func() { post <- r.send("POST", tokenPath, body) }()
		_, _ = io.WriteString(more, `{"resource":`)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()

		begin := time.Now()
		r.stop()
		stopProblem(t, "a request whose upstream hangs", <-get)
		stopProblem(t, "a body that does not arrive", <-post)
		if took := time.Since(begin); took != finishTime {
			t.Errorf("they were answered after %v", took)
		}
		if err := <-r.done; err != nil || time.Since(begin) > 8*time.Second {
			t.Errorf("Serve: %v after %v", err, time.Since(begin))
		}
		_ = more.Close()
	})
}

// A deadline that passes while the server stops is the stop's too; what else goes
// wrong is told as always, and so is a deadline before.
func TestStopKeepsOtherErrors(t *testing.T) {
	s := newStack(t)
	late := token.NewError(token.KindTimeout, "redeem", "login.test did not answer in time; try again.")
	if got := s.server.asStop(late); got != late {
		t.Errorf("before the stop: %v", got)
	}
	close(s.server.stopping)
	if got := s.server.asStop(late); got.Kind != token.KindUnavailable || !errors.Is(got, late) {
		t.Errorf("while stopping: %v", got)
	}
	denied := token.NewError(token.KindDenied, "check policy", "No.")
	if got := s.server.asStop(denied); got != denied {
		t.Errorf("while stopping: %v", got)
	}
}

func TestStopCutsOffWhatDoesNotListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		release := make(chan struct{})
		r.tokens.hook = func(context.Context) { <-release }
		got := make(chan result, 1)
		go func() { got <- r.get(graph) }()
		synctest.Wait()
		begin := time.Now()
		r.stop()
		err := <-r.done
		if took := time.Since(begin); err != nil || took != finishTime+answerLate {
			t.Errorf("Serve: %v after %v", err, took)
		}
		if g := <-got; g.err == nil {
			t.Errorf("an answer that was cut off looks whole: %+v", g)
		}
		if !strings.Contains(r.log.String(), "requests were cut off") {
			t.Errorf("the log does not say so: %s", r.log)
		}
		close(release)
	})
}

// The longest poll fits into the server's own times, and the connection goes on.
func TestTheLongestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		for range 2 {
			if got := r.get(graph+"&wait=60", "If-None-Match", r.etag()); got.status != 304 || got.after != time.Minute {
				t.Errorf("%+v", got)
			}
		}
	})
}

// A renewal may take longer than a body may take to arrive.
func TestASlowRenewalAfterABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		var ended error
		r.tokens.hook = func(ctx context.Context) {
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
				ended = ctx.Err()
			}
		}
		req, _ := http.NewRequest(http.MethodPost, "http://"+testHost+tokenPath, strings.NewReader(`{"resource":"graph"}`))
		req.Header.Set("X-Broker-Key", r.crm)
		req.Header.Set("Content-Type", "application/json")
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK || ended != nil {
			t.Errorf("status %d, context %v", res.StatusCode, ended)
		}
	})
}

// raw writes to a connection and reads what comes back until it is closed.
func (r *running) raw(t *testing.T, text string) (answer string, after time.Duration) {
	t.Helper()
	begin := time.Now()
	c, err := r.listener.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, text) }()
	b, _ := io.ReadAll(bufio.NewReader(c))
	return string(b), time.Since(begin)
}

func TestSlowAndWrongConnections(t *testing.T) {
	auth := "Host: " + testHost + "\r\nConnection: close\r\nX-Broker-Key: KEY\r\n"
	tests := []struct {
		name, text string
		want       string // the beginning of the answer
		within     time.Duration
	}{
		{"header never ends", "GET /livez HTTP/1.1\r\n" + auth, "", headerTime},
		{"body never ends", "POST /v1/token HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 400", bodyTime + time.Second},
		{"chunks never end", "POST /v1/token HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "HTTP/1.1 400", bodyTime + time.Second},
		{"idle", "GET /livez HTTP/1.1\r\nHost: " + testHost + "\r\n\r\n", "HTTP/1.1 200", idleTime},
		{"large header", "GET /livez HTTP/1.1\r\n" + auth + "X-A: " + strings.Repeat("a", 2*maxHeader) + "\r\n\r\n", "HTTP/1.1 431", time.Second},
		{"no host", "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400", time.Second},
		{"two hosts", "GET /livez HTTP/1.1\r\nHost: " + testHost + "\r\n" + auth + "\r\n", "HTTP/1.1 400", time.Second},
		{"HTTP/1.0 without host", "GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 403", time.Second},
		{"absolute form", "GET http://" + testHost + "/livez HTTP/1.1\r\n" + auth + "\r\n", "HTTP/1.1 403", time.Second},
		{"connect", "CONNECT evil.example:443 HTTP/1.1\r\n" + auth + "\r\n", "HTTP/1.1 403", time.Second},
		{"options of all", "OPTIONS * HTTP/1.1\r\n" + auth + "\r\n", "HTTP/1.1 403", time.Second},
		{"dots", "GET /v1/../livez HTTP/1.1\r\n" + auth + "\r\n", "HTTP/1.1 403", time.Second},
		{"good", "GET /livez HTTP/1.1\r\n" + auth + "\r\n", "HTTP/1.1 200", time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t)
				got, after := r.raw(t, strings.ReplaceAll(tt.text, "KEY", r.crm))
				if !strings.HasPrefix(got, tt.want) || after > tt.within {
					t.Errorf("after %v: %.200s", after, got)
				}
			})
		})
	}
}

func TestServeTellsWhyItCannot(t *testing.T) {
	s := newStack(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := s.server.Serve(t.Context(), l); err == nil {
		t.Error("Serve on a closed listener returns no error")
	}
}

// The API in this process is the API.
func TestTransport(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY-1"))
	client := &http.Client{Transport: s.server.Transport()}
	do := func(method, url, body, key string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		s.check(req, res)
		return res
	}
	base := "http://" + testHost
	want[Token](s, do("GET", base+graph, "", s.admin), 200)
	want[Token](s, do("POST", base+tokenPath, `{"resource":"graph"}`, s.admin), 200)
	want[Live](s, do("GET", base+"/livez", "", ""), 200)
	s.problem(do("GET", base+graph, "", ""), 401, token.KindUnauthenticated)
	s.problem(do("GET", "http://evil.example"+graph, "", s.admin), 403, token.KindDenied)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+"/livez", nil)
	if res, err := client.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("a cancelled request is answered")
	}
	var p Problem
	if err := json.Unmarshal(read(t, do("GET", base+"/nosuch", "", s.admin)), &p); err != nil || p.Code != ProblemCodeNotFound {
		t.Errorf("problem %+v, %v", p, err)
	}
}
