package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a server that answers each request of a connection with the next
// text of that connection, and closes it after the last. An empty text is no
// answer.
type scripted struct {
	dials atomic.Int64
	conns [][]string
}

func (s *scripted) dial(context.Context, string, string) (net.Conn, error) {
	n := int(s.dials.Add(1)) - 1
	if n >= len(s.conns) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	}
	ours, theirs := net.Pipe()
	go func() {
		defer func() { _ = theirs.Close() }()
		r := bufio.NewReader(theirs)
		for _, answer := range s.conns[n] {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := io.WriteString(theirs, answer); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

// straightOver is a Straight over a dialler.
func straightOver(dial func(context.Context, string, string) (net.Conn, error)) *Straight {
	return NewStraight(&http.Transport{
		DialContext: dial, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: 1 << 10, ReadBufferSize: 4 << 10, DisableCompression: true,
	})
}

func read(t *testing.T, s *Straight, method string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://graph.example/v1.0/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return res, string(body), err
}

// kept counts the connections that wait for a request.
func kept(s *Straight) (n int) {
	s.lines.mu.Lock()
	defer s.lines.mu.Unlock()
	for _, all := range s.lines.idle {
		n += len(all)
	}
	return n
}

const ok2 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

// TestStraightReuse: when a connection serves another request, and when it must not.
func TestStraightReuse(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  string
		body   string
		method string
		dials  int64 // after a second request
	}{
		{"length", ok2, "hi", http.MethodGet, 1},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi", http.MethodGet, 1},
		{"head", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "", http.MethodHead, 1},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", http.MethodGet, 1},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "", http.MethodGet, 1},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", http.MethodGet, 1},
		{"the server closes", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", "hi", http.MethodGet, 2},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", http.MethodGet, 2},
		{"more than was asked for", ok2 + ok2, "hi", http.MethodGet, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &scripted{conns: [][]string{{c.first, ok2}, {ok2}}}
			s := straightOver(server.dial)
			defer s.CloseIdleConnections()
			res, body, err := read(t, s, c.method)
			if err != nil || body != c.body {
				t.Fatalf("%v, %q, %v", res, body, err)
			}
			if _, body, err = read(t, s, http.MethodGet); err != nil || body != "hi" {
				t.Fatalf("second: %q, %v", body, err)
			}
			if n := server.dials.Load(); n != c.dials {
				t.Errorf("%d connections, want %d", n, c.dials)
			}
		})
	}
}

// TestStraightStale: a connection that the server has closed meanwhile costs
// nothing but a new one; one that is new is not tried again.
func TestStraightStale(t *testing.T) {
	server := &scripted{conns: [][]string{{ok2, ""}, {ok2}, {""}, {ok2}}}
	s := straightOver(server.dial)
	defer s.CloseIdleConnections()
	for range 2 {
		if _, body, err := read(t, s, http.MethodGet); err != nil || body != "hi" {
			t.Fatalf("%q, %v", body, err)
		}
	}
	if _, _, err := read(t, s, http.MethodGet); !errors.Is(err, errGone) || !errors.Is(err, io.EOF) {
		t.Errorf("a new connection without an answer: %v", err)
	}
	if n := server.dials.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// TestStraightBadAnswer: what is no answer, or too long, is an error of which no
// byte is in the text, and the end of its connection.
func TestStraightBadAnswer(t *testing.T) {
	const secret = "CANARY"
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"no HTTP":          {"SSH-2.0-" + secret + "\r\n\r\n", errAnswer},
		"a bad field":      {"HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n", errAnswer},
		"too long":         {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat(secret, 400) + "\r\n\r\n", errHeader},
		"changes protocol": {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + secret + "\r\n\r\n", errUpgrade},
		"1xx without end":  {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 99), errHeader},
		"cut off":          {"HTTP/1.1 200 OK\r\nX: " + secret, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			s := straightOver((&scripted{conns: [][]string{{c.answer}}}).dial)
			_, _, err := read(t, s, http.MethodGet)
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if n := kept(s); n != 0 {
				t.Error("the connection was kept")
			}
		})
	}
}

