package entra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Obstacle is what a request on its way to a host met first.
type Obstacle string

// Where a request can end, in the order of its way.
const (
	ObstacleNone  Obstacle = ""      // the host answered
	ObstacleProxy Obstacle = "proxy" // the outbound proxy
	ObstacleName  Obstacle = "dns"   // the host's name
	ObstacleTLS   Obstacle = "tls"   // its certificate, or that there is no TLS
	ObstacleHost  Obstacle = "host"  // the host itself, or the network to it
)

// Look is what can be seen of a host from here.
type Look struct {
	On          time.Time         // its time (RFC 9110 section 6.6.1); zero: it did not say
	Proxy       string            // host:port of the outbound proxy; empty: none is used
	Certificate *x509.Certificate // what it showed, valid or not; nil: it came to none
	Obstacle    Obstacle
	Problem     *token.Error // nil: there is no obstacle
}

// LookAt asks the host at base (https://host[:port]) for nothing, by the way that
// requests to the authority take, and tells what it met there. Any HTTP answer will
// do. Nothing secret is sent, and nothing that is answered is kept.
func (c *Client) LookAt(ctx context.Context, base string) (Look, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wire.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base+"/", nil)
	if err != nil {
		return Look{}, fmt.Errorf("look at %s: %w", base, err)
	}
	l := Look{Proxy: c.proxyFor(req)}
	res, err := c.wire.transport.RoundTrip(req)
	if err != nil {
		err = timeoutOr(ctx, err)
		l.Obstacle, l.Certificate = obstacleOf(err), shownIn(err)
		l.Problem = fault(stepDiscovery, req.URL.Host, err)
		l.Problem.Op = "look at " + req.URL.Host
		return l, nil
	}
	_ = res.Body.Close() // a HEAD has none
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		l.Certificate = res.TLS.PeerCertificates[0]
	}
	if on, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		l.On = on
	}
	return l, nil
}

// proxyFor is the outbound proxy of a request, without its password.
func (c *Client) proxyFor(req *http.Request) string {
	u, err := c.transport.Proxy(req)
	if err != nil || u == nil {
		return ""
	}
	return hostOf(&url.URL{Host: u.Host})
}

// obstacleOf tells where a request ended, as fault does in a sentence.
func obstacleOf(err error) Obstacle {
	var (
		proxy  *proxyError
		opErr  *net.OpError
		dnsErr *net.DNSError
	)
	switch {
	case errors.As(err, &proxy), errors.As(err, &opErr) && opErr.Op == "proxyconnect":
		return ObstacleProxy
	case certificateHelp("", err) != "":
		return ObstacleTLS
	case errors.As(err, &dnsErr) && !dnsErr.Timeout():
		return ObstacleName
	default:
		return ObstacleHost
	}
}

// shownIn is the certificate that was not accepted.
func shownIn(err error) *x509.Certificate {
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(verify.UnverifiedCertificates) > 0 {
		return verify.UnverifiedCertificates[0]
	}
	return nil
}

// IssuerOf is the name of who issued a certificate, for people; "" where there is
// no certificate, or no name in it.
func IssuerOf(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	name := c.Issuer.CommonName
	if name == "" && len(c.Issuer.Organization) > 0 {
		name = c.Issuer.Organization[0]
	}
	return readable(name, 80)
}
