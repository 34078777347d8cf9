// Package httpapi is the loopback API: the gate, the authentication and the
// routes of openapi/broker.yaml.
//
// The way of a request is gate.go (is this a program of this machine?), auth.go
// (which one, and may it use this route?), then the handler. Every error leaves
// through problems.go. The generated server (api.gen.go) is echo's; only GET
// /v1/token, the hot path, is written by hand and stands before it (tokens.go).
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config ../../openapi/oapi-codegen.yaml ../../openapi/broker.yaml

// Tokens gives tokens to consumers. The names in a request's key are as the
// caller sent them, empty where it sent none; resolving them and the policy is
// the implementation's.
type Tokens interface {
	// Token gives a current token.
	Token(ctx context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error)
	// Changed waits until there is another token than that with the entity tag,
	// and gives it; it ends with ctx.
	Changed(ctx context.Context, id *consumer.Identity, req token.Request, etag string) (cache.Answer, error)
}

// Accounts shows the signed-in accounts and signs them out. An account that is
// not there is an error of KindUnknownAccount.
type Accounts interface {
	Accounts() []account.View
	Account(name string) (account.View, error)
	SignOut(ctx context.Context, name string) error
}

// SignIns runs the sign-ins of persons. One that is not there is an error of
// KindNotFound.
type SignIns interface {
	// Start begins a sign-in, or finds the pending one of this account
	// (created is false then). Empty names mean any account and any resource.
	Start(ctx context.Context, account string, flow token.Flow, resource string) (v signin.View, created bool, err error)
	SignIn(id string) (signin.View, error)
	// Wait gives the view once the sign-in has ended; it ends with ctx, and may
	// then give the view as it is.
	Wait(ctx context.Context, id string) (signin.View, error)
	Cancel(id string) (signin.View, error)
}

// Config is what a Server needs. Everything is required, but for what says so.
type Config struct {
	// Listen are the addresses (host:port) that the server is reached at. A
	// request's Host must be one of them, or localhost with the same port.
	Listen    []string
	Tokens    Tokens
	Accounts  Accounts
	SignIns   SignIns
	Consumers *consumer.Registry
	// Outlook is the Outlook fallback; nil: no target is configured.
	Outlook Outlook
	// AgentUser is the SID of the account at the other end of an Outlook agent's
	// connection, whose addresses these are; empty where the system does not tell.
	// nil: nobody looks.
	AgentUser func(ctx context.Context, local, remote netip.AddrPort) string
	// Status says what is true now; the server adds accounts, consumers, Outlook
	// targets and uptime.
	Status func(ctx context.Context) Status
	// Ready are the checks of /readyz; their details name no account.
	Ready func(ctx context.Context) []Check
	// Dialects says which foreign protocols are spoken; nil: none.
	Dialects func() config.Dialects
	// Names finds the configured resource that a dialect's caller means; required
	// where a dialect is spoken.
	Names Names
	// Proxy sends requests on to the resources; nil: there is none.
	Proxy Proxy
	// EWSUsage is what the proxy counted of Exchange Web Services; nil: nothing.
	EWSUsage func() EWSUsage
	// EWSReset begins that counting anew; nil: there is nothing to begin.
	EWSReset func() error
	// NotifyTest sends a test event to everybody who is told; nil: nobody is.
	NotifyTest func(ctx context.Context) []NotifyOutcome
	// Backup exports and imports sign-ins; nil: nobody can.
	Backup Backup
	// Audit is told who got what, and who was refused; nil: nobody.
	Audit Audit
	// Peer finds the process at the other end of a connection; nil: nobody looks,
	// and consumers that are tied to a process are refused.
	Peer func(c net.Conn) consumer.Peer
	// Doctor is what the broker finds when it looks at itself, only at what is
	// named; no name is all. nil: nothing.
	Doctor func(ctx context.Context, only []string) []DoctorCheck
	Log    *slog.Logger

	// Metrics answers /metrics; nil: metrics are off.
	Metrics http.Handler
	// GateRefused counts a request that the gate refused; may be nil.
	GateRefused func(ctx context.Context, reason string)
	// Wrap puts telemetry round every request that the gate let pass; may be nil.
	Wrap func(http.Handler) http.Handler
	// SetRoute tells telemetry the route as method and pattern, such as
	// "GET /v1/signins/{id}"; may be nil.
	SetRoute func(ctx context.Context, pattern string)
}

