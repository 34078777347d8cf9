package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// dialectCall is one request in a foreign protocol.
type dialectCall struct {
	key, method, path, body string
	header                  string
}

func (w *world) msi(key, query string) dialectCall {
	return dialectCall{"", http.MethodGet, "/msi/token?api-version=2019-08-01&" + query, "", "X-IDENTITY-HEADER: " + key}
}

func (w *world) azd(key, body string) dialectCall {
	return dialectCall{key, http.MethodPost, "/azd/token?api-version=2023-07-12-preview", body, ""}
}

func (w *world) sidecar(key, rest string) dialectCall {
	return dialectCall{key, http.MethodGet, "/AuthorizationHeader/" + rest, "", ""}
}

// send plays one request. An error of azd has the status 200, so it is put among
// the errors here.
func (w *world) send(c dialectCall) answer {
	w.t.Helper()
	var header []string
	if c.header != "" {
		header = []string{c.header}
	}
	a := w.call(c.key, c.method, c.path, c.body, header...)
	if strings.HasPrefix(c.path, "/azd") && strings.Contains(string(a.body), `"error"`) {
		w.mu.Lock()
		w.errors = append(w.errors, string(a.body))
		w.mu.Unlock()
		a.status = http.StatusBadRequest
	}
	return a
}

// playDialects asks in every foreign protocol, rightly and wrongly.
func (w *world) playDialects() {
	const graph = "resource=https%3A%2F%2Fgraph.microsoft.com"
	access := w.token("graph").AccessToken
	claims := url.QueryEscape(`{"access_token":{"nbf":{"essential":true,"value":"` + claimsCanary + `"}}}`)
	for _, c := range []dialectCall{
		w.msi(w.key, graph), w.msi(w.key, graph+"%2F.default&client_id="+url.QueryEscape(alice)),
		w.msi(w.key, "resource=https://outlook.office365.com/EWS.AccessAsUser.All&client_id=7e57ab1e-5a9d-4b0c-8e57-c0ffee000002"),
		w.azd(w.key, `{"scopes":["https://graph.microsoft.com/.default"],"tenantId":"7e57ab1e-5a9d-4b0c-8e57-c0ffee000001"}`),
		w.sidecar(w.key, "graph"), w.sidecar(w.key, "Graph?optionsOverride.AcquireTokenOptions.Claims="+claims),
		{w.key, http.MethodGet, "/AuthorizationHeaderUnauthenticated/ews", "", ""},
		{"", http.MethodGet, "/healthz", "", ""},
	} {
		if a := w.send(c); a.status != http.StatusOK {
			w.t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
	}
	wrong := strings.Replace(w.key, "brk_", "bra_", 1)
	for _, c := range []dialectCall{
		w.msi("", graph), w.msi(wrong, graph), w.msi(access, graph), w.msi(w.key+"x", graph),
		w.msi(w.key, ""), w.msi(w.key, "resource="+access), w.msi(w.key, "resource="+w.key), w.msi(w.key, graph+"&client_id="+w.key),
		w.msi(w.key, graph+"&client_id="+access), w.msi(w.key, graph+"&client_id=nobody"), w.msi(w.key, graph+"&object_id="+w.key),
		w.msi(w.key, graph+"&claims="+claims), w.msi(w.key, "resource=imap"),
		{"", http.MethodGet, "/msi/" + w.key, "", "X-IDENTITY-HEADER: " + w.key},
		{"", http.MethodPost, "/msi/token", access, "X-IDENTITY-HEADER: " + w.key},
		w.azd("", `{"scopes":["graph"]}`), w.azd(wrong, `{"scopes":["graph"]}`), w.azd(w.key, access), w.azd(w.key, `{"scopes":["`+access+`"]}`),
		w.azd(w.key, `{"scopes":["`+w.key+`"]}`), w.azd(w.key, `{"scopes":["graph"],"tenantId":"`+w.key+`"}`), w.azd(w.key, `{"scopes":["imap"]}`),
		w.sidecar("", "graph"), w.sidecar(wrong, "graph"), w.sidecar(w.key, w.key), w.sidecar(w.key, access), w.sidecar(w.key, "imap"),
		w.sidecar(w.key, "graph?"+w.key+"=1"), w.sidecar(w.key, "graph?optionsOverride.Scopes="+access), w.sidecar(w.key, "graph?AgentUsername="+w.key),
		w.sidecar(w.key, "graph?optionsOverride.AcquireTokenOptions.Claims="+access),
		w.sidecar(w.key, "graph?optionsOverride.AcquireTokenOptions.Tenant="+w.key),
		w.sidecar(w.key, "graph?optionsOverride.AcquireTokenOptions.CorrelationId="+w.key),
		{"", http.MethodGet, "/AuthorizationHeaderUnauthenticated/graph", "", ""},
		{wrong, http.MethodGet, "/AuthorizationHeaderUnauthenticated/graph", "", ""},
	} {
		if a := w.send(c); a.status < http.StatusBadRequest {
			w.t.Errorf("%s %s is not refused: %d", c.method, c.path, a.status)
		}
	}
}

// playDialectFailures asks in every foreign protocol for an account whose sign-in
// was revoked.
func (w *world) playDialectFailures() {
	for _, c := range []dialectCall{
		w.msi(w.admin, "resource=ews&client_id="+url.QueryEscape(alice)),
		w.azd(w.key, `{"scopes":["ews"]}`),
		w.sidecar(w.key, "ews?optionsOverride.AcquireTokenOptions.ForceRefresh=true"),
	} {
		switch a := w.send(c); {
		case strings.HasPrefix(c.path, "/msi") && a.status != http.StatusBadRequest && a.status != http.StatusOK,
			strings.HasPrefix(c.path, "/Auth") && (a.status < http.StatusBadRequest || a.problem().UserAction != httpapi.ProblemUserActionSignIn):
			w.t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
	}
}
