package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

// line is one connection to a resource, with one request at a time.
type line struct {
	conn   net.Conn
	under  *under          // below TLS
	socket syscall.RawConn // of under; nil: that is no socket
	meter  *meter          // between conn and r
	r      *bufio.Reader
	w      *bufio.Writer
	free   func() bool // takes the request's context away; false: it has ended
	since  time.Time   // when it was last put back; zero: it is new
}

// isUsed reports whether the line has carried a request before.
func (l *line) isUsed() bool { return !l.since.IsZero() }

// interrupt lets what reads or writes on the line return at once.
func (l *line) interrupt() { _ = l.conn.SetDeadline(time.Unix(1, 0)) }

// An answer that nobody asked for would be taken for the next request's, which can
// be another caller's. So two places are looked at before a line is used again: the
// socket, before the request is sent (quiet), and what TLS has read of it beyond
// the last answer, before it is read again (drained). The second does not change
// by itself, and is looked at while the server works.

// quiet reports whether nothing came from the socket while nobody used the line.
func (l *line) quiet() bool { return l.socket == nil || !arrived(l.socket) }

// drained reports whether TLS holds nothing more: with nothing under it, it gives
// only that.
func (l *line) drained() bool {
	l.under.dry = true
	_, err := l.r.Peek(1)
	l.under.dry = false
	return errors.Is(err, errDry)
}

// under is a connection below TLS. While it is dry, a read of it ends at once with
// errDry, which TLS passes on and forgets.
type under struct {
	net.Conn
	dry bool
}

func (u *under) Read(p []byte) (int, error) {
	if u.dry {
		return 0, errDry
	}
	return u.Conn.Read(p)
}

// errDry is an error as that of a deadline, without one: setting it costs more than
// all else of looking.
var errDry net.Error = dryError{}

type dryError struct{}

func (dryError) Error() string { return "nothing more has been read" }

// Timeout implements net.Error.
func (dryError) Timeout() bool { return true }

// Temporary implements net.Error: TLS goes on after such an error.
func (dryError) Temporary() bool { return true }

func (l *line) close() { _ = l.conn.Close() }

// done ends a request whose answer was read whole: keep takes the line back. It is
// closed where the context has ended, or where more came than was asked for: the
// next request must not take that for its answer.
func (l *line) done(keep func()) {
	if !l.free() || l.r.Buffered() > 0 {
		l.close()
		return
	}
	keep()
}

// fail ends a request and its line. The error is the context's where that is why.
func (l *line) fail(ctx context.Context, err error) error {
	l.free()
	l.close()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// transportError reports whether err came from the connection, and not from what
// was read.
func transportError(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// meter lets so many bytes through, and no more.
type meter struct {
	from io.Reader
	left int64
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errHeader
	}
	if int64(len(p)) > m.left {
		p = p[:m.left]
	}
	n, err := m.from.Read(p)
	m.left -= int64(n)
	return n, err
}

// lines are the connections that are open and not in use, by scheme and address.
type lines struct {
	from *http.Transport // dials, and has the limits

	mu    sync.Mutex // guards what follows; never held over I/O
	idle  map[string][]*line
	sweep *time.Timer // nil: nothing to close
}

// addressOf is where a request goes, with its scheme.
func addressOf(r *http.Request) string { return r.URL.Scheme + "://" + r.URL.Host }

// dial opens a line for a request.
func (p *lines) dial(ctx context.Context, to *url.URL) (*line, error) {
	conn, err := p.from.DialContext(ctx, "tcp", hostPort(to.Scheme, to.Host))
	if err != nil {
		return nil, err
	}
	var socket syscall.RawConn
	if c, ok := conn.(syscall.Conn); ok {
		if socket, err = c.SyscallConn(); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	below := &under{Conn: conn}
	conn = below
	if to.Scheme == "https" {
		if conn, err = p.secure(ctx, conn, to.Hostname()); err != nil {
			return nil, err
		}
	}
	m := &meter{from: conn}
	return &line{conn: conn, under: below, socket: socket, meter: m, r: bufio.NewReaderSize(m, p.from.ReadBufferSize), w: bufio.NewWriter(conn)}, nil
}

// secure puts TLS on a connection.
func (p *lines) secure(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	settings := p.from.TLSClientConfig.Clone()
	settings.ServerName, settings.NextProtos = host, []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(ctx, p.from.TLSHandshakeTimeout)
	defer cancel()
	over := tls.Client(conn, settings)
	if err := over.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return over, nil
}

// get takes the line that was used last, of those that can be used; nil where
// there is none.
func (p *lines) get(address string) *line {
	for l := p.take(address); l != nil; l = p.take(address) {
		if time.Since(l.since) < p.from.IdleConnTimeout && l.quiet() {
			return l
		}
		go l.close() // it says goodbye, which may take a moment
	}
	return nil
}

// take takes the line that was used last.
func (p *lines) take(address string) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle[address]
	if len(all) == 0 {
		return nil
	}
	l := all[len(all)-1]
	p.idle[address] = all[:len(all)-1]
	return l
}

// put keeps a line for the next request.
func (p *lines) put(address string, l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle[address]) >= p.from.MaxIdleConnsPerHost {
		go l.close()
		return
	}
	l.since = time.Now()
	p.idle[address] = append(p.idle[address], l)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.from.IdleConnTimeout, p.sweepIdle)
	}
}

// sweepIdle closes what nobody has used for the time of the limit.
func (p *lines) sweepIdle() { p.drop(p.from.IdleConnTimeout) }

// drop closes the lines that nobody has used for so long, and comes again when the
// next one's time is over.
func (p *lines) drop(unused time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var since time.Time // of the line that has waited longest
	for address, all := range p.idle {
		left := slices.DeleteFunc(all, func(l *line) bool {
			old := time.Since(l.since) >= unused
			if old {
				go l.close()
			}
			return old
		})
		p.idle[address] = left
		switch {
		case len(left) == 0:
			delete(p.idle, address)
		case since.IsZero() || left[0].since.Before(since): // the first waits longest
			since = left[0].since
		}
	}
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
	if !since.IsZero() {
		p.sweep = time.AfterFunc(time.Until(since.Add(p.from.IdleConnTimeout)), p.sweepIdle)
	}
}
