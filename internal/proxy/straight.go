package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptrace"
	"strings"
	"unicode"
)

// Straight is a way to the resources on which a read, which is a GET, HEAD or
// OPTIONS without a body, stays on the goroutine of its caller: it writes the
// request, and reads the answer from the connection itself. http.Transport has
// two more goroutines for each connection, and handing a small call to them and
// back costs more than all that the broker does (ADR 0022).
//
// Everything else goes through the http.Transport: requests with a body, which
// may be answered while they are still being sent, those that take an outbound
// proxy, and those to a host whose name is not in ASCII. It is safe for concurrent
// use.
type Straight struct {
	rest  *http.Transport
	lines lines
}

// NewStraight takes the transport whose dialler, TLS settings, proxy and limits
// count for both. It must speak HTTP/1.1 only and not decompress, and have a
// dialler, TLS settings, buffers and all limits set. How long an answer may take
// is the request's context's business.
func NewStraight(rest *http.Transport) *Straight {
	return &Straight{rest: rest, lines: lines{from: rest, idle: map[string][]*line{}}}
}

// CloseIdleConnections closes what is open and not in use.
func (s *Straight) CloseIdleConnections() {
	s.lines.drop(0)
	s.rest.CloseIdleConnections()
}

// RoundTrip implements http.RoundTripper. A read on a connection that the server
// had closed meanwhile is sent once more on another (RFC 9112 section 9.3.1).
func (s *Straight) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.takes(r) {
		return s.rest.RoundTrip(r)
	}
	if l := s.lines.get(addressOf(r)); l != nil {
		res, err := s.send(l, r)
		if !errors.Is(err, errGone) {
			return res, err
		}
	}
	l, err := s.lines.dial(r.Context(), r.URL)
	if err != nil {
		return nil, err
	}
	return s.send(l, r)
}

// takes reports whether a request is one of those that go straight.
func (s *Straight) takes(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return false
	}
	if (r.Body != nil && r.Body != http.NoBody) || r.ContentLength > 0 || len(r.Header["Upgrade"]) > 0 || len(r.Header["Expect"]) > 0 {
		return false
	}
	if strings.ContainsFunc(r.URL.Host, func(c rune) bool { return c > unicode.MaxASCII }) {
		return false // it has to be written as DNS and certificates have it
	}
	if s.rest.Proxy == nil {
		return true
	}
	by, err := s.rest.Proxy(r)
	return err == nil && by == nil
}

// Errors of a line. They hold nothing of what came.
var (
	errGone    = errors.New("the connection was closed before an answer began")
	errEarly   = errors.New("the server sent more than one answer to the request before")
	errAnswer  = errors.New("what came is no answer of HTTP/1.1")
	errHeader  = errors.New("the header of the answer is too long")
	errUpgrade = errors.New("the server changes the protocol, which nobody asked for")
)

// send sends a request and reads the answer's header. The line is the answer's
// until its body has ended.
func (s *Straight) send(l *line, r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	l.free = context.AfterFunc(ctx, l.interrupt)
	l.meter.left = s.rest.MaxResponseHeaderBytes
	if l.meter.left <= 0 {
		l.meter.left = math.MaxInt64
	}
	err := r.Write(l.w)
	if err == nil {
		err = l.w.Flush()
	}
	if err == nil && l.isUsed() && !l.drained() {
		err = errEarly
	}
	if err == nil {
		_, err = l.r.Peek(1)
	}
	if err != nil {
		return nil, l.fail(ctx, gone(err))
	}
	res, err := readAnswer(ctx, l, r)
	if err != nil {
		return nil, l.fail(ctx, err)
	}
	l.meter.left = math.MaxInt64
	keep := func() { s.lines.put(addressOf(r), l) }
	if res.Close {
		keep = l.close
	}
	if res.Body == http.NoBody || r.Method == http.MethodHead {
		l.done(keep)
		return res, nil
	}
	res.Body = &answerBody{of: res.Body, line: l, keep: keep, ctx: ctx}
	return res, nil
}

// gone says that nothing came back; what else was wrong is part of the text.
func gone(err error) error { return fmt.Errorf("%w: %w", errGone, err) }

// readAnswer reads the header of the answer, and tells the trace of the request
// of each 1xx answer before it: httputil.ReverseProxy passes those on. All of them
// together may be as long as one header.
func readAnswer(ctx context.Context, l *line, r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(ctx)
	for {
		res, err := http.ReadResponse(l.r, r)
		switch {
		case errors.Is(err, errHeader):
			return nil, errHeader
		case err != nil && transportError(err):
			return nil, err
		case err != nil:
			return nil, errAnswer
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errUpgrade
		case res.StatusCode >= http.StatusOK:
			return res, nil
		case res.StatusCode < http.StatusContinue:
			return nil, errAnswer
		case trace != nil && trace.Got1xxResponse != nil:
			if err := trace.Got1xxResponse(res.StatusCode, map[string][]string(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// answerBody is the body of an answer. Where it has ended, the line is free for
// another request; where it is closed before that, so is the line.
type answerBody struct {
	of   io.ReadCloser
	line *line // nil: given back, or closed
	keep func()
	end  error           // of what is read from then on
	ctx  context.Context //nolint:containedctx // of the request, whose end ends the reading; as in net/http
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.line == nil {
		return 0, b.end
	}
	n, err := b.of.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		b.line.done(b.keep)
	} else {
		err = b.line.fail(b.ctx, err)
	}
	b.line, b.end = nil, err
	return n, err
}

// Close implements io.Closer. It does not read what is left, as a body can be
// without end.
func (b *answerBody) Close() error {
	if b.line != nil {
		b.line.free()
		b.line.close()
		b.line = nil
	}
	b.end = http.ErrBodyReadAfterClose
	return nil
}
