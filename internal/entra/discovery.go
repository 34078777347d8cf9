package entra

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/m365-token-broker/broker/internal/token"
)

// discoveryAge is how long a discovery document is used before it is read
// again. An old one goes on being used where that fails.
const discoveryAge = 24 * time.Hour

// endpoints are the addresses of one tenant of one authority, all of them at
// the authority's own host.
type endpoints struct {
	host          string
	issuer        string
	authorization string
	token         string
	device        string
	readOn        time.Time
}

// directory reads discovery documents and remembers the good ones. It answers
// MSAL's own discovery too, which would otherwise be made once per account, on
// the first caller's context, and without a check of the token endpoint's host.
type directory struct {
	wire  *wire
	group singleflight.Group

	mu   sync.Mutex // guards docs, never held over I/O
	docs map[string]endpoints
}

// lookup gives the endpoints of app, from memory where they are known. One
// request runs at a time per authority, on a context that outlives its first
// caller; every caller obeys its own.
func (d *directory) lookup(ctx context.Context, app token.App) (endpoints, error) {
	key := authorityURL(app)
	known, ok := d.known(key)
	if ok && time.Since(known.readOn) < discoveryAge {
		return known, nil
	}
	own := context.WithoutCancel(ctx)
	result := d.group.DoChan(key, func() (any, error) {
		e, problem := d.read(own, app)
		if problem != nil {
			return endpoints{}, problem
		}
		d.mu.Lock()
		d.docs[key] = e
		d.mu.Unlock()
		return e, nil
	})
	select {
	case r := <-result:
		if r.Err != nil && ok {
			return known, nil
		}
		if r.Err != nil {
			e := *token.AsError(r.Err) // a copy: the original goes to every waiter
			return endpoints{}, &e
		}
		e, _ := r.Val.(endpoints)
		return e, nil
	case <-ctx.Done():
		e := *token.AsError(ctx.Err())
		e.Op = stepDiscovery.op()
		return endpoints{}, &e
	}
}

// known gives the remembered endpoints.
func (d *directory) known(key string) (endpoints, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.docs[key]
	return e, ok
}

// read fetches and checks one discovery document (OpenID Connect Discovery 1.0
// section 4).
func (d *directory) read(ctx context.Context, app token.App) (endpoints, *token.Error) {
	host := authorityHost(app)
	body, rec, problem := d.wire.send(ctx, request{
		step: stepDiscovery, host: host,
		url:    authorityURL(app) + "v2.0/.well-known/openid-configuration",
		header: http.Header{"Client-Request-Id": {uuid.NewString()}},
	})
	if problem != nil {
		return endpoints{}, discoveryProblem(problem)
	}
	e, err := parseDiscovery(body, host, strings.ToLower(app.Tenant))
	if err != nil {
		p := rec.problem(stepDiscovery, host)
		p.Err = err
		if isObject(body) {
			p.Detail = fmt.Sprintf("The discovery document of %s cannot be used: %v. Check authority and tenant in the configuration.", host, err)
		}
		return endpoints{}, p
	}
	e.readOn = time.Now()
	return e, nil
}

// discoveryProblem makes a refused discovery document a matter of the
// configuration: there is no sign-in in that request, only a host and a tenant.
func discoveryProblem(e *token.Error) *token.Error {
	if e.Kind == token.KindSignInRequired || e.Kind == token.KindDeclined || (e.Kind == token.KindInvalid && e.Status == http.StatusNotFound) {
		e.Kind = token.KindConfiguration
	}
	return e
}

// parseDiscovery reads a discovery document and holds it to the authority: the
// endpoints must be https at the same host, the issuer there or at Microsoft.
func parseDiscovery(body []byte, host, tenant string) (endpoints, error) {
	var w struct {
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
		Device        string `json:"device_authorization_endpoint"`
	}
	if !isObject(body) || json.Unmarshal(body, &w) != nil {
		return endpoints{}, errNotJSON
	}
	if w.Issuer == "" || w.Authorization == "" || w.Token == "" {
		return endpoints{}, errNoEndpoints
	}
	fill := strings.NewReplacer("{tenant}", tenant)
	e := endpoints{
		host: host, issuer: fill.Replace(w.Issuer),
		authorization: fill.Replace(w.Authorization), token: fill.Replace(w.Token), device: fill.Replace(w.Device),
	}
	if e.device == "" {
		e.device = deviceEndpoint(e.token)
	}
	issuer, err := url.Parse(e.issuer)
	if err != nil || issuer.Scheme != "https" || (!equalHost(issuer.Host, host) && !slices.Contains(issuerHosts(), strings.ToLower(issuer.Host))) {
		return endpoints{}, fmt.Errorf("its issuer is at another host (%q)", hostOf(issuer))
	}
	for _, at := range []struct{ name, url string }{
		{"authorization_endpoint", e.authorization}, {"token_endpoint", e.token}, {"device_authorization_endpoint", e.device},
	} {
		if u, err := url.Parse(at.url); err != nil || !sameHost(u, host) {
			return endpoints{}, fmt.Errorf("its %s is not https at the authority's own host (%q)", at.name, hostOf(u))
		}
	}
	return e, nil
}

// deviceEndpoint is where Entra takes device authorizations: beside the token
// endpoint. MSAL replaces every "token" in the address, tenant and host
// included; here only the last segment changes.
func deviceEndpoint(tokenEndpoint string) string {
	u, err := url.Parse(tokenEndpoint)
	if err != nil {
		return ""
	}
	u.Path = path.Join(path.Dir(u.Path), "devicecode")
	u.RawPath = ""
	return u.String()
}

// hostOf is the host of u for an error message.
func hostOf(u *url.URL) string {
	if u == nil {
		return ""
	}
	return printable(u.Host, 100)
}

// tenantOf finds the tenant's GUID in an issuer: its first path segment.
func tenantOf(issuer string) (string, bool) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return strings.ToLower(first), isGUID(first)
}
