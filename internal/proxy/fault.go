package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// retryLater is Retry-After where the resource cannot be reached.
const retryLater = 5 * time.Second

// fault is the error of a request that got no answer which could be passed on. It
// holds nothing of what the resource wrote. Where the watch ended the request, the
// caller's connection ends with it.
func (x *exchange) fault(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*token.Error](err); ok {
		return e
	}
	e := &token.Error{Kind: token.KindUnavailable, Op: opProxy, Err: cause(err)}
	host := x.base.host
	var (
		opErr  *net.OpError
		dnsErr *net.DNSError
		netErr net.Error
	)
	switch failed := x.body.failed(); {
	case errors.Is(context.Cause(ctx), errIdle):
		e.Kind, e.Detail, e.Err = token.KindTimeout, host+" and the caller have sent nothing for minutes; try again.", errIdle
		x.w.Header()["Connection"] = []string{"close"} // to net/http its caller has gone, for all that comes after
	case ctx.Err() != nil:
		return token.AsError(ctx.Err())
	case failed != nil:
		return token.NewError(token.KindInvalidRequest, "read body", "The body of the request ended before it was whole; send it again.")
	case untrusted(err):
		e.Detail = fmt.Sprintf("The certificate of %s is not one that this machine trusts; if that is your TLS inspection, set ca_file to its root certificate.", host)
	case errors.As(err, &opErr) && opErr.Op == "proxyconnect":
		e.Detail = "The outbound proxy cannot be reached, or refuses; check proxy_url or HTTPS_PROXY, and whether it lets " + host + " through."
	case errors.As(err, &netErr) && netErr.Timeout():
		e.Kind, e.Detail = token.KindTimeout, host+" did not answer in time; try again."
	case errors.As(err, &dnsErr):
		e.Detail = fmt.Sprintf("The name %s cannot be resolved; check the network connection and DNS.", host)
	case errors.As(err, &opErr) && opErr.Op == "dial":
		e.Detail = fmt.Sprintf("%s cannot be connected to; check the network connection, the firewall and proxy_url.", host)
	default:
		e.Detail = "The connection to " + host + " broke, or what came was no answer; try again."
	}
	if e.Kind == token.KindUnavailable {
		e.RetryAfter = retryLater
	}
	return e
}

// untrusted reports whether err is about the resource's certificate.
func untrusted(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid)
}

// cause keeps of a transport's error what can hold no byte of an answer and no
// URL: errors of dialling whole, of others the error number.
func cause(err error) error {
	var (
		opErr  *net.OpError
		dnsErr *net.DNSError
		errno  syscall.Errno
	)
	switch {
	case errors.As(err, &dnsErr):
		return dnsErr
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return opErr
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return nil
}
