package entra

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/m365-token-broker/broker/internal/token"
)

// Config is what a Client is made with. The zero value works for Microsoft's
// own clouds.
type Config struct {
	// Hosts are authority hosts (host[:port]) allowed besides the login hosts of
	// Microsoft's clouds: the configured authority, if there is one.
	Hosts []string
	// Roots are the root certificates to trust; nil means the platform's. See Roots.
	Roots *x509.CertPool
	// Proxy chooses the proxy; nil means HTTPS_PROXY and NO_PROXY. See Proxy.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout bounds one request to the authority, its body included; zero means 15 s.
	Timeout time.Duration
	// Transport wraps the way out, for telemetry; nil means as it is. It sees
	// requests with secrets in their bodies, and must not keep them.
	Transport func(http.RoundTripper) http.RoundTripper
	// Log takes one debug line per request and warnings; nil means none.
	Log *slog.Logger
}

// Defaults of Config.
const defaultTimeout = 15 * time.Second

// Client speaks to the authorities. It keeps no account and no token; it is
// safe for concurrent use. Every call makes an MSAL client of its own, so that
// no two accounts, and no two calls, ever share MSAL's memory.
type Client struct {
	hosts     []string
	transport *http.Transport
	wire      *wire
	directory *directory
	names     *grantNames
}

// New makes a Client. It does no network I/O.
func New(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{hosts: loginHosts(), transport: newTransport(cfg)}
	for _, h := range cfg.Hosts {
		c.hosts = append(c.hosts, strings.ToLower(h))
	}
	way := http.RoundTripper(c.transport)
	if cfg.Transport != nil {
		way = cfg.Transport(way)
	}
	c.wire = &wire{transport: way, timeout: cfg.Timeout, log: cfg.Log}
	c.directory = &directory{wire: c.wire, docs: make(map[string]known), reading: make(map[string]*reading)}
	c.names = &grantNames{known: make(map[string]string)}
	return c
}

// Close ends the discovery requests that run beside their callers, waits for
// them, and drops idle connections. Nothing is to be asked afterwards.
func (c *Client) Close() {
	c.directory.close()
	c.transport.CloseIdleConnections()
}

// Warm reads the authority's discovery document ahead of the first use.
func (c *Client) Warm(ctx context.Context, app token.App) error {
	_, err := c.open(ctx, app)
	return err
}

// ResolveTenant gives app with its tenant as a GUID. A tenant that is one
// already is not looked up; one for which the authority knows no GUID keeps its
// name. With an error app comes back as it was.
func (c *Client) ResolveTenant(ctx context.Context, app token.App) (token.App, error) {
	if err := c.checkApp(stepDiscovery.op(), app); err != nil {
		return app, err
	}
	if isGUID(app.Tenant) {
		app.Tenant = strings.ToLower(app.Tenant)
		return app, nil
	}
	s, err := c.open(ctx, app)
	if err != nil {
		return app, err
	}
	if guid, ok := tenantOf(s.ends.issuer); ok {
		app.Tenant = guid
	}
	return app, nil
}

// open checks app and gives the seam to its authority.
func (c *Client) open(ctx context.Context, app token.App) (*seam, error) {
	if err := c.checkApp(stepDiscovery.op(), app); err != nil {
		return nil, err
	}
	ends, err := c.directory.lookup(ctx, app)
	if err != nil {
		return nil, err
	}
	return &seam{wire: c.wire, ends: ends, names: c.names}, nil
}

// msal makes the MSAL client of one call. Instance discovery stays off: the
// allow-list of hosts is ours, and it would ask Microsoft about private hosts.
func (s *seam) msal(app token.App, opts ...public.Option) (public.Client, error) {
	opts = append(opts, public.WithAuthority(authorityURL(app)), public.WithInstanceDiscovery(false), public.WithHTTPClient(s))
	client, err := public.New(app.ClientID, opts...)
	if err != nil {
		return public.Client{}, token.NewError(token.KindConfiguration, "prepare MSAL", "authority and tenant do not make an address that MSAL accepts; check both in the configuration.")
	}
	return client, nil
}

// failure is why a call brought nothing: what the authority said, else what
// ctx says, else that MSAL's own loopback port was called by another (a browser
// was sent away, and no answer came of it), else a defect, since MSAL refused
// before it asked anybody.
func (o *outcome) failure(ctx context.Context) *token.Error {
	switch {
	case o.problem != nil:
		return o.problem
	case ctx.Err() != nil:
		e := token.AsError(ctx.Err())
		e.Op = o.step.op()
		return e
	case o.step == stepBrowser && o.redirect != "":
		return token.NewError(token.KindCancelled, o.step.op(), "Something on this machine ended the browser sign-in before it was finished; start it again.")
	}
	return token.NewError(token.KindInternal, o.step.op(), "MSAL refused the request before it was sent; please report this with the broker's version.")
}
