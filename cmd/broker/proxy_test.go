package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
	"github.com/m365-token-broker/broker/internal/token"
)

const findInbox = `<?xml version="1.0"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" ` +
	`xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">` +
	`<soap:Body><m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>` +
	`<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem></soap:Body></soap:Envelope>`

const ewsPath = "/proxy/ews/EWS/Exchange.asmx"

// basicAuth is the header of a client that knows user name and password only.
func basicAuth(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return "Authorization: " + r.Header.Get("Authorization")
}

// Graph and EWS through the proxy of a running broker, from every kind of client.
func TestProxy(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.ready()
	for _, header := range []string{"Authorization: Bearer " + w.key, "X-Broker-Key: " + w.key, basicAuth("app", w.key), basicAuth(alice, w.key)} {
		a := w.call("", http.MethodGet, "/proxy/graph/v1.0/me?$select=id", "", header)
		if a.status != http.StatusOK || !strings.Contains(string(a.body), alice) {
			t.Fatalf("Graph: %d %s", a.status, a.body)
		}
		a = w.call("", http.MethodPost, ewsPath, findInbox, header, "Content-Type: text/xml; charset=utf-8")
		if a.status != http.StatusOK || !strings.Contains(string(a.body), "Sandbox message 25") {
			t.Fatalf("EWS: %d %s", a.status, a.body)
		}
	}
	var usage httpapi.EWSUsage
	w.call(w.admin, http.MethodGet, "/v1/ews", "").into(&usage)
	if len(usage.Consumers) != 1 || usage.Consumers[0].Consumer != "app" || usage.Consumers[0].Calls != 4 || usage.Consumers[0].Operations[0].Operation != "FindItem" {
		t.Errorf("counted: %+v", usage.Consumers)
	}
	for _, c := range []struct {
		path   string
		key    string
		status int
		kind   token.Kind
	}{
		{"/proxy/nosuch/x", w.key, http.StatusBadRequest, token.KindUnknownResource},
		{"/proxy/imap/x", w.key, http.StatusForbidden, token.KindDenied},
		{"/proxy/imap/x", w.admin, http.StatusBadRequest, token.KindUnsupported},
		{"/proxy/graph/%2e%2e/x", w.key, http.StatusForbidden, token.KindDenied}, // by the gate
		{"/proxy/graph/v1.0/me", "", http.StatusUnauthorized, token.KindUnauthenticated},
	} {
		a := w.call(c.key, http.MethodGet, c.path, "")
		if p := a.problem(); a.status != c.status || string(p.Code) != c.kind.Code() {
			t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
	}
	for _, want := range []string{
		`broker_proxy_requests_total{broker_consumer="app",broker_outcome="ok",broker_resource="ews",http_response_status_code="200"} 4`,
		`broker_proxy_requests_total{broker_consumer="app",broker_outcome="unknown-resource",broker_resource="none",http_response_status_code="0"} 1`,
	} {
		w.eventually("the metrics have "+want, func() bool { // an answer is sent before its request is counted
			return strings.Contains(string(w.call(w.admin, http.MethodGet, "/metrics", "").body), want)
		})
	}
}

// The faults of the resources.
func TestProxyFaults(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.ready()
	me := func() answer { return w.call(w.key, http.MethodGet, "/proxy/graph/v1.0/me", "") }
	mail := func() answer { return w.try(w.key, http.MethodPost, ewsPath, findInbox) }
	seen := func(e sandbox.Endpoint) int { return w.sb.Stats().Requests[e] }
	if a := me(); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}

	before, redeemed := seen(sandbox.EndpointGraph), w.redemptions()
	w.fault(sandbox.Fault{Scenario: "cae"})
	if a := me(); a.status != http.StatusOK || seen(sandbox.EndpointGraph) != before+2 || w.redemptions() != redeemed+1 {
		t.Errorf("a claims challenge: %d %s, %d requests, %d redemptions", a.status, a.body, seen(sandbox.EndpointGraph)-before, w.redemptions()-redeemed)
	}
	if a := mail(); a.status != http.StatusOK {
		t.Errorf("a claims challenge of EWS: %d %s", a.status, a.body)
	}
	w.sb.ClearFaults()

	before = seen(sandbox.EndpointEWS)
	w.fault(sandbox.Fault{Scenario: "ews_blocked"})
	if a := mail(); a.status != http.StatusForbidden || a.problem().Code != "policy-blocked" || !strings.Contains(a.problem().Detail, "Your token is fine") || seen(sandbox.EndpointEWS) != before+1 {
		t.Errorf("EWS blocked: %d %s", a.status, a.body)
	}
	w.sb.ClearFaults()

	w.fault(sandbox.Fault{Scenario: "throttled", Endpoint: sandbox.EndpointEWS})
	if a := mail(); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "30" {
		t.Errorf("throttled: %d %v", a.status, a.header)
	}
	w.sb.ClearFaults()

	w.fault(sandbox.Fault{Scenario: "redirect", Endpoint: sandbox.EndpointEWS})
	if a := mail(); a.status != http.StatusBadGateway || a.problem().Title != "The resource gave no usable answer" {
		t.Errorf("redirected: %d %s", a.status, a.body)
	}
	w.sb.ClearFaults()

	w.fault(sandbox.Fault{Scenario: "reset", Endpoint: sandbox.EndpointEWS})
	if a := mail(); a.status != http.StatusServiceUnavailable || a.problem().Title != "The resource cannot be reached" || a.header.Get("Retry-After") == "" {
		t.Errorf("reset: %d %s", a.status, a.body)
	}
	w.sb.ClearFaults()

	w.fault(sandbox.Fault{Scenario: "bad_token", Endpoint: sandbox.EndpointTokenRefresh})
	w.fault(sandbox.Fault{Scenario: "cae"})
	if err := w.sb.Revoke(alice); err != nil {
		t.Fatal(err)
	}
	if a := me(); a.status != http.StatusConflict || a.problem().Code != "sign-in-required" {
		t.Errorf("revoked: %d %s", a.status, a.body)
	}
}

// A stream that would last ends with the broker.
func TestProxyEndsWithTheBroker(t *testing.T) {
	t.Parallel() // the stop gives it six seconds
	w := newWorld(t, worldOptions{})
	w.ready()
	w.fault(sandbox.Fault{Scenario: "hang", Endpoint: sandbox.EndpointEWS})
	ended := make(chan answer, 1)
	go func() { ended <- w.try(w.key, http.MethodPost, ewsPath, findInbox) }()
	w.eventually("the request at the resource", func() bool { return w.sb.Stats().Requests[sandbox.EndpointEWS] > 0 })
	w.stop()
	if a := <-ended; a.err == nil && a.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
}
