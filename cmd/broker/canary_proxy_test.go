package main

import (
	"net/http"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// playProxy sends requests through the proxy, rightly and wrongly, with secrets
// where they do not belong, to resources that are well and that are not.
func (w *world) playProxy() {
	access := w.token("graph").AccessToken
	type request struct{ method, path, body string }
	good := []request{
		{http.MethodGet, "/proxy/graph/v1.0/me", ""},
		{http.MethodGet, "/proxy/graph/v1.0/me/messages?$top=3&$search=" + access, ""},
		{http.MethodPost, ewsPath, findInbox},
	}
	for _, c := range append(good,
		request{http.MethodGet, "/proxy/graph/v1.0/users/" + bob + "/" + access, ""},
		request{http.MethodGet, "/proxy/graph/v1.0/me/" + w.key + "?key=" + w.key, ""},
		request{http.MethodPost, ewsPath, "<Envelope><Body><" + access + "/></Body></Envelope>"},
		request{http.MethodGet, "/proxy/" + access + "/x", ""},
		request{http.MethodGet, "/proxy/graph/%2e%2e/" + access, ""},
		request{http.MethodGet, "/proxy/imap/" + w.key, ""},
	) {
		_ = w.try(w.key, c.method, c.path, c.body, "Soapaction: "+access, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		_ = w.try("", c.method, c.path, c.body, basicAuth(access, w.key))
		_ = w.try("", c.method, c.path, c.body, basicAuth(alice, w.key), "X-Broker-Account: "+access)
		_ = w.try("", c.method, c.path, c.body, basicAuth(alice, access))
	}
	for _, f := range []sandbox.Fault{
		{Scenario: "cae"},
		{Scenario: "token_rejected"},
		{Scenario: "ews_blocked"},
		{Scenario: "reset", Endpoint: sandbox.EndpointGraph},
		{Scenario: "redirect", Endpoint: sandbox.EndpointGraph},
		{Scenario: "portal", Endpoint: sandbox.EndpointEWS},
		{Scenario: "proxy_auth", Endpoint: sandbox.EndpointEWS},
		{Scenario: "cut", Endpoint: sandbox.EndpointGraph},
		{Scenario: "throttled", Endpoint: sandbox.EndpointEWS},
	} {
		w.fault(f)
		for _, c := range good {
			_ = w.try(w.key, c.method, c.path, c.body)
		}
		w.sb.ClearFaults()
	}
}
