package sandbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
)

// Transport reaches the sandbox without a socket: an http.RoundTripper over the
// same handler, for any URL below URL. Faults of the line come as the errors a
// socket would give. It is made for testing/synctest: nothing in it blocks on
// the network, and every wait is a timer or a channel of the bubble (so make the
// Sandbox inside the bubble, with New).
func (s *Sandbox) Transport() http.RoundTripper { return memoryTransport{s} }

type memoryTransport struct{ s *Sandbox }

// errAborted is what a client sees of a connection that was reset.
var errAborted = fmt.Errorf("read tcp: %w", syscall.ECONNRESET)

// errClosed is what a client sees of a sandbox that was closed.
var errClosed = errors.New("the sandbox is closed")

// RoundTrip serves r on a goroutine of its own, so that r's context can end a
// request that hangs.
func (t memoryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	if r.URL.Scheme+"://"+r.URL.Host != t.s.url {
		return nil, fmt.Errorf("the sandbox's transport leads to %s only, not to %s", t.s.url, r.URL.Host)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	in, err := serverRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	done := make(chan *memoryWriter, 1)
	go func() { done <- t.serve(in) }()
	select {
	case m := <-done:
		return m.response(r)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.s.closed:
		return nil, errClosed
	}
}

// serverRequest is r as a server would see it. The body is read first, because a
// RoundTripper must not touch it after it returned.
func serverRequest(ctx context.Context, r *http.Request) (*http.Request, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, fmt.Errorf("read the request's body: %w", err)
		}
	}
	in := r.Clone(ctx)
	in.Body = io.NopCloser(bytes.NewReader(body))
	in.ContentLength = int64(len(body))
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	return in, nil
}

// serve runs the handler; a handler that aborts leaves an aborted answer.
func (t memoryTransport) serve(in *http.Request) (m *memoryWriter) {
	m = &memoryWriter{header: http.Header{}}
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler { //nolint:errorlint // net/http compares a panic value in the same way
				panic(v) //nolint:forbidigo // a defect of ours goes on as it came
			}
			m.aborted = true
		}
	}()
	t.s.handler.ServeHTTP(m, in)
	return m
}

// memoryWriter is an http.ResponseWriter in memory.
type memoryWriter struct {
	header  http.Header
	sent    http.Header // as it was when the status was written
	status  int
	body    bytes.Buffer
	aborted bool
}

// Header is http.ResponseWriter's.
func (m *memoryWriter) Header() http.Header { return m.header }

// WriteHeader keeps the first status and the header of that moment.
func (m *memoryWriter) WriteHeader(status int) {
	if m.status == 0 {
		m.status, m.sent = status, m.header.Clone()
	}
}

func (m *memoryWriter) Write(b []byte) (int, error) {
	m.WriteHeader(http.StatusOK)
	return m.body.Write(b)
}

func (m *memoryWriter) statusCode() int {
	if m.status == 0 {
		return http.StatusOK
	}
	return m.status
}

// response is what the client gets; an answer that was begun and aborted ends in
// io.ErrUnexpectedEOF, as with a socket.
func (m *memoryWriter) response(r *http.Request) (*http.Response, error) {
	if m.aborted && m.status == 0 {
		return nil, errAborted
	}
	m.WriteHeader(http.StatusOK)
	var body io.Reader = bytes.NewReader(m.body.Bytes())
	if m.aborted {
		body = io.MultiReader(body, brokenReader{})
	}
	length := int64(m.body.Len())
	if n, err := strconv.ParseInt(m.sent.Get("Content-Length"), 10, 64); err == nil {
		length = n
	}
	return &http.Response{
		Status: strconv.Itoa(m.status) + " " + http.StatusText(m.status), StatusCode: m.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: m.sent, Body: io.NopCloser(body), ContentLength: length, Request: r,
	}, nil
}

// brokenReader is the rest of an answer that never came.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
