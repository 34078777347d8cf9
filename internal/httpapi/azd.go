package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/token"
)

// This file is the external authentication of the Azure Developer CLI (azure-dev,
// cli/azd/docs/external-authentication.md). Every answer has the status 200: to azd
// another one is a defect, and it shows nothing of what such an answer says.

// azdRequest is AZDRequest of the document. Members that are not known are a newer
// azd's, and are ignored.
type azdRequest struct {
	Scopes   []string `json:"scopes"`
	TenantID string   `json:"tenantId"`
}

// azdAnswer is AZDAnswer of the document.
type azdAnswer struct {
	Status    string     `json:"status"`
	Token     string     `json:"token,omitempty"`
	ExpiresOn *time.Time `json:"expiresOn,omitempty"`
	Code      string     `json:"code,omitempty"`
	Message   string     `json:"message,omitempty"`
}

const (
	maxScopes = 16
	maxTenant = 256
)

// PostAZDToken answers azd.
func (s *Server) PostAZDToken(c echo.Context) error {
	in, err := s.readAZD(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	id := identityOf(ctx)
	resource, err := s.cfg.Names.Resource(id, in.Scopes...)
	if err != nil {
		return err
	}
	if !id.Admin && len(id.Accounts()) > 1 {
		return badRequest("Several accounts are possible, and azd cannot name one; use the key of a consumer that has one account.")
	}
	a, err := s.foreignToken(ctx, id, token.Request{Key: token.Key{Resource: resource}})
	if err != nil {
		return err
	}
	if !s.isTenantOf(a.Entry.Key().Account, in.TenantID) {
		return badRequest("The account is not signed in to the tenant that azd asks for; set AZURE_TENANT_ID to the tenant of the account, or leave it out.")
	}
	expires := time.Unix(a.Entry.Token().ExpiresOn.Unix(), 0).UTC()
	s.issued(c.Response(), id, a)
	tell(c.Response(), http.StatusOK, azdAnswer{Status: "success", Token: reveal(a), ExpiresOn: &expires})
	return nil
}

// isTenantOf reports whether a tenant that azd names is the account's. The names
// that stand for any tenant are.
func (s *Server) isTenantOf(account, tenant string) bool {
	anyTenant := []string{"", "common", "organizations"}
	return slices.Contains(anyTenant, strings.ToLower(tenant)) || s.cfg.Names.InTenant(account, tenant)
}

func (s *Server) readAZD(c echo.Context) (in azdRequest, err error) {
	raw, err := s.readBody(c.Response(), c.Request())
	if err != nil {
		return in, err
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return in, badRequest(`The body is not a request of azd; send {"scopes":["https://graph.microsoft.com/.default"]}.`)
	}
	switch {
	case len(in.Scopes) == 0:
		return in, badRequest("The member scopes is missing; name a resource, for example https://graph.microsoft.com/.default.")
	case len(in.Scopes) > maxScopes:
		return in, badRequest("The member scopes has too many entries: it may hold 16.")
	case len(in.TenantID) > maxTenant:
		return in, badRequest("The member tenantId is too long: it may hold 256 characters.")
	}
	for _, scope := range in.Scopes {
		if _, err := text("scopes", scope, maxForeign); err != nil {
			return in, err
		}
	}
	return in, nil
}

// failAZD says what went wrong as azd expects it. NotSignedInError is where a
// person must sign in.
func (s *Server) failAZD(w http.ResponseWriter, r *http.Request, err error) {
	p := s.note(w, r, err)
	out := azdAnswer{Status: "error", Code: "GetTokenError", Message: oneLine(p.Detail)}
	if p.UserAction == ProblemUserActionSignIn {
		out.Code = "NotSignedInError"
	}
	tell(w, http.StatusOK, out)
}
