package httpapi

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

const sidecarClaims = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`

func TestSidecarRequests(t *testing.T) {
	req := token.Request{Key: token.Key{Resource: "graph"}, MinValidity: 10 * time.Minute}
	forced, challenged := req, req
	forced.Force, challenged.Claims = true, sidecarClaims
	tests := []struct {
		path string
		want token.Request
	}{
		{"/AuthorizationHeader/graph", req},
		{"/AuthorizationHeader/Graph", req},
		{"/authorizationheader/graph", req},
		{"/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.ForceRefresh=true", forced},
		{"/AuthorizationHeader/graph?OPTIONSOVERRIDE.acquiretokenoptions.forcerefresh=True", forced},
		{"/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.ForceRefresh=false", req},
		{"/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.Claims=" + url.QueryEscape(sidecarClaims), challenged},
		{"/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.CorrelationId=9A8b7c6d-5e4f-4a3b-8c2d-1e0f9a8b7c6d", req},
		{"/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.Tenant=" + testTenant, req},
		{"/AuthorizationHeader/graph?optionsOverride.RequestAppToken=false", req},
		{"/AuthorizationHeader/graph?optionsOverride.Scopes=https%3A%2F%2Fgraph.microsoft.com%2F.default", req},
		{"/AuthorizationHeader/graph?optionsOverride.Scopes=https%3A%2F%2Fgraph.microsoft.com&optionsoverride.scopes=https%3A%2F%2Fgraph.microsoft.com%2F.default", req},
		{"/AuthorizationHeader/graph?AgentIdentity=&AgentUsername=", req},
	}
	for _, tt := range tests {
		for _, path := range []string{tt.path, strings.Replace(strings.Replace(tt.path, "Header/", "HeaderUnauthenticated/", 1), "header/", "headerunauthenticated/", 1)} {
			t.Run(path, func(t *testing.T) {
				s := newStack(t)
				s.tokens.set(entry(t, "CANARY-1"))
				got := want[authorizationHeader](s, s.do(call{path: path, key: s.crm}), http.StatusOK)
				if got.AuthorizationHeader != "Bearer CANARY-1" || s.tokens.last != tt.want {
					t.Errorf("answer %+v, asked for %+v", got, s.tokens.last)
				}
			})
		}
	}
}

// Everything that a caller may send to the sidecar and that has no effect here is
// refused by its name.
func TestSidecarRefusals(t *testing.T) {
	const override = "optionsOverride."
	const acquire = override + "AcquireTokenOptions."
	tests := []struct{ query, want string }{
		{override + "Scopes=https://graph.microsoft.com/Mail.Send", override + "Scopes"},
		{override + "Scopes=Mail.Send", override + "Scopes"},
		{override + "Scopes=https://graph.microsoft.com&" + override + "Scopes=https://outlook.office365.com", override + "Scopes"},
		{override + "Scopes=", override + "Scopes"},
		{override + "BaseUrl=https://evil.example", override + "BaseUrl"},
		{override + "RelativePath=/me", override + "RelativePath"},
		{override + "HttpMethod=POST", override + "HttpMethod"},
		{override + "AcceptHeader=text/plain", override + "AcceptHeader"},
		{override + "ContentType=text/plain", override + "ContentType"},
		{override + "ExtraHeaderParameters.X=1", override + "ExtraHeaderParameters.X"},
		{override + "ExtraQueryParameters.x=1", override + "ExtraQueryParameters.x"},
		{override + "RequestAppToken=true", "RequestAppToken"},
		{override + "RequestAppToken=maybe", "RequestAppToken"},
		{acquire + "Tenant=99999999-2222-3333-4444-555555555555", acquire + "Tenant"},
		{acquire + "ForceRefresh=maybe", "true or false"},
		{acquire + "ForceRefresh=true&" + acquire + "forcerefresh=false", "sent twice"},
		{acquire + "Claims=SECRET", "claims must be"},
		{acquire + "CorrelationId=1", "must be a GUID"},
		{acquire + "LongRunningWebApiSessionKey=auto", "LongRunningWebApiSessionKey"},
		{acquire + "FmiPath=a", "FmiPath"},
		{acquire + "PopPublicKey=a", "PopPublicKey"},
		{acquire + "ManagedIdentity.UserAssignedClientId=a", "UserAssignedClientId"},
		{"AgentIdentity=a", "no agent identity"},
		{"agentusername=a", "no agent identity"},
		{"AgentUserId=a", "no agent identity"},
		{"scope=a", `"scope"`},
		{"x=SECRET", `"x"`},
		{"%zz", "percent-encode"},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			s := newStack(t)
			s.tokens.set(entry(t, "CANARY"))
			p := s.problem(s.do(call{path: "/AuthorizationHeader/graph?" + tt.query, key: s.crm}), http.StatusBadRequest, token.KindInvalidRequest)
			if !strings.Contains(p.Detail, tt.want) || strings.Contains(p.Detail, "SECRET") {
				t.Errorf("detail %q, want %s", p.Detail, tt.want)
			}
		})
	}
}

// Scopes of a resource that is not there are about the resource.
func TestSidecarOfAnUnknownResource(t *testing.T) {
	s := newStack(t)
	s.problem(s.do(call{path: "/AuthorizationHeader/vault?optionsOverride.Scopes=a", key: s.crm}), http.StatusBadRequest, token.KindUnknownResource)
}

func TestSidecarHealth(t *testing.T) {
	s := newStack(t)
	res := s.do(call{path: "/healthz"})
	if body := string(read(t, res)); res.StatusCode != http.StatusOK || body != "Healthy" || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("status %d, %s", res.StatusCode, body)
	}
}

// The caller's own ID can be found in the log.
func TestSidecarCorrelation(t *testing.T) {
	s := newStack(t)
	s.tokens.set(entry(t, "CANARY"))
	id := "9a8b7c6d-5e4f-4a3b-8c2d-1e0f9a8b7c6d"
	s.do(call{path: "/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.CorrelationId=" + id, key: s.crm})
	if !strings.Contains(s.log.String(), id) {
		t.Errorf("the log is %s", s.log)
	}
}

// Without a key: a program of broker exec by its process, any other one only where
// the configuration says so; a key that is sent counts in every case.
func TestSidecarWithoutAKey(t *testing.T) {
	root, within, wrong := peer.Root{PID: 10, Start: 1}, fakePeer{image: program, root: peer.Root{PID: 10, Start: 1}}, consumer.NewKey().Reveal()
	lease := consumer.Spec{Name: "run", Accounts: []string{"ops"}, Resources: []string{"graph"}, Lease: time.Hour, Process: 10}
	open := consumer.Spec{Name: "unauthenticated", Accounts: []string{"ops"}, Resources: []string{"graph"}}
	tests := []struct {
		name   string
		anyOne bool // dialects.sidecar_unauthenticated
		open   bool // its consumer is configured
		leased bool
		peer   fakePeer
		key    string
		who    string // who got the token; empty: nobody
	}{
		{"nobody knows it", false, false, false, within, "", ""},
		{"a consumer for all, but not switched on", false, true, false, within, "", ""},
		{"switched on, but no consumer for all", true, false, false, within, "", ""},
		{"a consumer for all", true, true, false, within, "", "unauthenticated"},
		{"a child of broker exec", false, false, true, within, "", "run"},
		{"a child of broker exec goes before the consumer for all", true, true, true, within, "", "run"},
		{"no child of broker exec", false, false, true, fakePeer{image: program}, "", ""},
		{"a wrong key", true, true, true, within, wrong, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg, err := consumer.New(consumer.Config{AdminKey: consumer.NewAdminKey(), Root: func(int) (peer.Root, error) { return root, nil }})
			if err != nil {
				t.Fatal(err)
			}
			if tt.open {
				err = reg.Replace([]consumer.Spec{open})
			}
			if err == nil && tt.leased {
				_, _, err = reg.Add(t.Context(), lease)
			}
			if err != nil {
				t.Fatal(err)
			}
			log := &noted{}
			s := newStack(t, func(c *Config) {
				c.Consumers, c.Audit = reg, log
				c.Peer = func(net.Conn) consumer.Peer { return tt.peer }
				c.Dialects = func() config.Dialects { return config.Dialects{Sidecar: true, SidecarUnauthenticated: tt.anyOne} }
			})
			s.tokens.set(entry(t, "CANARY"))
			res := s.do(call{path: "/AuthorizationHeaderUnauthenticated/graph", key: tt.key, change: func(r *http.Request) {
				*r = *r.WithContext(s.server.withPeer(r.Context(), nil))
			}})
			if tt.who == "" {
				s.problem(res, http.StatusUnauthorized, token.KindUnauthenticated)
			} else if res.StatusCode != http.StatusOK || len(log.issued) != 1 || log.issued[0] != tt.who+" ops graph" {
				t.Errorf("status %d, issued %q", res.StatusCode, log.issued)
			}
		})
	}
}

func FuzzSidecarQuery(f *testing.F) {
	for _, q := range []string{"", "optionsOverride.Scopes=a", "OptionsOverride.AcquireTokenOptions.ForceRefresh=1", "optionsOverride.AcquireTokenOptions.Claims={}", "agentidentity=", "a=1&A=2", "%"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		in, err := parseSidecarQuery(raw)
		if err != nil {
			if token.KindOf(err) != token.KindInvalidRequest {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if len(in.claims) > token.MaxClaims || len(in.tenant) > maxTenant || in.correlation != "" && len(in.correlation) != 36 {
			t.Fatalf("%q gave %+v", raw, in)
		}
	})
}
