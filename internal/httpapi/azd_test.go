package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

const azdPath = "/azd/token?api-version=2023-07-12-preview"

func TestAZDRequests(t *testing.T) {
	tests := []struct{ name, body, want string }{ // want is part of the message; empty: a token
		{"as azd asks", `{"scopes":["https://graph.microsoft.com/.default"],"tenantId":"` + strings.ToUpper(testTenant) + `"}`, ""},
		{"no tenant", `{"scopes":["https://graph.microsoft.com/.default"]}`, ""},
		{"empty tenant", `{"scopes":["graph"],"tenantId":""}`, ""},
		{"any tenant", `{"scopes":["graph"],"tenantId":"organizations"}`, ""},
		{"two of one resource", `{"scopes":["https://graph.microsoft.com","https://graph.microsoft.com/.default"]}`, ""},
		{"members of a newer azd", `{"scopes":["graph"],"claims":null,"x":[1]}`, ""},
		{"scope", `{"scopes":["https://outlook.office365.com/EWS.AccessAsUser.All"]}`, ""},
		{"two resources", `{"scopes":["graph","ews"]}`, "no such resource"},
		{"unknown", `{"scopes":["https://management.azure.com//.default"]}`, "no such resource"},
		{"no scopes", `{}`, "scopes is missing"},
		{"empty list", `{"scopes":[]}`, "scopes is missing"},
		{"empty scope", `{"scopes":[""]}`, "scopes is empty"},
		{"many scopes", `{"scopes":["graph"` + strings.Repeat(`,"graph"`, maxScopes) + `]}`, "too many"},
		{"long scope", `{"scopes":["` + strings.Repeat("a", maxForeign+1) + `"]}`, "too long"},
		{"long tenant", `{"scopes":["graph"],"tenantId":"` + strings.Repeat("a", maxTenant+1) + `"}`, "tenantId is too long"},
		{"another tenant", `{"scopes":["graph"],"tenantId":"99999999-2222-3333-4444-555555555555"}`, "AZURE_TENANT_ID"},
		{"no JSON", `scopes=graph`, "not a request of azd"},
		{"other types", `{"scopes":"graph"}`, "not a request of azd"},
		{"large", `{"scopes":["graph"],"x":"` + strings.Repeat("a", maxBody) + `"}`, "64 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log := &noted{}
			s := newStack(t, func(c *Config) { c.Audit = log })
			s.tokens.set(entry(t, "CANARY-1"))
			res := s.do(call{method: http.MethodPost, path: azdPath, key: s.crm, body: tt.body})
			if tt.name == "large" { // the gate's
				s.problem(res, http.StatusRequestEntityTooLarge, token.KindInvalidRequest)
				return
			}
			got := want[azdAnswer](s, res, http.StatusOK)
			if tt.want == "" {
				if got.Status != "success" || got.Token != "CANARY-1" || got.ExpiresOn == nil || got.ExpiresOn.Location().String() != "UTC" || len(log.issued) != 1 {
					t.Errorf("answer %+v, issued %q", got, log.issued)
				}
				return
			}
			if got.Status != "error" || got.Code != "GetTokenError" || !strings.Contains(got.Message, tt.want) || got.Token != "" || len(log.issued) > 0 {
				t.Errorf("answer %+v, want %q; issued %q", got, tt.want, log.issued)
			}
		})
	}
}

func FuzzAZD(f *testing.F) {
	for _, b := range []string{"{}", `{"scopes":["graph"]}`, `{"scopes":["\u0000"]}`, `[`, `null`, `{"scopes":["graph"],"tenantId":"x"}`} {
		f.Add(b)
	}
	s := newStack(f)
	s.tokens.set(entry(f, "CANARY"))
	f.Fuzz(func(t *testing.T, body string) {
		s.t = t
		if len(body) > maxBody {
			return
		}
		want[azdAnswer](s, s.do(call{method: http.MethodPost, path: azdPath, key: s.crm, body: body}), http.StatusOK)
	})
}
