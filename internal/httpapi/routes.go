package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/token"
)

// route is what is to be known of one operation before its handler runs.
type route struct {
	right   right
	query   []string // the parameters it takes
	dialect *dialect // whose protocol it is; nil: ours
}

// routes are the operations by pattern (as in openapi/broker.yaml) and method.
type routes map[string]map[string]route

const tokenPath = "/v1/token"

// newRoutes is who may use what. A test holds it against the document.
func newRoutes(d *dialects) routes {
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	return routes{
		tokenPath:                     {get: {right: anyConsumer, query: []string{"resource", "account", "min_validity", "wait"}}, post: {right: anyConsumer}},
		"/v1/signins":                 {post: {right: adminOnly}},
		"/v1/signins/{id}":            {get: {right: adminOnly, query: []string{"wait"}}, del: {right: adminOnly}},
		"/v1/accounts":                {get: {right: adminOnly}},
		"/v1/accounts/{account}":      {get: {right: adminOnly}, del: {right: adminOnly}},
		"/v1/export":                  {post: {right: adminOnly}},
		importPath:                    {post: {right: adminOnly}},
		"/v1/consumers":               {get: {right: adminOnly}, post: {right: adminOnly}},
		"/v1/consumers/{name}":        {del: {right: adminOnly}},
		"/v1/consumers/{name}/rotate": {post: {right: adminOnly}},
		"/v1/consumers/{name}/renew":  {post: {right: adminOnly}},
		"/v1/mapi":                    {get: {right: anyConsumer}},
		"/v1/mapi/{target}":           {get: {right: anyConsumer}},
		"/v1/mapi/{target}/ensure":    {post: {right: anyConsumer, query: []string{"wait"}}},
		"/v1/mapi/{target}/report":    {post: {right: anyConsumer}},
		"/v1/mapi/{target}/history":   {get: {right: anyConsumer, query: []string{"limit"}}},
		"/v1/mapi/{target}/pause":     {post: {right: adminOnly}},
		"/v1/mapi/{target}/resume":    {post: {right: adminOnly}},
		"/v1/agent/sync":              {post: {right: agentOnly, query: []string{"wait"}}},
		"/v1/status":                  {get: {right: adminOnly}},
		"/v1/ews":                     {get: {right: adminOnly}, del: {right: adminOnly}},
		"/v1/doctor":                  {get: {right: adminOnly, query: []string{"check"}}},
		"/v1/notify/test":             {post: {right: adminOnly}},
		"/v1/ui/tickets":              {post: {right: adminOnly}},
		"/metrics":                    {get: {right: metricsReaders}},
		"/livez":                      {get: {right: anybody}},
		"/readyz":                     {get: {right: anybody}},
		"/openapi.yaml":               {get: {right: anybody}},
		"/openapi.json":               {get: {right: anybody}},

		identityPath:              {get: {right: anyConsumer, query: []string{"resource", "api-version", "client_id", "token_sha256_to_refresh"}, dialect: &d.msi}},
		"/azd/token":              {post: {right: anyConsumer, query: []string{"api-version"}, dialect: &d.azd}},
		sidecarPath + "{api}":     {get: {right: anyConsumer, dialect: &d.sidecar}},
		sidecarOpenPath + "{api}": {get: {right: anybody, dialect: &d.sidecar}}, // its handler looks who it is
		"/healthz":                {get: {right: anybody, dialect: &d.sidecar}},

		proxyPattern: proxied(),
	}
}

// methods lists the methods of a pattern, for Allow (RFC 9110 section 10.2.1).
func (rs routes) methods(pattern string) string {
	var all []string
	for m := range rs[pattern] {
		all = append(all, m)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// enter is echo's one middleware: it runs once the route is known, before its
// handler. Without a key there is no answer, not even that a path is unknown.
func (s *Server) enter(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		pattern := patternOf(c.Path())
		if slices.ContainsFunc(c.ParamValues(), func(v string) bool { return strings.Contains(v, "/") }) {
			pattern = "" // to echo, the last parameter of a path takes all that follows
		}
		rt, known := s.routes[pattern][r.Method]
		off := known && rt.dialect != nil && !s.speaks(rt.dialect)
		if off && rt.dialect.off == nil {
			rt, known = route{}, false
		}
		if known {
			s.setRoute(r.Context(), r.Method+" "+pattern)
		}
		id, err := s.identify(r, rt.right)
		if id != nil {
			r = r.WithContext(withIdentity(r.Context(), id))
			c.SetRequest(r)
		}
		if err != nil {
			return err
		}
		if !known {
			return s.unknownRoute(c, pattern, off)
		}
		if off {
			return rt.dialect.off()
		}
		if err := mayUse(id, rt.right); err != nil {
			return err
		}
		if rt.dialect != nil { // its handler reads them as its protocol wants
			return next(c)
		}
		if err := checkQuery(r.URL.RawQuery, rt.query); err != nil {
			return err
		}
		return next(c)
	}
}

func (s *Server) unknownRoute(c echo.Context, pattern string, off bool) error {
	if allow := s.routes.methods(pattern); allow != "" && !off {
		c.Response().Header().Set("Allow", allow)
		return &statusError{http.StatusMethodNotAllowed, token.NewError(token.KindInvalidRequest, "route", "This path does not take that method; it takes "+allow+".")}
	}
	return token.NewError(token.KindNotFound, "route", "There is no such path; /openapi.yaml has those there are.")
}

// patternOf turns echo's pattern (/v1/signins/:id) into the document's.
func patternOf(path string) string {
	if !strings.Contains(path, ":") {
		return path
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}
