package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/m365-token-broker/broker/internal/token"
)

// discoveryAge is how long a discovery document is used before it is read again.
// An old one goes on being used meanwhile, and where that fails;
// discoveryPause is then the time to the next attempt.
const (
	discoveryAge   = 24 * time.Hour
	discoveryPause = time.Minute
)

// endpoints are the addresses of one tenant of one authority, all of them at
// the authority's own host.
type endpoints struct {
	host          string
	issuer        string
	authorization string
	token         string
	device        string
	cloud         string // cloud_instance_name: where the tenant lives; empty: not said
}

// directory reads discovery documents and remembers the good ones. It answers
// MSAL's own discovery too, which would otherwise be made once per account, on
// the first caller's context, and without a check of the token endpoint's host.
type directory struct {
	wire *wire

	mu      sync.Mutex // guards what follows, never held over I/O
	docs    map[string]known
	reading map[string]*reading // by the same key: one at a time
	closed  bool
	running sync.WaitGroup // the goroutines of reading
}

// known is a document that was read.
type known struct {
	ends    endpoints
	renewOn time.Time
}

// reading is one request for a document that is under way. Its outcome may be
// looked at once done is closed.
type reading struct {
	cancel  context.CancelFunc
	done    chan struct{}
	ends    endpoints
	problem *token.Error
}

// lookup gives the endpoints of app, from memory where they are known. Old ones
// are given at once too, and renewed beside, so that nobody waits for an
// authority whose discovery hangs. One request runs at a time per authority, on
// a context that outlives its first caller; every caller obeys its own.
func (d *directory) lookup(ctx context.Context, app token.App) (endpoints, error) {
	key := authorityURL(app)
	d.mu.Lock()
	doc, ok := d.docs[key]
	if ok && (d.closed || time.Now().Before(doc.renewOn)) {
		d.mu.Unlock()
		return doc.ends, nil
	}
	r := d.startLocked(ctx, key, app)
	d.mu.Unlock()
	if ok {
		return doc.ends, nil
	}
	select {
	case <-r.done:
		if r.problem != nil {
			e := *r.problem // a copy: the original goes to every waiter
			return endpoints{}, &e
		}
		return r.ends, nil
	case <-ctx.Done():
		e := *token.AsError(ctx.Err())
		e.Op = stepDiscovery.op()
		return endpoints{}, &e
	}
}

// startLocked starts to read a document, or joins the reading that runs. The
// wire's time limit and close end it. Call it with mu held.
func (d *directory) startLocked(ctx context.Context, key string, app token.App) *reading {
	if r := d.reading[key]; r != nil {
		return r
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &reading{cancel: cancel, done: make(chan struct{})}
	if d.closed {
		cancel()
		r.problem = token.NewError(token.KindCancelled, stepDiscovery.op(), "The broker is stopping; try again when it is back.")
		close(r.done)
		return r
	}
	d.reading[key] = r
	d.running.Go(func() {
		defer cancel()
		r.ends, r.problem = d.read(own, app)
		d.finish(key, r)
	})
	return r
}

// finish keeps what a reading brought and lets its waiters go on.
func (d *directory) finish(key string, r *reading) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.reading, key)
	if r.problem == nil {
		d.docs[key] = known{ends: r.ends, renewOn: time.Now().Add(discoveryAge)}
	} else if doc, ok := d.docs[key]; ok {
		doc.renewOn = time.Now().Add(discoveryPause)
		d.docs[key] = doc
	}
	close(r.done)
}

// close ends the readings that run and waits for them.
func (d *directory) close() {
	d.mu.Lock()
	d.closed = true
	for _, r := range d.reading {
		r.cancel()
	}
	d.mu.Unlock()
	d.running.Wait()
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
		switch {
		case errors.Is(err, errOtherCloud):
			p.Kind, p.Detail = token.KindConfiguration, helpWrongCloud
		case isObject(body):
			p.Detail = fmt.Sprintf("The discovery document of %s cannot be used: %v. Check authority and tenant in the configuration.", host, err)
		}
		return endpoints{}, p
	}
	return e, nil
}

// errOtherCloud is for a tenant that another of Microsoft's login hosts serves.
var errOtherCloud = errors.New("the tenant's endpoints are at another cloud's login host")

// Tenant is what the authority says of a tenant.
type Tenant struct {
	ID    string // its GUID; empty: the authority does not say
	Cloud string // where it lives, for example microsoftonline.us; empty: not said
}

// Discover reads the discovery document of app's tenant anew, past what is known.
func (c *Client) Discover(ctx context.Context, app token.App) (Tenant, error) {
	if err := c.checkApp(stepDiscovery.op(), app); err != nil {
		return Tenant{}, err
	}
	e, problem := c.directory.read(ctx, app)
	if problem != nil {
		return Tenant{}, problem
	}
	t := Tenant{Cloud: e.cloud}
	if guid, ok := tenantOf(e.issuer); ok {
		t.ID = guid
	}
	return t, nil
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
		Cloud         string `json:"cloud_instance_name"`
	}
	if !isObject(body) || json.Unmarshal(body, &w) != nil {
		return endpoints{}, errNotJSON
	}
	if u, err := url.Parse(w.Token); err == nil && slices.Contains(loginHosts(), host) && !equalHost(u.Host, host) && slices.Contains(loginHosts(), strings.ToLower(u.Host)) {
		return endpoints{}, errOtherCloud
	}
	if w.Issuer == "" || w.Authorization == "" || w.Token == "" {
		return endpoints{}, errNoEndpoints
	}
	fill := strings.NewReplacer("{tenant}", tenant)
	e := endpoints{
		host: host, issuer: fill.Replace(w.Issuer),
		authorization: fill.Replace(w.Authorization), token: fill.Replace(w.Token), device: fill.Replace(w.Device),
		cloud: printable(strings.ToLower(w.Cloud), 64),
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
