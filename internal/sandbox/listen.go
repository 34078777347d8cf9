package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// listen opens the TLS listener and serves until ctx ends or Close is called.
func (s *Sandbox) listen(ctx context.Context) error {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("sandbox: listen address %q is not host:port: %w", s.cfg.Listen, err)
	}
	ip := net.ParseIP(host)
	if host == "localhost" {
		ip = net.IPv4(127, 0, 0, 1)
	}
	if ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("sandbox: %q is not a loopback address; use 127.0.0.1:<port>, and port 0 for any free one", s.cfg.Listen)
	}
	cert, caPEM, err := newCertificate(ip, time.Now())
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("sandbox: cannot listen on %s (another program may use the port): %w", s.cfg.Listen, err)
	}
	s.url, s.caPEM = "https://"+l.Addr().String(), caPEM
	s.serve(ctx, l, cert)
	return nil
}

// serve runs the HTTP server in the background. Only HTTP/1.1 is spoken, so that
// a reset resets the connection and not one of its streams.
func (s *Sandbox) serve(ctx context.Context, l net.Listener, cert tls.Certificate) {
	base, cancel := context.WithCancel(ctx)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	srv := &http.Server{
		Handler:           s.handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}},
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       5 * time.Minute, // it also ends a request that hangs on purpose
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.log.ErrorContext(ctx, "the sandbox's server ended", slog.Any("error", err))
		}
	}()
	s.stopped = make(chan struct{})
	go func() {
		defer close(s.stopped)
		select {
		case <-ctx.Done():
			s.closeOnce.Do(func() { close(s.closed) })
		case <-s.closed:
		}
		cancel() // ends requests that hang on purpose
		_ = srv.Close()
		<-served
	}()
}

// Client is an HTTP client that trusts the sandbox and follows no redirect:
// through its listener where it has one, else in memory.
func (s *Sandbox) Client() *http.Client {
	c := &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if s.caPEM == nil {
		c.Transport = s.Transport()
		return c
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.caPEM)
	c.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}}
	return c
}
