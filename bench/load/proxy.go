package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// proxyPlan says how much of the proxy is measured.
type proxyPlan struct {
	calls int   // small calls of each kind
	bytes int64 // each way
}

// certFile is the variable with the file that a resource writes its certificate to.
const certFile = "LOAD_CERT_FILE"

// resourceURL is the variable with the address of the resource.
const resourceURL = "LOAD_RESOURCE"

// runProxy measures the proxy: what it adds to a small call of Graph, and how much
// memory it needs for large bodies.
func runProxy(ctx context.Context, b *bench, p proxyPlan, out io.Writer) error {
	cert := filepath.Join(b.dir, "resource.pem")
	resource, err := startSelf(ctx, "resource", certFile+"="+cert)
	if err != nil {
		return err
	}
	defer resource.stop()
	m, err := newProxied(ctx, b, resource.address, cert)
	if err != nil {
		return err
	}
	defer m.broker.stop()
	bare, err := startSelf(ctx, "reverse", certFile+"="+cert, resourceURL+"="+m.direct)
	if err != nil {
		return err
	}
	defer bare.stop()
	if err := m.small(ctx, "http://"+bare.address, p.calls, out); err != nil {
		return err
	}
	awake, err := startSelf(ctx, "awake")
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, "\nThe same with the cores kept awake between the calls:\n\n")
	if err == nil {
		err = m.small(ctx, "http://"+bare.address, p.calls, out)
	}
	awake.stop()
	if err != nil {
		return err
	}
	return m.large(ctx, p.bytes, out)
}

// small sends small calls in turn: directly, through a reverse proxy that does
// nothing, and through the broker, by its address and by its Unix socket.
func (m *proxied) small(ctx context.Context, bare string, n int, out io.Writer) error {
	const path = "/v1.0/me?$select=id,displayName"
	calls := []struct {
		name   string
		client *http.Client
		url    string
		bearer string
		took   []time.Duration
	}{
		{"direct", m.upstream, m.direct + path, m.token, nil},
		{"through a bare httputil.ReverseProxy", m.client, bare + path, m.token, nil},
		{"through the broker", m.client, m.through + path, m.key, nil},
		{"through the broker's Unix socket", overSocket(m.broker.socket()), "http://localhost/proxy/graph" + path, m.key, nil},
	}
	for i := range n + n/10 + 1 { // the first ones warm up
		for k := range calls {
			took, err := m.time(ctx, calls[k].client, calls[k].url, calls[k].bearer)
			if err != nil {
				return fmt.Errorf("%s: %w", calls[k].name, err)
			}
			if i > n/10 {
				calls[k].took = append(calls[k].took, took)
			}
		}
	}
	direct := calls[0].took
	_, err := fmt.Fprintf(out, "Proxy, %d small calls of each kind in turn, one connection each\n\n"+
		"| call | p50 | p90 | p99 | added to the direct one of its turn, p50 | of a direct one |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"+
		"| direct | %v | %v | %v | | |\n", n, round(direct, 50), round(direct, 90), round(direct, 99))
	for _, c := range calls[1:] {
		added := make([]time.Duration, n)
		for i := range added {
			added[i] = c.took[i] - direct[i]
		}
		if err == nil {
			_, err = fmt.Fprintf(out, "| %s | %v | %v | %v | %v | %.2f |\n", c.name, round(c.took, 50), round(c.took, 90), round(c.took, 99),
				round(added, 50), float64(quantile(added, 50, 100))/float64(quantile(direct, 50, 100)))
		}
	}
	return err
}

func round(all []time.Duration, percent int) time.Duration {
	return quantile(all, percent, 100).Round(time.Microsecond)
}

// proxied is a broker before a resource, and a client of both.
type proxied struct {
	broker           *instance
	direct, through  string // URLs of the resource
	key, token       string // the consumer's key, and a token as the resource gets it
	client, upstream *http.Client
}

func newProxied(ctx context.Context, b *bench, address, cert string) (*proxied, error) {
	i, err := newInstance(ctx, b.program, filepath.Join(b.dir, "proxy"), b.sandbox)
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(cert)
	if err != nil {
		return nil, err
	}
	if err := i.trust(root, "https://"+address, b.sandbox.GraphURL()); err != nil {
		return nil, err
	}
	if err := i.start(ctx); err != nil {
		return nil, err
	}
	m := &proxied{
		broker: i, direct: "https://" + address, through: "http://" + i.listen + "/proxy/graph",
		client:   &http.Client{Transport: &http.Transport{DisableCompression: true}},
		upstream: &http.Client{Transport: trusting(root)},
	}
	err = i.ready(ctx)
	if err == nil {
		err = i.signIn(ctx, b.sandbox, user)
	}
	if err == nil {
		m.key, err = i.consumer(ctx, user)
	}
	if err == nil {
		m.token, err = i.token(ctx, user)
	}
	if err != nil {
		i.stop()
	}
	return m, err
}

