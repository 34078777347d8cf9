package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/proxy"
	"github.com/m365-token-broker/broker/internal/telemetry"
)

// Limits of the way to the resources. The proxy itself ends requests in which
// nothing moves.
const (
	resourceDial     = 10 * time.Second
	resourceTLS      = 10 * time.Second
	resourceAnswer   = 5 * time.Minute // until its header, once the request is sent whole
	resourceContinue = time.Second     // for 100 Continue
	resourceIdle     = 90 * time.Second
	resourceBuffer   = 32 << 10
	resourceHeader   = 64 << 10
	resourceConns    = 64 // idle ones to a host
)

// wireProxy makes the proxy; upstream, where set, takes the place of the network.
func (p *parts) wireProxy(upstream http.RoundTripper) (err error) {
	cfg := p.loaded.Config
	if upstream == nil {
		network, err := resourceTransport(cfg)
		if err != nil {
			return err
		}
		upstream = proxy.NewStraight(network)
	}
	p.proxy, err = proxy.New(proxy.Config{
		Tokens:    observedTokens{next: p.broker, tel: p.tel},
		Transport: p.tel.Transport(upstream, telemetry.SendTraceparent(), telemetry.WithoutPath()),
		Bases:     bases(cfg.Resources), Username: p.username, Counted: p.countEWS, Issued: p.sentOn,
		Done: func(ctx context.Context, r proxy.Result) {
			p.tel.ProxyRequest(ctx, telemetry.ProxyResult(r))
		},
	})
	return err
}

// bases are the base URLs of the resources that have one.
func bases(resources map[string]config.Resource) map[string]string {
	all := make(map[string]string, len(resources))
	for name, r := range resources {
		all[name] = r.BaseURL
	}
	return all
}

// username is whose mailbox an account's is.
func (p *parts) username(account string) string {
	grant, err := p.book.Grant(account)
	if err != nil {
		return ""
	}
	return grant.Username
}

// resourceTransport is the way to Graph, Exchange and the others: not the one to
// the authority, whose limits are for small answers.
func resourceTransport(cfg config.Config) (*http.Transport, error) {
	way, err := wayOut(cfg)
	if err != nil {
		return nil, err
	}
	if way.Proxy == nil {
		way.Proxy = http.ProxyFromEnvironment
	}
	return &http.Transport{
		Proxy:                  way.Proxy,
		DialContext:            (&net.Dialer{Timeout: resourceDial, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: way.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    resourceTLS,
		ResponseHeaderTimeout:  resourceAnswer,
		ExpectContinueTimeout:  resourceContinue,
		IdleConnTimeout:        resourceIdle,
		MaxIdleConnsPerHost:    resourceConns,
		MaxResponseHeaderBytes: resourceHeader,
		ReadBufferSize:         resourceBuffer,
		WriteBufferSize:        resourceBuffer,
		DisableCompression:     true, // the consumer's Accept-Encoding is the one that counts
		Protocols:              onlyHTTP1(),
		OnProxyConnectResponse: refusedConnect,
	}, nil
}

// onlyHTTP1 gives each request under way a connection of its own, so that a
// stream of notifications or a large file is never in another request's way, and
// a small call costs less (ADR 0016).
func onlyHTTP1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// refusedConnect keeps an outbound proxy's own words out of errors.
func refusedConnect(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New(http.StatusText(res.StatusCode))}
	}
	return nil
}
