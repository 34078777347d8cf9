package sandbox

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestStartRefusesOtherThanLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:0", "[::]:0", "example.com:0", "127.0.0.1", ""} {
		s, err := Start(t.Context(), Config{Listen: addr})
		if addr == "" {
			if err != nil || !strings.HasPrefix(s.URL(), "https://127.0.0.1:") {
				t.Errorf("default: %v", err)
			}
			continue
		}
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was accepted", addr)
		}
	}
}

func TestStartSaysThatThePortIsTaken(t *testing.T) {
	c := overTLS(t, Config{})
	_, err := Start(t.Context(), Config{Listen: strings.TrimPrefix(c.s.URL(), "https://")})
	if err == nil || !strings.Contains(err.Error(), "another program may use the port") {
		t.Errorf("got %v", err)
	}
}

func TestEndsWithContextAndLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Config{})
	if err != nil {
		t.Fatal(err)
	}
	hc := s.Client()
	if _, err := s.Fault(Fault{Scenario: "hang", Endpoint: EndpointDiscovery}); err != nil {
		t.Fatal(err)
	}
	failed, sent := make(chan error, 1), make(chan struct{})
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }}
	go func() {
		req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodGet, s.URL()+"/"+tenantID+"/v2.0/.well-known/openid-configuration", nil)
		resp, err := hc.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	<-sent
	cancel()
	if err := <-failed; err == nil {
		t.Error("a request that hangs outlived the sandbox")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	hc.CloseIdleConnections()
	d := net.Dialer{}
	if conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL(), "https://")); err == nil {
		_ = conn.Close()
		t.Error("the port is still open")
	}
}

func TestCertificateIsForLoopbackOnly(t *testing.T) {
	c := overTLS(t, Config{})
	block, rest := pem.Decode(c.s.CAPEM())
	if block == nil || len(rest) != 0 {
		t.Fatal("CAPEM is not one PEM block")
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !ca.PermittedDNSDomainsCritical || !cmp.Equal(ca.PermittedDNSDomains, []string{"localhost"}) || len(ca.PermittedIPRanges) != 2 {
		t.Error("the CA is not constrained to loopback")
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(c.s.URL(), "https://"))
		req := c.request(http.MethodGet, "/", "")
		req.URL.Host, req.Host = host+":"+port, ""
		if resp, _, err := c.do(req); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %v", host, err)
		}
	}
	var plain http.Client
	if resp, err := plain.Do(c.request(http.MethodGet, "/", "")); err == nil {
		_ = resp.Body.Close()
		t.Error("a client without the CA got an answer")
	}
}

func TestStartIsQuick(t *testing.T) {
	best := time.Hour
	for range 5 {
		began := time.Now()
		s, err := Start(t.Context(), Config{})
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
		_ = s.Close()
	}
	if best > 50*time.Millisecond {
		t.Errorf("start took %v at best, want < 50ms", best)
	}
}

func TestDiscovery(t *testing.T) {
	c := inMemory(t, Config{})
	get := func(path string) (int, discovery) {
		resp, body, err := c.do(c.request(http.MethodGet, path, ""))
		if err != nil {
			t.Fatal(err)
		}
		var d discovery
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, d
	}
	base := c.s.URL() + "/" + tenantID
	for _, tenant := range []string{tenantID, strings.ToUpper(tenantID), "contoso.example", "Contoso.Example"} {
		status, d := get("/" + tenant + "/v2.0/.well-known/openid-configuration?")
		if status != 200 || d.Issuer != base+"/v2.0" || d.TokenEndpoint != base+"/oauth2/v2.0/token" ||
			d.DeviceEndpoint != base+"/oauth2/v2.0/devicecode" || d.AuthorizationEndpoint != base+"/oauth2/v2.0/authorize" ||
			d.KeysURI != base+"/discovery/v2.0/keys" {
			t.Errorf("%s: %d %+v", tenant, status, d)
		}
		// MSAL Go makes the device code URL from the token URL in this way.
		if got := strings.ReplaceAll(d.TokenEndpoint, "token", "devicecode"); got != d.DeviceEndpoint {
			t.Errorf("a host or tenant with \"token\" in it: %s", got)
		}
	}
	if status, d := get("/organizations/v2.0/.well-known/openid-configuration"); status != 200 || d.Issuer != c.s.URL()+"/{tenantid}/v2.0" {
		t.Errorf("organizations: %d %+v", status, d)
	}
	if status, _ := get("/fabrikam.example/v2.0/.well-known/openid-configuration"); status != 400 {
		t.Errorf("unknown tenant: %d", status)
	}
	for path, want := range map[string]int{
		"/common/discovery/instance?api-version=1.1&authorization_endpoint=" + c.s.URL() + "/common/oauth2/v2.0/authorize":     200,
		"/common/discovery/instance?api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/common/authorize": 400,
		"/" + tenantID + "/oauth2/v2.0/logout": 404,
	} {
		resp, _, err := c.do(c.request(http.MethodGet, path, ""))
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v %v, want %d", path, resp.StatusCode, err, want)
		}
	}
}

func TestConfigYAMLIsValid(t *testing.T) {
	c := overTLS(t, Config{})
	const path = `C:\Users\O'Neil\sandbox ca.pem`
	var got map[string]any
	if err := yaml.Unmarshal([]byte(c.s.ConfigYAML(path)), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"tenant": tenantID, "client_id": clientID, "authority": c.s.URL(), "ca_file": path,
		"resources": map[string]any{
			"graph": map[string]any{"scopes": []any{graphScope}, "base_url": c.s.GraphURL()},
			"ews":   map[string]any{"scopes": []any{ewsScope}, "base_url": c.s.EWSURL()},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUsers(t *testing.T) {
	c := inMemory(t, Config{Users: []string{"Ops@Contoso.example"}})
	if got := c.s.Users(); len(got) != 3 || got[2].Username != "ops@contoso.example" || got[2].Name != "Ops Contoso" || got[2].ObjectID == got[0].ObjectID {
		t.Errorf("users: %+v", got)
	}
	again, err := c.s.AddUser("ops@contoso.example")
	if err != nil || again != c.s.Users()[2] {
		t.Errorf("adding a user again: %+v %v", again, err)
	}
	for _, bad := range []string{"", "ops", "@x", "ops@", "a b@c"} {
		if _, err := c.s.AddUser(bad); err == nil {
			t.Errorf("user name %q was accepted", bad)
		}
	}
	if err := c.s.ApproveAll("mallory@contoso.example"); err == nil || !strings.Contains(err.Error(), "alice@contoso.example") {
		t.Errorf("unknown user: %v", err)
	}
	if _, err := New(Config{Users: []string{"nobody"}}); err == nil {
		t.Error("a bad user in the Config was accepted")
	}
}
