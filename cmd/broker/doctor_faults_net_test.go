package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// authority is a certificate authority of these tests.
type certAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertAuthority(t *testing.T, name string) certAuthority {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err == nil {
		ca, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return certAuthority{cert: ca, key: key}
}

// issue makes a server certificate for loopback, changed as wanted.
func (a certAuthority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "login"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// tlsHost serves nothing with this certificate.
func tlsHost(t *testing.T, c tls.Certificate) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return "https://" + srv.Listener.Addr().String()
}

// inspector is an outbound proxy that opens TLS with certificates of its own.
func inspector(t *testing.T, c tls.Certificate) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		inside := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12})
		if _, err := http.ReadRequest(bufio.NewReader(inside)); err == nil {
			_, _ = io.WriteString(inside, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	t.Cleanup(srv.Close)
	return "http://svc:" + canaryText + "@" + srv.Listener.Addr().String()
}

// refusing is a proxy that refuses every CONNECT.
func refusing(t *testing.T, status int) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canaryText, status) }))
	t.Cleanup(srv.Close)
	return "http://svc:" + canaryText + "@" + srv.Listener.Addr().String()
}

// closedPort is an address that nobody has.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// noName is a name that no resolver asks anybody about: its first label is too
// long.
var noName = strings.Repeat("n", 64) + ".invalid"

// wayFaults stand on the way to the login host.
func wayFaults() []planted {
	problem := func(name, text, remedy string) finding { return finding{name, text, remedy, resultProblem} }
	set := func(key string, value func(t *testing.T) string) func(*testing.T, *world) []string {
		return func(t *testing.T, _ *world) []string { return []string{"--set", key + "=" + value(t)} }
	}
	host := func(change func(*x509.Certificate)) func(*testing.T, *world) []string {
		return set("authority", func(t *testing.T) string {
			return tlsHost(t, newCertAuthority(t, "Fabrikam CA").issue(t, change))
		})
	}
	return []planted{
		{
			name: "TLS is inspected", want: problem(nameTLS, `issued by "Contoso Inspection CA", which this machine does not trust`, "set ca_file to its root certificate"),
			plant: set("proxy_url", func(t *testing.T) string {
				return inspector(t, newCertAuthority(t, "Contoso Inspection CA").issue(t, func(*x509.Certificate) {}))
			}),
		},
		{name: "an unknown issuer", want: problem(nameTLS, `issued by "Fabrikam CA", which this machine does not trust`, "ca_file"), plant: host(func(*x509.Certificate) {})},
		{name: "an expired certificate", want: problem(nameTLS, "expired on", "renew it"), plant: host(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(0, -2, 0), time.Now().AddDate(0, -1, 0)
		})},
		{name: "a certificate of tomorrow", want: problem(nameTLS, "is not valid before", "clock"), plant: host(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(0, 0, 2), time.Now().AddDate(0, 1, 0)
		})},
		{name: "a certificate for another name", want: problem(nameTLS, "is for other names (portal.contoso.example)", "Check authority"), plant: host(func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"portal.contoso.example"}
		})},
		{name: "no TLS", want: problem(nameTLS, "does not speak TLS", "Check authority"), plant: set("authority", func(t *testing.T) string {
			srv := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(srv.Close)
			return "https://" + srv.Listener.Addr().String()
		})},
		{name: "the proxy is away", want: problem(nameProxy, "cannot be reached", "HTTPS_PROXY"), plant: set("proxy_url", func(t *testing.T) string {
			return "http://svc:" + canaryText + "@" + closedPort(t)
		})},
		{name: "the proxy wants a password", want: problem(nameProxy, "wants a sign-in of its own (HTTP 407)", "proxy_url"), plant: set("proxy_url", func(t *testing.T) string { return refusing(t, http.StatusProxyAuthRequired) })},
		{name: "the proxy refuses", want: problem(nameProxy, "refused the connection (HTTP 403)", "allow the login hosts"), plant: set("proxy_url", func(t *testing.T) string { return refusing(t, http.StatusForbidden) })},
		{name: "no such name", want: problem(nameDNS, "cannot be resolved", "DNS"), plant: set("authority", func(*testing.T) string { return "https://" + noName })},
		{name: "nobody is there", want: problem(nameLoginHost, "cannot be connected to", "firewall"), plant: set("authority", func(t *testing.T) string { return "https://" + closedPort(t) })},
		{name: "Outlook's host is away", want: problem(nameOutlookHost, "cannot be connected to", "firewall"), plant: func(t *testing.T, w *world) []string {
			return []string{"--config", other(t, w, "mapi: {archive: {profile: Outlook}}\n"), "--set", "resources.ews.base_url=https://" + closedPort(t)}
		}},
	}
}

