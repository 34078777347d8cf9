package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file is the managed identity of Azure App Service (Microsoft Learn, "How
// to use managed identities for App Service and Azure Functions", REST endpoint
// reference), as the Azure SDKs speak it.

// identityVersion is the first api-version whose answer has this form: before it
// expires_on was a date, or expires_in was needed. Later ones add parameters only.
const identityVersion = "2019-08-01"

// identityRetry is the longest Retry-After, in seconds. An SDK obeys it three times
// before it tells its program anything: with the minute of an authority that cannot
// be reached, azidentity held its caller for minutes. Asking the broker again costs
// nothing: it remembers.
const identityRetry = 5

const maxForeign = 1024 // bytes of a resource or scope, as openapi/broker.yaml states

// identityToken is ManagedIdentityToken of the document. expires_on is a text, and
// there is no expires_in: no other form is read by all SDKs.
type identityToken struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   string `json:"expires_on"`
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	ClientID    string `json:"client_id"`
}

// identityError is ManagedIdentityError of the document.
type identityError struct {
	StatusCode    int    `json:"statusCode"`
	Message       string `json:"message"`
	CorrelationID string `json:"correlationId"`
}

// identityHeader is the key in X-IDENTITY-HEADER.
func identityHeader(h http.Header) (string, error) {
	switch keys := h.Values("X-Identity-Header"); len(keys) {
	case 0:
		return "", token.NewError(token.KindUnauthenticated, "authenticate", "A key is needed; set IDENTITY_HEADER to the key of the consumer, which is sent in X-IDENTITY-HEADER.")
	case 1:
		return strings.TrimSpace(keys[0]), nil
	default:
		return "", badRequest("X-IDENTITY-HEADER was sent twice; send one key, once.")
	}
}

func identityOff() error {
	return token.NewError(token.KindDenied, "route", "The managed identity endpoint is switched off; set dialects.managed_identity to true in broker.yaml, and start the broker again.")
}

// GetManagedIdentityToken answers an Azure SDK.
func (s *Server) GetManagedIdentityToken(c echo.Context) error {
	in, err := parseIdentityQuery(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	id := identityOf(ctx)
	var req token.Request
	if req.Key.Resource, err = s.cfg.Names.Resource(id, in.resource); err != nil {
		return err
	}
	if req.Key.Account, err = s.cfg.Names.Account(id, in.clientID); err != nil {
		return err
	}
	if req.Key.Account == "" && len(id.Accounts()) > 1 {
		return badRequest("Several accounts are possible; name one in client_id: " + strings.Join(id.Accounts(), ", "))
	}
	a, err := s.foreignToken(ctx, id, req)
	if err == nil && isToken(a, in.revoked) {
		req.Force = true
		a, err = s.foreignToken(ctx, id, req)
	}
	if err != nil {
		return err
	}
	s.issued(c.Response(), id, a)
	tell(c.Response(), http.StatusOK, identityToken{
		AccessToken: reveal(a), ExpiresOn: strconv.FormatInt(a.Entry.Token().ExpiresOn.Unix(), 10),
		Resource: in.resource, TokenType: "Bearer", ClientID: s.cfg.Names.ClientID(a.Entry.Key().Account),
	})
	return nil
}

// isToken reports whether a hash is that of the answer's token.
func isToken(a cache.Answer, sha string) bool {
	if sha == "" {
		return false
	}
	sum := sha256.Sum256([]byte(reveal(a)))
	return strings.EqualFold(sha, hex.EncodeToString(sum[:]))
}

// identityParams are the parameters of GET /msi/token.
type identityParams struct {
	resource, clientID string
	// revoked is the SHA-256 of a token that a service refused: how newer SDKs
	// hand on a claims challenge (MSAL, "MSI v1 Token Revocation").
	revoked string
}

// identityRefused are parameters that would give another token than the one that
// is given, if they were ignored like the ones that SDKs add.
var identityRefused = map[string]string{
	"object_id":    "name the account in client_id.",
	"principal_id": "name the account in client_id.",
	"mi_res_id":    "name the account in client_id.",
	"msi_res_id":   "name the account in client_id.",
	"account":      "name the account in client_id.",
	"clientid":     "name the account in client_id.",
	"scope":        "name it in resource.",
	"scopes":       "name it in resource.",
	"claims":       "send claims challenges to POST /v1/token.",
}

func parseIdentityQuery(raw string) (in identityParams, err error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return in, badRequest("The query is broken; percent-encode every parameter.")
	}
	for name := range q {
		if hint, ok := identityRefused[strings.ToLower(name)]; ok {
			return in, badRequest("The broker does not take the parameter " + strings.ToLower(name) + "; " + hint)
		}
	}
	if v := q.Get("api-version"); v != "" && v < identityVersion {
		return in, badRequest("This api-version is not spoken here; use " + identityVersion + ", as the SDKs do where IDENTITY_ENDPOINT and IDENTITY_HEADER are set.")
	}
	for name, p := range map[string]struct {
		to    *string
		limit int
	}{"resource": {&in.resource, maxForeign}, "client_id": {&in.clientID, maxAccount}, "token_sha256_to_refresh": {&in.revoked, maxForeign}} {
		if *p.to, err = foreignText(name, q[name], p.limit); err != nil {
			return in, err
		}
	}
	if in.resource == "" {
		return in, badRequest("The parameter resource is missing; name a resource by its audience, for example https://graph.microsoft.com.")
	}
	return in, nil
}

// foreignText checks a parameter of a dialect. One that is empty is as if it was
// not sent: SDKs send those.
func foreignText(name string, values []string, limit int) (string, error) {
	v, ok := lastOf(values)
	switch {
	case !ok:
		return "", badRequest("The parameter " + name + " was sent twice, with two values; send it once.")
	case v == "":
		return "", nil
	}
	return text(name, v, limit)
}

// failIdentity says what went wrong as App Service does. The status decides what
// an SDK does: it tries 404, 408, 429 and 5xx again, four to six times over up to
// 20 s, and gives up at once with 400, 401 and 403. So only what passes by itself
// is 429 or 503.
func (s *Server) failIdentity(w http.ResponseWriter, r *http.Request, err error) {
	p := s.note(w, r, err)
	status, message := identityStatus(p), p.Detail
	if is(p, token.KindNotFound) {
		message = "There is no such path; IDENTITY_ENDPOINT must be the address of /msi/token."
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(min(max(1, p.RetryAfter), identityRetry)))
	}
	tell(w, status, identityError{StatusCode: status, Message: oneLine(message), CorrelationID: p.Instance})
}

// identityStatus is the status of an error whose problem document would be p.
func identityStatus(p Problem) int {
	switch {
	case is(p, token.KindSignInPending): // a person takes longer than the SDK's attempts
		return http.StatusBadRequest
	case is(p, token.KindRateLimited):
		return http.StatusTooManyRequests
	case p.Retryable, is(p, token.KindInternal): // of a defect nobody knows whether it lasts
		return http.StatusServiceUnavailable
	case p.Status == http.StatusUnauthorized, p.Status == http.StatusForbidden, p.Status == http.StatusMethodNotAllowed:
		return p.Status
	default:
		return http.StatusBadRequest
	}
}