// trusting is the way to a resource with this certificate.
func trusting(root []byte) *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableCompression: true}
}

// reverse is httputil.ReverseProxy before the resource, with nothing added.
func reverse() (http.Handler, error) {
	root, err := os.ReadFile(os.Getenv(certFile))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(os.Getenv(resourceURL))
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }, Transport: trusting(root)}, nil
}

// trust makes graph lead to a resource, and the broker believe its certificate.
func (i *instance) trust(root []byte, address, instead string) error {
	ca, err := os.ReadFile(filepath.Join(i.dir, "ca.pem"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(i.dir, "ca.pem"), append(ca, root...), 0o600); err != nil {
		return err
	}
	file := filepath.Join(i.dir, "broker.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), "base_url: "+instead, "base_url: "+address, 1)
	if changed == string(text) {
		return errors.New("the configuration has no base_url of graph")
	}
	return os.WriteFile(file, []byte(changed+"socket: "+i.socket()+"\n"), 0o600)
}

// socket is where the broker listens besides its address.
func (i *instance) socket() string { return filepath.Join(i.dir, "broker.sock") }

// overSocket is a client over a Unix socket.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

func (m *proxied) time(ctx context.Context, client *http.Client, url, bearer string) (time.Duration, error) {
	req, err := request(ctx, http.MethodGet, url, bearer, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	n, err := answer(client, req)
	if err == nil && n != int64(len(graphUser)) {
		err = fmt.Errorf("an answer of %d bytes", n)
	}
	return time.Since(began), err
}

func request(ctx context.Context, method, url, bearer string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// answer sends a request and counts the bytes of the answer.
func answer(client *http.Client, req *http.Request) (int64, error) {
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return n, err
}

// large sends n bytes through the proxy, each way, and looks at the broker's memory.
func (m *proxied) large(ctx context.Context, n int64, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "\n| %d MiB through the proxy | time | resident before | most resident | growth |\n| --- | ---: | ---: | ---: | ---: |\n", n>>20); err != nil {
		return err
	}
	for _, way := range []struct {
		name, method, path string
		body               io.Reader
		want               int64
	}{
		{"up", http.MethodPut, "/up", io.LimitReader(zeros{}, n), int64(len(strconv.FormatInt(n, 10)))},
		{"up, in chunks", http.MethodPut, "/up", io.LimitReader(zeros{}, n), int64(len(strconv.FormatInt(n, 10)))},
		{"down", http.MethodGet, "/down?n=" + strconv.FormatInt(n, 10), nil, n},
		{"down, in chunks", http.MethodGet, "/down?chunks&n=" + strconv.FormatInt(n, 10), nil, n},
	} {
		req, err := request(ctx, way.method, m.through+way.path, m.key, way.body)
		if err != nil {
			return err
		}
		if way.name == "up" {
			req.ContentLength = n
		}
		before, err := m.broker.resident()
		if err != nil {
			return err
		}
		if err := m.broker.forgetPeak(); err != nil {
			return err
		}
		began := time.Now()
		if got, err := answer(m.client, req); err != nil || got != way.want {
			return fmt.Errorf("%s: %d bytes came back: %w", way.name, got, err)
		}
		took := time.Since(began)
		peak, err := m.broker.status("VmHWM:")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "| %s | %v | %.1f MiB | %.1f MiB | %.1f MiB |\n", way.name, took.Round(time.Millisecond), before, peak, peak-before); err != nil {
			return err
		}
	}
	return nil
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// graphUser is what Microsoft Graph says of a user.
const graphUser = `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users/$entity","businessPhones":["+1 425 555 0109"],` +
	`"displayName":"Adele Vance","givenName":"Adele","jobTitle":"Retail Manager","mail":"AdeleV@contoso.example","mobilePhone":null,` +
	`"officeLocation":"18/2111","preferredLanguage":"en-US","surname":"Vance","userPrincipalName":"AdeleV@contoso.example","id":"87d349ed-44d7-43e1-9a83-5f2406dee5bd"}`

// resource stands in for Microsoft Graph.
func resource() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.0/me", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json;odata.metadata=minimal")
		_, _ = io.WriteString(w, graphUser)
	})
	mux.HandleFunc("PUT /up", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprint(w, n)
	})
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if !r.URL.Query().Has("chunks") {
			w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		}
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(zeros{}, n), make([]byte, 64<<10))
	})
	return mux
}

// selfSigned makes a certificate for loopback and writes it to the file.
func selfSigned(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, text.Bytes(), 0o600)
}
