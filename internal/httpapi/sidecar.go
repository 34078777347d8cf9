package httpapi

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file is the token part of the Microsoft Entra SDK for AgentID, the sidecar
// that the Microsoft 365 Agents SDKs ask. Its {api} is a resource here. Upper and
// lower case are the same in its paths and parameters.

// authorizationHeader is AuthorizationHeader of the document.
type authorizationHeader struct {
	AuthorizationHeader string `json:"authorizationHeader"`
}

// The parameters that the sidecar's callers may set, in lower case.
const (
	overridePrefix   = "optionsoverride."
	acquirePrefix    = overridePrefix + "acquiretokenoptions."
	paramScopes      = overridePrefix + "scopes"
	paramAppToken    = overridePrefix + "requestapptoken"
	paramForce       = acquirePrefix + "forcerefresh"
	paramClaims      = acquirePrefix + "claims"
	paramTenant      = acquirePrefix + "tenant"
	paramCorrelation = acquirePrefix + "correlationid"
)

var guidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// sidecarParams are the parameters of a request.
type sidecarParams struct {
	scopes              []string // they must change nothing
	tenant, correlation string
	claims              string
	force               bool
}

// GetAuthorizationHeader answers a client that sends a key.
func (s *Server) GetAuthorizationHeader(c echo.Context) error {
	return s.authorizationHeader(c, identityOf(c.Request().Context()))
}

// GetAuthorizationHeaderUnauthenticated answers a client that sends none: a
// program that broker exec started, or, where the configuration says so, any. A key
// that is sent counts.
func (s *Server) GetAuthorizationHeaderUnauthenticated(c echo.Context) error {
	r := c.Request()
	var id *consumer.Identity
	var err error
	if r.Header["Authorization"] != nil || r.Header["X-Broker-Key"] != nil {
		id, err = s.authenticate(r)
	} else {
		id, err = s.admitUnkeyed(r, s.cfg.Dialects().SidecarUnauthenticated)
	}
	if id != nil {
		r = r.WithContext(withIdentity(r.Context(), id))
		c.SetRequest(r)
	}
	if err != nil {
		return err
	}
	if err := mayUse(id, anyConsumer); err != nil {
		return err
	}
	return s.authorizationHeader(c, id)
}

func (s *Server) authorizationHeader(c echo.Context, id *consumer.Identity) error {
	in, err := parseSidecarQuery(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if in.correlation != "" {
		s.cfg.Log.DebugContext(ctx, "the caller has an ID of its own for a request",
			slog.String("request_id", c.Response().Header().Get(headerRequestID)), slog.String("correlation_id", in.correlation))
	}
	resource := strings.ToLower(c.Param("api"))
	if err := s.areOf(id, resource, in.scopes); err != nil {
		return err
	}
	if len(id.Accounts()) > 1 && !id.Admin {
		return badRequest("Several accounts are possible, and this protocol cannot name one; use the key of a consumer that has one account.")
	}
	a, err := s.foreignToken(ctx, id, token.Request{Key: token.Key{Resource: resource}, Claims: in.claims, Force: in.force})
	if err != nil {
		return err
	}
	if in.tenant != "" && !s.cfg.Names.InTenant(a.Entry.Key().Account, in.tenant) {
		return sidecarRefusal("optionsOverride.AcquireTokenOptions.Tenant", "the account is signed in to another tenant")
	}
	s.issued(c.Response(), id, a)
	tell(c.Response(), http.StatusOK, authorizationHeader{a.Entry.Authorization().Reveal()})
	return nil
}

// areOf refuses scopes that are not the resource's: a token for what the caller
// names cannot be had, and one for something else would go unnoticed. The clients
// that were configured with scopes send them with each request.
func (s *Server) areOf(id *consumer.Identity, resource string, scopes []string) error {
	if len(scopes) == 0 {
		return nil
	}
	if _, err := s.cfg.Names.Resource(id, resource); err != nil {
		return err
	}
	if _, err := s.cfg.Names.Resource(id, append([]string{resource}, scopes...)...); err != nil {
		return sidecarRefusal("optionsOverride.Scopes", "only the scopes that the resource is configured with can be had")
	}
	return nil
}

func sidecarRefusal(name, why string) error {
	return badRequest("The broker does not take the parameter " + name + " with this value: " + why + "; leave it out.")
}

// parseSidecarQuery reads what is honoured, and refuses anything else by its name:
// a caller that sets an option must learn that it has no effect.
func parseSidecarQuery(raw string) (in sidecarParams, err error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return in, badRequest("The query is broken; percent-encode every parameter.")
	}
	all, sent := url.Values{}, map[string]string{}
	for name, values := range q {
		lower := strings.ToLower(name)
		all[lower], sent[lower] = append(all[lower], values...), name
	}
	in.scopes = all[paramScopes]
	delete(all, paramScopes)
	for name, values := range all {
		value, ok := lastOf(values)
		if !ok {
			return in, badRequest("The parameter " + paramName(sent[name]) + " was sent twice, with two values; send it once.")
		}
		if value == "" {
			continue
		}
		if err := in.set(name, value, paramName(sent[name])); err != nil {
			return in, err
		}
	}
	for _, scope := range in.scopes {
		if _, err := text("optionsOverride.Scopes", scope, maxForeign); err != nil {
			return in, err
		}
	}
	return in, nil
}

// set takes one parameter; name is in lower case, sent is for errors.
func (in *sidecarParams) set(name, value, sent string) (err error) {
	switch name {
	case paramForce:
		if in.force, err = strconv.ParseBool(strings.ToLower(value)); err != nil {
			return badRequest("The parameter " + sent + " must be true or false.")
		}
	case paramAppToken:
		if app, err := strconv.ParseBool(strings.ToLower(value)); err != nil || app {
			return badRequest("The parameter " + sent + " can only be false: the broker has the tokens of persons, not of apps.")
		}
	case paramClaims:
		quoted, _ := json.Marshal(value) // a string always marshals
		in.claims, err = parseClaims(quoted)
		return err
	case paramTenant:
		in.tenant, err = text(sent, value, maxTenant)
		return err
	case paramCorrelation:
		if !guidPattern.MatchString(value) {
			return badRequest("The parameter " + sent + " must be a GUID.")
		}
		in.correlation = value
	default:
		return badRequest("The broker does not take the parameter " + sent + "; " + whyNot(name))
	}
	return nil
}

var plainName = regexp.MustCompile(`^[A-Za-z.]{1,80}$`)

// paramName quotes the name of a parameter for an error: in full where it looks
// like one of the sidecar's, which are long.
func paramName(sent string) string {
	if plainName.MatchString(sent) {
		return strconv.Quote(sent)
	}
	return shown(sent)
}

// whyNot is the rest of a sentence about a parameter that is refused.
func whyNot(name string) string {
	switch {
	case strings.HasPrefix(name, "agent"):
		return "an account of the broker is no agent identity, so leave it out."
	case strings.HasPrefix(name, overridePrefix):
		return "what a resource is stands in broker.yaml, so leave it out."
	default:
		return "this path has no such parameter."
	}
}

// GetSidecarHealth answers the sidecar's probe.
func (s *Server) GetSidecarHealth(c echo.Context) error {
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", []byte("Healthy"))
}