// TestStraightBodyCutOff: an answer that ends too early is an error of its body.
func TestStraightBodyCutOff(t *testing.T) {
	s := straightOver((&scripted{conns: [][]string{{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"}}}).dial)
	if _, body, err := read(t, s, http.MethodGet); !errors.Is(err, io.ErrUnexpectedEOF) || body != "hi" {
		t.Errorf("%q, %v", body, err)
	}
}

// TestStraightEarlyHints: 1xx answers are told to the trace; the header's limit is
// for all of them together.
func TestStraightEarlyHints(t *testing.T) {
	s := straightOver((&scripted{conns: [][]string{{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 9) + ok2}}}).dial)
	defer s.CloseIdleConnections()
	var told []int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		told = append(told, code)
		return nil
	}})
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://graph.example/", nil)
	res, err := s.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK || len(told) != 10 || told[0] != http.StatusEarlyHints || told[9] != http.StatusProcessing {
		t.Errorf("%v, %v, told %v", res, err, told)
	}
}

// TestStraightCancel: the end of the context ends a wait for the header, a read of
// the body, and is the error.
func TestStraightCancel(t *testing.T) {
	for name, answer := range map[string]string{"header": "", "body": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer func() { _ = theirs.Close() }()
				go func() {
					_, _ = http.ReadRequest(bufio.NewReader(theirs))
					_, _ = io.WriteString(theirs, answer)
				}()
				s := straightOver(func(context.Context, string, string) (net.Conn, error) { return ours, nil })
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://graph.example/", nil)
				res, err := s.RoundTrip(r)
				if err == nil {
					_, err = io.ReadAll(res.Body)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if _, err := theirs.Write([]byte("x")); err == nil {
					t.Error("the connection is still open")
				}
			})
		})
	}
}

// TestStraightEarlyClose: who closes a body without an end does not read on, and
// the connection is closed.
func TestStraightEarlyClose(t *testing.T) {
	ours, theirs := net.Pipe()
	closed := make(chan error, 1)
	go func() {
		_, _ = http.ReadRequest(bufio.NewReader(theirs))
		_, err := io.WriteString(theirs, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for err == nil {
			_, err = io.WriteString(theirs, "1\r\nx\r\n")
		}
		closed <- err
	}()
	s := straightOver(func(context.Context, string, string) (net.Conn, error) { return ours, nil })
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://graph.example/", nil)
	res, err := s.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(res.Body.Close(), res.Body.Close()); err != nil {
		t.Error(err)
	}
	if err := <-closed; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if n, err := res.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read after close: %d, %v", n, err)
	}
}

// TestStraightIdle: at most so many connections stay open, and none for longer
// than the limit.
func TestStraightIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &scripted{conns: [][]string{{ok2, ok2}, {ok2, ok2}, {ok2, ok2}, {ok2}}}
		s := straightOver(server.dial)
		var bodies []io.ReadCloser
		for range 3 { // at once, so that none is free for the next
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://graph.example/", nil)
			res, err := s.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, res.Body)
		}
		for i, b := range bodies {
			if i == 1 {
				time.Sleep(30 * time.Second)
			}
			_, _ = io.ReadAll(b)
		}
		if n := kept(s); n != 2 {
			t.Errorf("%d stay open, want 2", n)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := kept(s); n != 1 { // it went back half a minute later
			t.Errorf("after the limit of the first: %d", n)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := kept(s); n != 0 {
			t.Errorf("after the limit: %d", n)
		}
		if _, body, err := read(t, s, http.MethodGet); err != nil || body != "hi" || server.dials.Load() != 4 {
			t.Errorf("%q, %v, %d connections", body, err, server.dials.Load())
		}
		s.CloseIdleConnections()
	})
}

