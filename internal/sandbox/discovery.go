package sandbox

import (
	"net/http"
	"net/url"
	"strings"
)

// discovery is the document of OpenID Connect Discovery 1.0 section 3 with what
// Entra's has.
type discovery struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint"`
	KeysURI               string   `json:"jwks_uri"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	Scopes                []string `json:"scopes_supported"`
	Claims                []string `json:"claims_supported"`
	RequestURI            bool     `json:"request_uri_parameter_supported"`
	Region                string   `json:"tenant_region_scope"`
	Cloud                 string   `json:"cloud_instance_name"`
	GraphHost             string   `json:"msgraph_host"`
}

// serveDiscovery answers a tenant GUID or domain with the endpoints of the GUID,
// as Entra does. /common and /organizations answer too; only the application,
// which has one tenant, is refused there later.
func (s *Sandbox) serveDiscovery(w http.ResponseWriter, tenant string) {
	path := tenantID
	switch e := checkTenant(tenant); {
	case e == nil:
	case e.aadsts == errSingleTenant.aadsts:
		path = strings.ToLower(tenant)
	default:
		s.refuse(w, *e)
		return
	}
	base := s.url + "/" + path
	issuer := s.issuer()
	if path != tenantID {
		issuer = s.url + "/{tenantid}/v2.0"
	}
	writeJSON(w, http.StatusOK, discovery{
		Issuer:                issuer,
		AuthorizationEndpoint: base + "/oauth2/v2.0/authorize",
		TokenEndpoint:         base + "/oauth2/v2.0/token",
		DeviceEndpoint:        base + "/oauth2/v2.0/devicecode",
		KeysURI:               base + "/discovery/v2.0/keys",
		AuthMethods:           []string{"none"},
		ResponseModes:         []string{"query", "form_post"},
		ResponseTypes:         []string{"code"},
		SubjectTypes:          []string{"pairwise"},
		SigningAlgorithms:     []string{"ES256"},
		ChallengeMethods:      []string{"S256"},
		Scopes:                []string{"openid", "profile", "email", "offline_access"},
		Claims:                []string{"sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "oid", "ver"},
		Region:                "EU",
		Cloud:                 "sandbox",
		GraphHost:             strings.TrimPrefix(s.url, "https://"),
	})
}

// issuer is the "iss" of every token.
func (s *Sandbox) issuer() string { return s.url + "/" + tenantID + "/v2.0" }

// jsonWebKey is RFC 7517 section 4 for a P-256 key.
type jsonWebKey struct {
	Type  string `json:"kty"`
	Use   string `json:"use"`
	KeyID string `json:"kid"`
	Alg   string `json:"alg"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

func (s *Sandbox) serveKeys(w http.ResponseWriter, _ *http.Request) {
	k := jsonWebKey{Type: "EC", Use: "sig", KeyID: s.signer.kid, Alg: "ES256", Curve: "P-256", X: s.signer.x, Y: s.signer.y}
	writeJSON(w, http.StatusOK, map[string][]jsonWebKey{"keys": {k}})
}

// serveInstance answers instance discovery for the sandbox's own host only.
func (s *Sandbox) serveInstance(w http.ResponseWriter, r *http.Request) {
	s.run(EndpointDiscovery, w, r, func(w http.ResponseWriter, r *http.Request) {
		host := strings.TrimPrefix(s.url, "https://")
		asked, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
		if err != nil || asked.Host != host {
			s.refuse(w, oauthError{code: "invalid_instance", aadsts: 50049, text: "Unknown or invalid instance."})
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": s.url + "/" + tenantID + "/v2.0/.well-known/openid-configuration",
			"api-version":               "1.1",
			"metadata": []map[string]any{
				{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}},
			},
		})
	})
}
