package proxy

import (
	"bufio"
	"context"
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

// oneConn is a listener with one connection.
type oneConn struct {
	conn  chan net.Conn
	close func()
}

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conn
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l oneConn) Close() error { l.close(); return nil }

func (oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// served is the caller's end of a connection to a server with the proxy, on the
// bubble's clock. The server has limits for a whole request, as the broker's has.
func served(t *testing.T, way roundTrip) (caller net.Conn, failed func() error) {
	t.Helper()
	p, err := New(Config{Tokens: newTokens(&source{}), Bases: map[string]string{"graph": "https://graph.example"}, Transport: way})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	srv := &http.Server{ReadTimeout: 90 * time.Second, WriteTimeout: 90 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		defer func() { errs <- err }()
		if err = p.Forward(w, r, somebody(), token.Key{Resource: "graph"}); err != nil {
			w.WriteHeader(http.StatusGatewayTimeout)
		}
	})}
	conns := make(chan net.Conn, 1)
	caller, ours := net.Pipe()
	conns <- ours
	go func() { _ = srv.Serve(oneConn{conns, func() { close(conns) }}) }()
	t.Cleanup(func() {
		_ = caller.Close()
		_ = srv.Shutdown(context.Background())
	})
	return caller, func() error { return <-errs }
}

// The server's limits do not end what flows, in either direction.
func TestWatchLetsFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, resource := io.Pipe()
		caller, failed := served(t, func(r *http.Request) (*http.Response, error) {
			if b, err := io.ReadAll(r.Body); err != nil || len(b) != 30 {
				t.Errorf("the resource got %d bytes: %v", len(b), err)
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body, ContentLength: -1}, nil
		})
		go func() {
			_, _ = io.WriteString(caller, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n")
			for range 30 {
				time.Sleep(time.Minute)
				_, _ = io.WriteString(caller, "x")
			}
			for range 30 {
				time.Sleep(time.Minute)
				_, _ = io.WriteString(resource, "y")
			}
			_ = resource.Close()
		}()
		res, err := http.ReadResponse(bufio.NewReader(caller), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != strings.Repeat("y", 30) || failed() != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A caller that waits for a resource which says nothing is told so, and that its
// connection ends: to net/http a deadline that has passed is a caller that has gone,
// for all requests that would come after.
func TestWatchTellsTheCaller(t *testing.T) {
	for name, request := range map[string]string{
		"no body":          "GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
		"all of a body":    "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx",
		"some of its body": "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx",
	} {
		synctest.Test(t, func(t *testing.T) {
			caller, failed := served(t, func(r *http.Request) (*http.Response, error) {
				if r.Body != nil {
					_, _ = io.ReadAll(r.Body)
				}
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			began := time.Now()
			go func() { _, _ = io.WriteString(caller, request) }()
			in := bufio.NewReader(caller)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if res.StatusCode != http.StatusGatewayTimeout || !res.Close || token.KindOf(failed()) != token.KindTimeout || time.Since(began) != defaultIdle {
				t.Errorf("%s: %d, closed %t, after %v", name, res.StatusCode, res.Close, time.Since(began))
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("%s: the connection goes on: %v", name, err)
			}
		})
	}
}

// A caller that takes nothing, or does not send on, is left.
func TestWatchLeavesACaller(t *testing.T) {
	for name, request := range map[string]string{
		"takes nothing":    "GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
		"does not send on": "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nx",
	} {
		synctest.Test(t, func(t *testing.T) {
			caller, failed := served(t, func(r *http.Request) (*http.Response, error) {
				if r.Body != nil {
					_, err := io.ReadAll(r.Body)
					return nil, errors.Join(errors.New("cut"), err)
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: smallAnswer, Body: io.NopCloser(endless{})}, nil
			})
			began := time.Now()
			go func() { _, _ = io.WriteString(caller, request) }()
			_ = failed() // an answer that breaks off is a panic
			if took := time.Since(began); took < defaultIdle || took > defaultIdle+lateAnswer {
				t.Errorf("%s: left after %v", name, took)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
