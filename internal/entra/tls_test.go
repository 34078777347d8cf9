package entra

import (
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

// tlsAuthority is the scripted authority on real TLS. Its host has no name, so
// the discovery document is made for its address.
func tlsAuthority(t *testing.T, handler http.Handler) (*httptest.Server, token.App, []byte) {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	app := testApp()
	app.Authority = srv.URL
	return srv, app, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

// ServeHTTP lets the in-memory authority answer real requests.
func (a *authority) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	res, err := a.RoundTrip(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = res.Body.Close() }()
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

func TestOverTLS(t *testing.T) {
	a := newAuthority(t)
	_, app, ca := tlsAuthority(t, a)
	host := authorityHost(app)
	a.discovery = ok(discoveryDoc(host, testTenant))
	roots, err := Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{Hosts: []string{host}, Roots: roots})
	defer c.Close()
	grant := testGrant()
	grant.App = app
	r, err := c.Redeem(t.Context(), grant, graph, "")
	if err != nil || !r.Rotated {
		t.Fatalf("%+v, %v", r, err)
	}
	// 307 would have the POST with the refresh token repeated elsewhere.
	var leaked atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Store(true) }))
	defer elsewhere.Close()
	a.tokens = []answer{{status: 307, header: http.Header{"Location": {elsewhere.URL}}}}
	_, err = c.Redeem(t.Context(), grant, graph, "")
	if e := problemOf(t, err); e.Kind != token.KindInvalid || leaked.Load() {
		t.Errorf("%v, leaked %v", e, leaked.Load())
	}
	// A connection that is cut.
	a.tokens = []answer{{err: net.ErrClosed}}
	_, err = c.Redeem(t.Context(), grant, graph, "")
	if e := problemOf(t, err); e.Kind != token.KindUnavailable {
		t.Errorf("%v", e)
	}
}

func TestUntrustedCertificateNamesIssuer(t *testing.T) {
	a := newAuthority(t)
	_, app, _ := tlsAuthority(t, a)
	c := New(Config{Hosts: []string{authorityHost(app)}})
	defer c.Close()
	e := problemOf(t, c.Warm(t.Context(), app))
	if e.Kind != token.KindUnavailable || !strings.Contains(e.Detail, `"Acme Co"`) || !strings.Contains(e.Detail, "ca_file") {
		t.Errorf("%v: %q", e.Kind, e.Detail)
	}
}

func TestNoTLSAtAll(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	app := testApp()
	app.Authority = "https://" + strings.TrimPrefix(srv.URL, "http://")
	c := New(Config{Hosts: []string{authorityHost(app)}})
	defer c.Close()
	if e := problemOf(t, c.Warm(t.Context(), app)); e.Kind != token.KindUnavailable || !strings.Contains(e.Detail, "does not speak TLS") {
		t.Errorf("%v: %q", e.Kind, e.Detail)
	}
}

func TestProxy(t *testing.T) {
	for status, want := range map[int]string{407: "407", 403: "HTTP 403"} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}))
		via, err := Proxy(proxy.URL)
		if err != nil {
			t.Fatal(err)
		}
		c := New(Config{Proxy: via})
		app := testApp()
		app.Authority = "https://login.microsoftonline.com"
		e := problemOf(t, c.Warm(t.Context(), app))
		if e.Kind != token.KindUnavailable || !strings.Contains(e.Detail, want) || !strings.Contains(e.Detail, "proxy") {
			t.Errorf("%d: %v: %q", status, e.Kind, e.Detail)
		}
		c.Close()
		proxy.Close()
	}
}

func TestProxySetting(t *testing.T) {
	for _, bad := range []string{"proxy", "ftp://x", "://", "http://"} {
		if _, err := Proxy(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	f, err := Proxy("http://user:pw@proxy.test:3128")
	if err != nil {
		t.Fatal(err)
	}
	u, err := f(&http.Request{URL: &url.URL{Scheme: "https", Host: "x.test"}})
	if err != nil || u.Host != "proxy.test:3128" {
		t.Errorf("%v, %v", u, err)
	}
	if _, err := Roots([]byte("no PEM")); err == nil {
		t.Error("no PEM was accepted")
	}
}
