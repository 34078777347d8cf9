package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// This file is about resources that do not keep to HTTP.

// rawServer gives each connection to answer, with its number, and closes it then.
func rawServer(t *testing.T, answer func(n int, c net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				answer(n, c)
			}()
		}
	}()
	return l
}

// held keeps what is written until it is told to send all of it at once.
type held struct {
	net.Conn
	hold bool
	text []byte
}

func (h *held) Write(p []byte) (int, error) {
	if h.hold {
		h.text = append(h.text, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

func (h *held) send() error {
	h.hold = false
	_, err := h.Conn.Write(h.text)
	return err
}

// An answer that nobody asked for is never the next caller's: one that comes with
// the answer before it, in a TLS record of its own, and one that comes while the
// connection waits, such as 408 before a server closes it.
func TestStraightUnasked(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	const another = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 5\r\n\r\nother"
	for _, c := range []struct {
		name           string
		secure, atOnce bool
	}{{"later", false, false}, {"later, over TLS", true, false}, {"at once, over TLS", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			idle, done := make(chan struct{}), make(chan error, 1)
			l := rawServer(t, func(n int, conn net.Conn) {
				below := &held{Conn: conn}
				if conn = below; c.secure {
					conn = tls.Server(below, certified.TLS)
				}
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				below.hold = n == 0 && c.atOnce
				_, _ = io.WriteString(conn, ok2)
				if n > 0 {
					return
				}
				if !c.atOnce {
					<-idle
				}
				_, err := io.WriteString(conn, another)
				if c.atOnce {
					err = below.send()
				}
				done <- err
				<-t.Context().Done()
			})
			s := straightOver((&net.Dialer{}).DialContext)
			defer s.CloseIdleConnections()
			s.rest.TLSClientConfig.RootCAs = x509.NewCertPool()
			s.rest.TLSClientConfig.RootCAs.AddCert(certified.Certificate())
			ask := func() string {
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, map[bool]string{false: "http://", true: "https://"}[c.secure]+l.Addr().String(), nil)
				res, err := s.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				return fmt.Sprint(res.StatusCode, string(b), err)
			}
			first := ask()
			if close(idle); kept(s) != 1 {
				t.Fatal("no connection waits")
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !c.atOnce {
				comes(t, s)
			}
			if second := ask(); first != "200hi<nil>" || second != first {
				t.Errorf("first %q, second %q", first, second)
			}
		})
	}
}

// comes waits until something has come on each connection that waits.
func comes(t *testing.T, s *Straight) {
	t.Helper()
	for _, all := range s.lines.idle {
		for _, l := range all {
			for end := time.Now().Add(10 * time.Second); !arrived(l.socket); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nothing comes")
				}
			}
		}
	}
}

// TestStraightBodyWhereNoneIs: what follows an answer without a body is no answer.
func TestStraightBodyWhereNoneIs(t *testing.T) {
	for method, answer := range map[string]string{
		http.MethodHead:    ok2,
		http.MethodGet:     "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi",
		http.MethodOptions: "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	} {
		server := &scripted{conns: [][]string{{answer, ok2}, {ok2}}}
		s := straightOver(server.dial)
		if res, body, err := read(t, s, method); err != nil || body != "" {
			t.Errorf("%s: %v, %q, %v", method, res, body, err)
		}
		if _, body, err := read(t, s, http.MethodGet); err != nil || body != "hi" || server.dials.Load() != 2 {
			t.Errorf("%s, the next: %q, %v, %d connections", method, body, err, server.dials.Load())
		}
		s.CloseIdleConnections()
	}
}

// FuzzStraightLikeTransport: what http.Transport makes of an answer, Straight makes
// of it too, but for the statuses that it takes for none.
func FuzzStraightLikeTransport(f *testing.F) {
	const begin, chunked = "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, answer := range []string{
		ok2,
		"HTTP/1.0 200 OK\r\n\r\nuntil the end",
		begin + "\r\nuntil the end",
		begin + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		begin + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
		begin + "Content-Length: 2, 3\r\n\r\nhi!",
		begin + "Content-Length: -2\r\n\r\nhi",
		begin + "Content-Length: +2\r\n\r\nhi",
		begin + "Content-Length: 99999999999999999999\r\n\r\nhi",
		begin + "Content-Length: 9\r\n\r\nhi",
		begin + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		begin + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		begin + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		begin + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
		begin + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
		chunked + "2\r\nhi\r\n0\r\n\r\n",
		chunked + "2\r\nhi\r\n0\r\nX-End: yes\r\n\r\n",
		chunked + "2;x=\"y\"\r\nhi\r\n0\r\n\r\n",
		chunked + "2\r\nhi",
		chunked + "2\r\nhi!\r\n0\r\n\r\n",
		chunked + "fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
		chunked + "-2\r\nhi\r\n0\r\n\r\n",
		chunked + "2\r\nhi\r\n0\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		begin + "Trailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-End: yes\r\n\r\n",
		begin + "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		begin + " folded: x\r\nContent-Length: 2\r\n\r\nhi",
		begin + "X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
		begin + "X : a\r\nContent-Length: 2\r\n\r\nhi",
		begin + ": a\r\nContent-Length: 2\r\n\r\nhi",
		begin + "X: a\rb\x00c\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
		"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok2,
		"HTTP/1.1 199 Odd\r\nContent-Length: 7\r\n\r\n" + ok2,
		"\r\n" + ok2,
		"", "\r\n", "H", begin,
	} {
		for method := range byte(3) {
			f.Add(answer, method)
		}
	}
	f.Fuzz(func(t *testing.T, answer string, method byte) {
		s := straightOver(func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer func() { _ = theirs.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
					_, _ = io.WriteString(theirs, answer)
				}
			}()
			return ours, nil
		})
		defer s.CloseIdleConnections()
		s.rest.MaxResponseHeaderBytes = 64 << 10
		name := []string{http.MethodGet, http.MethodHead, http.MethodOptions}[method%3]
		mine, theirs := outcomeOf(t, s, name), outcomeOf(t, s.rest, name)
		if !theirs.failed && theirs.status < http.StatusOK {
			theirs = outcome{failed: true}
		}
		if !reflect.DeepEqual(mine, theirs) {
			t.Errorf("%s, %.120q:\n%+v, http.Transport\n%+v", name, answer, mine, theirs)
		}
	})
}

// outcome is what a caller sees of an answer.
type outcome struct {
	failed, cutOff  bool
	status          int
	length          int64
	header, trailer http.Header
	body            string
}

func outcomeOf(t *testing.T, way http.RoundTripper, method string) outcome {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), method, "http://graph.example/", nil)
	res, err := way.RoundTrip(r)
	if err != nil {
		return outcome{failed: true}
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return outcome{cutOff: err != nil, status: res.StatusCode, length: res.ContentLength, header: res.Header, trailer: res.Trailer, body: string(b)}
}

// A status that net/http cannot write is no answer, whichever way it came.
func TestStatusThatIsNone(t *testing.T) {
	for _, status := range []string{"000", "042", "099", "+99"} {
		l := rawServer(t, func(_ int, c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 "+status+" CANARY\r\nContent-Length: 2\r\n\r\nhi")
			}
		})
		d := newDoor(t, nil, func(c *Config) { c.Bases = map[string]string{"graph": "http://" + l.Addr().String()} })
		for method, body := range map[string]io.Reader{http.MethodGet: nil, http.MethodPost: strings.NewReader("x")} {
			d.problem(d.ask(method, "graph/x", body), token.KindUnavailable, "no answer")
		}
	}
}