// tenantFaults are in the tenant and the app registration, as the sandbox plays
// them.
func tenantFaults() []planted {
	problem := func(name, text, remedy string) finding { return finding{name, text, remedy, resultProblem} }
	play := func(scenario string, at sandbox.Endpoint) func(*testing.T, *world) []string {
		return func(t *testing.T, w *world) []string {
			t.Helper()
			w.fault(sandbox.Fault{Scenario: scenario, Endpoint: at})
			return nil
		}
	}
	clock := func(by time.Duration) func(*testing.T, *world) []string {
		return func(_ *testing.T, w *world) []string { w.sb.SetClock(by); return nil }
	}
	return []planted{
		{name: "the clock is a bit off", want: finding{nameClock, "ahead of that of 127.0.0.1:", "by the network", resultWarning}, plant: clock(-3 * time.Minute)},
		{name: "the clock is wrong", want: problem(nameClock, "behind that of 127.0.0.1:", "by the network"), plant: clock(20 * time.Minute)},
		{name: "no such tenant", want: problem(nameTenant, "There is no tenant 00000000-0000-4000-8000-00000000dead at 127.0.0.1:", "Correct tenant"), plant: func(*testing.T, *world) []string {
			return []string{"--set", "tenant=00000000-0000-4000-8000-00000000dead"}
		}},
		{name: "another cloud", want: problem(nameTenant, "lives in another Microsoft cloud (microsoftonline.us)", "Set cloud: gcchigh"), plant: play("other_cloud", "")},
		{name: "a captive portal", want: problem(nameTenant, "Something answered in place of", "set proxy_url"), plant: play("portal", sandbox.EndpointDiscovery)},
		{name: "Entra has a problem", want: finding{nameTenant, "Entra ID has a passing problem", "Try again", resultWarning}, plant: play("unavailable", sandbox.EndpointDiscovery)},
		{name: "no public client", want: problem(nameRegistration, "is no public client", `"Allow public client flows" to Yes`), plant: play("public_client_off", "")},
		{name: "no device code", want: problem(nameRegistration, "no device code (AADSTS70002)", "--flow browser"), plant: play("not_mobile", "")},
		{name: "no such app", want: problem(nameRegistration, "There is no app registration", "Correct client_id"), plant: func(*testing.T, *world) []string {
			return []string{"--set", "client_id=00000000-0000-4000-8000-00000000beef"}
		}},
		{name: "throttled", want: finding{nameRegistration, "wants fewer requests", "ry again later", resultWarning}, plant: play("throttled", sandbox.EndpointDeviceCode)},
		{name: "Conditional Access", want: problem(nameRegistration, "Conditional Access blocked the sign-in", "administrator"), plant: play("message_only", sandbox.EndpointDeviceCode)},
	}
}

// telemetryFaults are in the environment of the broker.
func telemetryFaults() []planted {
	warning := func(text, remedy string) finding { return finding{nameTelemetry, text, remedy, resultWarning} }
	answering := func(status int) func(*testing.T, *world) []string {
		return func(t *testing.T, w *world) []string {
			srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, canaryText, status) }))
			t.Cleanup(srv.Close)
			w.env = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=" + canaryText}
			return nil
		}
	}
	return []planted{
		{name: "no address", env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, want: warning("is not an address that begins with http", "http://host:4318")},
		{name: "no collector", want: warning("that cannot be connected to", "Start the collector"), plant: func(t *testing.T, w *world) []string {
			w.env = map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://" + closedPort(t) + "/v1/traces?key=" + canaryText}
			return nil
		}},
		{name: "no gRPC collector", want: warning("OTEL_EXPORTER_OTLP_ENDPOINT names a collector", "Start the collector"), plant: func(t *testing.T, w *world) []string {
			w.env = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + closedPort(t), "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
			return nil
		}},
		{name: "the collector refuses", want: warning("refuses the broker (HTTP 401)", "OTEL_EXPORTER_OTLP_HEADERS"), plant: answering(http.StatusUnauthorized)},
		{name: "no OTLP there", want: warning("is no OTLP collector (HTTP 404)", "4318"), plant: answering(http.StatusNotFound)},
		{name: "the collector is ill", want: warning("a problem of its own (HTTP 500)", "log"), plant: answering(http.StatusInternalServerError)},
		{name: "the port for gRPC", want: warning("does not speak OTLP over HTTP", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), plant: func(t *testing.T, w *world) []string {
			w.env = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + garbler(t)}
			return nil
		}},
		{name: "https to plain HTTP", want: warning("speaks no TLS", "http:// instead"), plant: func(t *testing.T, w *world) []string {
			srv := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(srv.Close)
			w.env = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://" + srv.Listener.Addr().String()}
			return nil
		}},
		{name: "a collector nobody vouches for", want: warning(`issued by "Tailspin CA", is not trusted`, "OTEL_EXPORTER_OTLP_CERTIFICATE"), plant: func(t *testing.T, w *world) []string {
			w.env = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": tlsHost(t, newCertAuthority(t, "Tailspin CA").issue(t, func(*x509.Certificate) {}))}
			return nil
		}},
	}
}

// garbler answers HTTP with what is none, as a gRPC server does.
func garbler(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(conn, "\x00\x00\x06\x04\x00")
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}