// Server is the loopback API. It is safe for concurrent use.
type Server struct {
	cfg      Config
	hosts    []string
	dialects *dialects
	routes   routes
	echo     *echo.Echo
	inner    http.Handler // telemetry and what it wraps
	doc      func() (*document, error)
	door     *door         // to the broker's own page
	bodies   sync.Pool     // of *[]byte, for token answers
	loud     *rate.Limiter // log lines at warn; what is beyond goes to debug

	wrongKeys wrongKeys

	backups sync.Mutex // held by the one export or import that runs

	stopping chan struct{} // closed when the server stops: long polls end
	stopOnce sync.Once
}

// A flood of refused requests may not flood the log.
const (
	warningsPerSecond = 5
	warningsAtOnce    = 50
)

// New makes a Server. Its error says which part of the Config is wrong.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Tokens == nil, cfg.Accounts == nil, cfg.SignIns == nil, cfg.Consumers == nil:
		return nil, errors.New("httpapi: Tokens, Accounts, SignIns and Consumers are required")
	case cfg.Status == nil, cfg.Ready == nil, cfg.Log == nil:
		return nil, errors.New("httpapi: Status, Ready and Log are required")
	}
	hosts, err := hostsOf(cfg.Listen)
	if err != nil {
		return nil, err
	}
	foreign := newDialects()
	s := &Server{
		cfg: cfg, hosts: hosts, doc: sync.OnceValues(loadDocument), dialects: foreign, routes: newRoutes(foreign),
		door:     newDoor(),
		bodies:   sync.Pool{New: func() any { return new([]byte) }},
		loud:     rate.NewLimiter(warningsPerSecond, warningsAtOnce),
		stopping: make(chan struct{}), wrongKeys: newWrongKeys(cfg.Consumers.TooManyWrong()),
	}
	maps.Copy(s.routes, newPageRoutes())
	s.echo = echo.New()
	s.echo.HTTPErrorHandler = s.failEcho
	s.echo.Use(s.enter)
	RegisterHandlers(s.echo, s)
	s.registerDialects()
	s.registerPage()
	s.inner = http.HandlerFunc(s.dispatch)
	if cfg.Wrap != nil {
		s.inner = cfg.Wrap(s.inner)
	}
	return s, nil
}

// Handler is the whole API, gate included.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// noStore is shared by all answers: net/http only reads it.
var noStore = []string{"no-store"}

// serve is the first thing that a request meets.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h[headerRequestID] = []string{newRequestID()}
	h["Cache-Control"] = noStore
	if isPage(r.RequestURI) {
		pageHeaders(h)
	}
	if why, err := s.gate(w, r); err != nil {
		if isProbe(why, r) { // refused as any other, and nobody is told
			p := ProblemOf(token.AsError(err))
			p.Instance = requestID(w)
			s.send(w, p)
			return
		}
		if s.cfg.GateRefused != nil {
			s.cfg.GateRefused(r.Context(), why)
		}
		s.fail(w, r.WithContext(withRoute(r.Context(), "gate "+why)), err)
		return
	}
	s.inner.ServeHTTP(w, r)
}

// dispatch sends the hot path its short way and everything else to echo. The
// short way is worth its two lines: over loopback it answers 0.91 to 0.93 times
// as many requests as a bare echo handler, through echo's router and middleware
// it is 0.87 (BenchmarkLoopback).
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	defer s.recoverPanic(w, r)
	if r.Method == http.MethodGet && r.URL.Path == tokenPath {
		s.serveToken(w, r)
		return
	}
	if isProxied(r.RequestURI) {
		s.serveProxy(w, r)
		return
	}
	s.echo.ServeHTTP(w, canonical(r))
}

// setRoute tells telemetry which route this is.
func (s *Server) setRoute(ctx context.Context, pattern string) {
	if s.cfg.SetRoute != nil {
		s.cfg.SetRoute(ctx, pattern)
	}
}

// hold makes a context for a long poll: it ends after d, with the caller, and when
// the server stops.
func (s *Server) hold(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
