package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// The variables of the environment that FromEnvironment reads. broker exec sets
// them.
const (
	EnvURL = "BROKER_URL" // for example http://127.0.0.1:8477
	EnvKey = "BROKER_KEY" // the consumer's key, brk_…
)

const (
	defaultMaxWait = 30 * time.Second
	// closeToEnd is the time to expiry below which the broker is asked for a newer
	// token. It renews tokens earlier than that, so it has one by then.
	closeToEnd = 5 * time.Minute
	// lastResort is the time to expiry that a token must have to be given where the
	// broker has none to give.
	lastResort = time.Minute
	// longestAnswer is how long one answer may take: the broker itself gives up on
	// Microsoft Entra ID sooner.
	longestAnswer = 30 * time.Second
)

// Options say where the broker is and who is asking.
type Options struct {
	// URL is the broker's address, for example http://127.0.0.1:8477. It must be
	// one of this machine.
	URL string
	// Key is the consumer's key, as broker consumers add printed it.
	Key string
	// HTTPClient sends the requests; nil: one that goes through no proxy. It must
	// follow no redirects, and may reach the broker over a Unix socket or a pipe.
	HTTPClient *http.Client
	// MaxWait bounds how long one call of Token tries again while the broker is not
	// there or asks to slow down; zero: 30 s. Negative: it tries once.
	MaxWait time.Duration
}

// String shows the options without the key.
func (o Options) String() string { return "client.Options{URL: " + o.URL + ", Key: [hidden]}" }

// GoString is String, for %#v.
func (o Options) GoString() string { return o.String() }

// LogValue is String, for slog.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// Request says which token is wanted.
type Request struct {
	// Resource is the name of a resource that the broker is configured with, for
	// example graph or ews.
	Resource string
	// Account is an alias or a user name. It may be left out where the consumer may
	// use exactly one account.
	Account string
	// MinValidity is the wanted time to expiry, in whole seconds; zero: what the
	// broker thinks right, which is enough for a request of some minutes.
	MinValidity time.Duration
	// Claims is a claims challenge, as the WWW-Authenticate header of a service has
	// it: JSON or its base64. It is redeemed past every cache, and never kept.
	Claims string
	// ForceRefresh asks for a new token although there is one. The broker limits how
	// often.
	ForceRefresh bool
}

// key names the tokens that a request may be answered with.
func (r Request) key() Request { return Request{Resource: r.Resource, Account: r.Account} }

// Client asks one broker with one key. It is safe for concurrent use.
type Client struct {
	base    string // without a slash at the end
	key     func() string
	http    *http.Client
	maxWait time.Duration

	mu      sync.Mutex // guards what follows; never held over I/O
	tokens  map[Request]Token
	flights map[Request]*flight
}

// New makes a Client. It does not call the broker.
func New(o Options) (*Client, error) {
	base, err := checkURL(o.URL)
	if err != nil {
		return nil, err
	}
	key := strings.TrimSpace(o.Key)
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("client: Key must be the key of a consumer, as broker consumers add printed it")
	}
	c := &Client{
		base: base, key: func() string { return key }, http: o.HTTPClient, maxWait: cmp.Or(o.MaxWait, defaultMaxWait),
		tokens: map[Request]Token{}, flights: map[Request]*flight{},
	}
	if c.http == nil {
		c.http = direct()
	}
	return c, nil
}

// FromEnvironment makes a Client from BROKER_URL and BROKER_KEY, which broker exec
// sets.
func FromEnvironment() (*Client, error) {
	o := Options{URL: os.Getenv(EnvURL), Key: os.Getenv(EnvKey)} //nolint:forbidigo // this runs in other programs, and is asked to
	if o.URL == "" || o.Key == "" {
		return nil, fmt.Errorf("client: %s and %s are not both set; start this program with broker exec, or set them", EnvURL, EnvKey)
	}
	return New(o)
}

// checkURL gives the base URL, or says why it cannot be the broker's: the key must
// not leave this machine.
func checkURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("client: URL must be the address of the broker, for example http://127.0.0.1:8477")
	case !isLocal(u.Hostname()):
		return "", errors.New("client: URL must be an address of this machine: the broker listens on loopback only, and its keys must not leave the machine")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || (err == nil && ip.Unmap().IsLoopback())
}

// direct is an HTTP client that goes through no proxy and follows no redirect.
func direct() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Token gives a current token. It obeys ctx. Errors are of type
// *SignInRequiredError or *Error where the broker answered, and wrap the cause
// where it did not.
func (c *Client) Token(ctx context.Context, r Request) (Token, error) {
	if r.Resource == "" {
		return Token{}, errors.New("client: Resource is missing; name a resource that the broker is configured with, for example graph")
	}
	if r.Claims == "" && !r.ForceRefresh {
		if t, ok := c.kept(r); ok {
			return t, nil
		}
	}
	t, err := c.share(ctx, r)
	if err == nil {
		return t, nil
	}
	if old, ok := c.stillGood(r, err); ok {
		return old, nil
	}
	return Token{}, err
}

// Forget drops the tokens that are held in memory, for example after the broker was
// told to sign an account out.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tokens)
}

// kept is the token in memory where it is good enough.
func (c *Client) kept(r Request) (Token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tokens[r.key()]
	return t, ok && time.Until(t.ExpiresOn) > max(closeToEnd, r.MinValidity)
}

// stillGood is the token in memory where the broker cannot give a newer one for a
// reason that passes by itself.
func (c *Client) stillGood(r Request, err error) (Token, bool) {
	if r.Claims != "" || r.ForceRefresh {
		return Token{}, false
	}
	if e, ok := errors.AsType[*Error](err); ok && !e.Retryable {
		return Token{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tokens[r.key()]
	return t, ok && time.Until(t.ExpiresOn) > max(lastResort, r.MinValidity)
}

// keep holds a token in memory.
func (c *Client) keep(r Request, t Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.tokens[r.key()]; !t.ExpiresOn.Before(old.ExpiresOn) || r.Claims != "" || r.ForceRefresh {
		c.tokens[r.key()] = t
	}
}