// TestStraightTakes: what goes straight, and what the standard transport sends.
func TestStraightTakes(t *testing.T) {
	request := func(method, body string, header ...string) *http.Request {
		var from io.Reader
		if body != "" {
			from = strings.NewReader(body)
		}
		r := httptest.NewRequest(method, "https://graph.example/", from)
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		return r
	}
	by := &url.URL{Scheme: "http", Host: "proxy.example"}
	for _, c := range []struct {
		name  string
		r     *http.Request
		proxy func(*http.Request) (*url.URL, error)
		want  bool
	}{
		{"get", request("GET", ""), nil, true},
		{"head", request("HEAD", ""), nil, true},
		{"get, no proxy for it", request("GET", ""), http.ProxyURL(nil), true},
		{"get, by a proxy", request("GET", ""), http.ProxyURL(by), false},
		{"get, a proxy that is wrong", request("GET", ""), func(*http.Request) (*url.URL, error) { return nil, errors.New("x") }, false},
		{"get with a body", request("GET", "x"), nil, false},
		{"post", request("POST", "x"), nil, false},
		{"post without a body", request("POST", ""), nil, false},
		{"delete", request("DELETE", ""), nil, false},
		{"upgrade", request("GET", "", "Upgrade", "h2c"), nil, false},
		{"expect", request("GET", "", "Expect", "100-continue"), nil, false},
	} {
		s := NewStraight(&http.Transport{Proxy: c.proxy})
		if got := s.takes(c.r); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestStraightDials: each way dials the same address.
func TestStraightDials(t *testing.T) {
	var dialled []string
	s := straightOver(func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return nil, errors.New("refused")
	})
	for at, want := range map[string]string{
		"http://graph.example": "graph.example:80", "https://graph.example": "graph.example:443", "https://graph.example:": "graph.example:443",
		"https://graph.example:8443": "graph.example:8443", "http://[::1]": "[::1]:80", "http://[::1]:": "[::1]:80", "https://[::1]:8443": "[::1]:8443",
		"https://b\u00fccher.example": "xn--bcher-kva.example:443",
	} {
		dialled = nil
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			r, err := http.NewRequestWithContext(t.Context(), method, at, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = s.RoundTrip(r); err == nil {
				t.Error("an answer")
			}
		}
		if !slices.Equal(dialled, []string{want, want}) {
			t.Errorf("%s: %q, want %s", at, dialled, want)
		}
	}
}

// TestStraightTLS: the certificate is looked at, and each way sees the same server.
func TestStraightTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-End")
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.Proto, b)
		w.Header().Set("X-End", "yes")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that we refuse
	var dialled atomic.Int64
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialled.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	s := straightOver((&net.Dialer{}).DialContext)
	defer s.CloseIdleConnections()
	ask := func(method string, body io.Reader) (*http.Response, string, error) {
		r, _ := http.NewRequestWithContext(t.Context(), method, server.URL, body)
		res, err := s.RoundTrip(r)
		if err != nil {
			return nil, "", err
		}
		text, err := io.ReadAll(res.Body)
		return res, string(text), err
	}
	if _, _, err := ask(http.MethodGet, nil); !untrusted(err) {
		t.Errorf("without its root: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	s.rest.TLSClientConfig.RootCAs = roots
	for range 3 {
		res, text, err := ask(http.MethodGet, nil)
		if err != nil || text != "GET HTTP/1.1 " || res.Trailer.Get("X-End") != "yes" {
			t.Errorf("%q, %v, %v", text, res, err)
		}
	}
	if n := dialled.Load(); n != 2 { // the refused one, and one for all others
		t.Errorf("%d connections, want 2", n)
	}
	if _, text, err := ask(http.MethodPut, strings.NewReader("x")); err != nil || text != "PUT HTTP/1.1 x" {
		t.Errorf("%q, %v", text, err)
	}
}
