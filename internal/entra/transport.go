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
)

// Limits of the way to the authority. The whole of one request has
// Config.Timeout; these catch its parts earlier.
const (
	dialTimeout   = 10 * time.Second
	tlsTimeout    = 10 * time.Second
	idleTimeout   = 90 * time.Second
	maxHeader     = 64 << 10
	maxIdlePerHst = 4
)

// newTransport builds the one way out: TLS 1.2 or better, the configured proxy
// and roots, limits on every part.
func newTransport(cfg Config) *http.Transport {
	proxy := cfg.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  cfg.Timeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdlePerHst,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
		OnProxyConnectResponse: proxyAnswer,
	}
}

// proxyError is a proxy's refusal of CONNECT. The standard library would make
// a text of the proxy's own words out of it.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy answered CONNECT with HTTP %d", e.status)
}

// proxyAnswer turns a refused CONNECT into a proxyError.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return &proxyError{status: res.StatusCode}
	}
	return nil
}

// Roots gives the platform's root certificates with those of pem added: for a
// private cloud, or TLS inspection whose root only a file holds (ca_file).
func Roots(pem []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the platform's root certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("there is no PEM certificate in it; ca_file wants one or more blocks that begin with -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}

// Proxy gives the proxy function for proxy_url: always that proxy, or, where
// it is empty, what HTTPS_PROXY and NO_PROXY say.
func Proxy(rawURL string) (func(*http.Request) (*url.URL, error), error) {
	if rawURL == "" {
		return http.ProxyFromEnvironment, nil
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("proxy_url is not a URL; write it as http://host:port")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return http.ProxyURL(u), nil
	}
	return nil, fmt.Errorf("proxy_url has the scheme %q; http, https and socks5 are supported", printable(u.Scheme, 16))
}
