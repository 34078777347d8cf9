package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// heard is what the audit log was told.
type heard struct {
	t     *testing.T
	lines []string
	id    string // of the newest line's request
}

func (h *heard) Issued(id *consumer.Identity, key token.Key, etag, requestID string) {
	h.hear(requestID, "issued %s %s %s %t", id.Name, key.Account, key.Resource, etag != "")
}

func (h *heard) Refused(id *consumer.Identity, kind token.Kind, route, requestID string) {
	name := "nobody"
	if id != nil {
		name = id.Name
	}
	h.hear(requestID, "refused %s %s %q", name, kind, route)
}

func (h *heard) Did(id *consumer.Identity, action, subject, requestID string) {
	h.hear(requestID, "%s did %s %s", id.Name, action, subject)
}

func (h *heard) hear(requestID, format string, args ...any) {
	h.id = requestID
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

// TestAuditHears: every token that leaves, every refusal, and what an administrator
// does are told, once each, with the request's ID; no path and no text of a caller.
func TestAuditHears(t *testing.T) {
	h := &heard{t: t}
	s := newStack(t, func(c *Config) { c.Audit = h })
	s.tokens.set(entry(t, "CANARY-T"))
	s.accounts.views = []account.View{{Name: "ops", State: account.StateOK}}
	etag := http.Header{"If-None-Match": {s.tokens.answer.Entry.ETag()}}
	msi := "/msi/token?api-version=2019-08-01&resource=graph"
	for _, tt := range []struct {
		call
		want string // empty: nothing
	}{
		{call{path: graph, key: s.crm}, "issued crm ops graph true"},
		{call{path: graph, key: s.admin}, "issued admin ops graph true"},
		{call{path: graph, key: s.crm, header: etag}, ""}, // 304: the caller has it
		{call{method: http.MethodPost, path: "/v1/token", key: s.crm, body: `{"resource":"graph"}`}, "issued crm ops graph true"},
		{call{path: msi, key: s.crm}, "issued crm ops graph true"},
		{call{method: http.MethodPost, path: "/azd/token?api-version=2023-07-12-preview", key: s.crm, body: `{"scopes":["graph"]}`}, "issued crm ops graph true"},
		{call{path: "/AuthorizationHeader/graph", key: s.crm}, "issued crm ops graph true"},

		{call{path: graph}, `refused nobody unauthenticated "GET /v1/token"`},
		{call{path: graph, key: s.crm + "x"}, `refused nobody unauthenticated "GET /v1/token"`},
		{call{path: "/v1/token?nonsense=1", key: s.crm}, `refused crm invalid-request "GET /v1/token"`},
		{call{path: "/v1/accounts", key: s.crm}, `refused crm denied "GET /v1/accounts"`},
		{call{path: "/v1/accounts/CANARY@contoso.example", key: s.admin}, `refused admin unknown-account "GET /v1/accounts/{account}"`},
		{call{path: "/nowhere/CANARY", key: s.crm}, `refused crm not-found ""`},
		{call{method: http.MethodPut, path: "/v1/accounts", key: s.crm}, `refused crm invalid-request ""`},
		{call{path: msi, key: "brk_wrong"}, `refused nobody unauthenticated "GET /msi/token"`},
		{call{path: "/proxy/graph/CANARY"}, `refused nobody unauthenticated "GET /proxy/{resource}/{path}"`},
		{call{path: graph, key: s.crm, header: http.Header{"Origin": {"https://contoso.example"}}}, `refused nobody denied "gate origin"`},

		{call{method: http.MethodPost, path: "/v1/consumers", key: s.admin, body: `{"name":"new","accounts":["ops"],"resources":["graph"]}`}, "admin did consumer.added new"},
		{call{method: http.MethodPost, path: "/v1/consumers/new/rotate", key: s.admin}, "admin did consumer.rotated new"},
		{call{method: http.MethodDelete, path: "/v1/consumers/new", key: s.admin}, "admin did consumer.removed new"},
		{call{method: http.MethodDelete, path: "/v1/accounts/ops", key: s.admin}, "admin did signout ops"},
	} {
		h.lines, h.id = nil, ""
		res := s.do(tt.call)
		want := []string{tt.want}
		if tt.want == "" {
			want = nil
		}
		if !slices.Equal(h.lines, want) {
			t.Errorf("%s %s: told %q, want %q (status %d)", tt.method, tt.path, h.lines, want, res.StatusCode)
		}
		if tt.want != "" && h.id != res.Header.Get(headerRequestID) {
			t.Errorf("%s: told of request %q, answered as %q", tt.want, h.id, res.Header.Get(headerRequestID))
		}
	}
}
