package sandbox

import (
	"context"
	"crypto/rand"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The one tenant and the one app registration of every sandbox.
const (
	tenantID     = "7e57ab1e-5a9d-4b0c-8e57-c0ffee000001"
	tenantDomain = "contoso.example"
	clientID     = "7e57ab1e-5a9d-4b0c-8e57-c0ffee000002"
	appName      = "M365 Token Broker"
)

// CanaryMarker stands in every secret that a sandbox with Config.Canary mints.
const CanaryMarker = "CANARY"

// inMemoryURL is the authority of a sandbox without a listener (RFC 6761: the
// name .test never resolves).
const inMemoryURL = "https://sandbox.test"

// Config says how a sandbox behaves. The zero Config is Entra as it comes: an
// interval of 5 s, codes valid for 15 min, access tokens valid for 60 to 90 min
// and of realistic size, refresh tokens rotated and never revoked on use.
type Config struct {
	Listen string       // loopback address with port; default "127.0.0.1:0"
	Log    *slog.Logger // requests at level debug; never a secret; nil is silent

	Users       []string // user names beside alice@contoso.example and bob@contoso.example
	AutoApprove bool     // every sign-in is approved at once, as the first user; see ApproveAll

	AccessTokenLifetime time.Duration // zero: random, 60 to 90 min; 24 to 28 h where cp1 is declared
	RefreshIn           time.Duration // "refresh_in" of the answer; zero: absent, but half the lifetime with cp1
	Interval            time.Duration // device code polling; default 5 s
	DeviceCodeLifetime  time.Duration // default 15 min
	SignInFrequency     time.Duration // refresh tokens end so long after the sign-in (AADSTS70043); zero: never
	Latency             time.Duration // added to every answer but pages and control

	Sizes      Sizes
	RevokeUsed bool // a refresh token can be used once; using it again is AADSTS50173
	KeepFamily bool // with RevokeUsed: a reuse refuses that token only, and its descendants live on

	// Canary puts CanaryMarker literally into every access, ID and refresh token,
	// device code, user code and authorization code, so that a test can search
	// for leaks. The signature of a token is then followed by the marker: only
	// the sandbox's own Graph and EWS accept it.
	Canary bool
}

// Sizes are lengths of minted tokens in characters; zero is a realistic random
// size. A token is never shorter than its claims need.
type Sizes struct {
	Access  int // zero: 1,800 to 2,500
	Refresh int // zero: 1,200 to 1,900
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Interval <= 0 {
		c.Interval = 5 * time.Second
	}
	if c.DeviceCodeLifetime <= 0 {
		c.DeviceCodeLifetime = 15 * time.Minute
	}
	return c
}

// Sandbox is a running stand-in. Make one with Start or New.
type Sandbox struct {
	cfg        Config
	log        *slog.Logger
	url        string // https://host:port
	caPEM      []byte
	signer     *signer
	handler    http.Handler
	controlKey string
	pages      *template.Template
	formKey    []byte // keys the form tokens of the pages
	skew       atomic.Int64
	stats      stats

	closed    chan struct{} // closed when the sandbox is to end
	closeOnce sync.Once
	stopped   chan struct{} // closed when the listener is gone; nil without one

	mu    sync.Mutex // guards what follows; never held over I/O
	state state
}

// New makes a sandbox without a listener, reachable through Transport only.
// Close it to end requests that hang on purpose.
func New(cfg Config) (*Sandbox, error) {
	sign, err := newSigner()
	if err != nil {
		return nil, err
	}
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{
		cfg: cfg.withDefaults(), url: inMemoryURL, signer: sign, pages: pages,
		controlKey: "sbk_" + randomText(32), formKey: make([]byte, 32),
		closed: make(chan struct{}),
		state:  newState(),
	}
	_, _ = rand.Read(s.formKey) // never fails: crypto/rand ends the program instead
	s.log = s.cfg.Log
	for _, name := range append([]string{"alice@" + tenantDomain, "bob@" + tenantDomain}, cfg.Users...) {
		if _, err := s.AddUser(name); err != nil {
			return nil, err
		}
	}
	if cfg.AutoApprove {
		s.state.autoApprove = s.state.order[0]
	}
	s.state.frequency = cfg.SignInFrequency
	s.handler = s.routes()
	return s, nil
}

// Start makes a sandbox and serves it on loopback TLS until ctx ends or Close is
// called. It fails where Listen is no loopback address or is in use.
func Start(ctx context.Context, cfg Config) (*Sandbox, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the sandbox: its listener, its connections and every request that
// hangs. It returns when they are gone; a second call does nothing.
func (s *Sandbox) Close() error {
	s.closeOnce.Do(func() { close(s.closed) })
	if s.stopped != nil {
		<-s.stopped
	}
	return nil
}

// URL is the authority, https://host:port, without a path.
func (s *Sandbox) URL() string { return s.url }

// GraphURL is the base URL of the sandbox's Microsoft Graph.
func (s *Sandbox) GraphURL() string { return s.url }

// EWSURL is the base URL of the sandbox's Exchange Web Services.
func (s *Sandbox) EWSURL() string { return s.url }

// CAPEM is the certificate that a client must trust, as PEM; empty without a
// listener.
func (s *Sandbox) CAPEM() []byte { return append([]byte(nil), s.caPEM...) }

// TenantID is the GUID of the one tenant.
func (s *Sandbox) TenantID() string { return tenantID }

// TenantDomain is the domain of the one tenant; its discovery gives the GUID.
func (s *Sandbox) TenantDomain() string { return tenantDomain }

// ClientID is the one app registration.
func (s *Sandbox) ClientID() string { return clientID }

// ControlKey opens the control endpoints under /sandbox/, as "Authorization:
// Bearer <key>" or "X-Sandbox-Key: <key>".
func (s *Sandbox) ControlKey() string { return s.controlKey }

// SetClock moves the sandbox's clock against the machine's: its time stamps and
// its judgement of expiry follow, "expires_in" does not change.
func (s *Sandbox) SetClock(skew time.Duration) { s.skew.Store(int64(skew)) }

// now is the sandbox's time.
func (s *Sandbox) now() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }
