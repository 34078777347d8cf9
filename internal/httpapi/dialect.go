package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Names finds what a dialect's caller means.
type Names interface {
	// Resource is the configured resource that all of these texts stand for, each
	// a resource's name, its audience (with / or /.default behind it or not), or a
	// scope of its set. Where several would do, the one that the identity may have
	// tokens for is meant. Its errors are of KindUnknownResource and
	// KindInvalidRequest.
	Resource(id *consumer.Identity, texts ...string) (string, error)
	// Account is the account that a text stands for: its name, its user name, or
	// the client ID of its app registration; "" where the text is empty.
	Account(id *consumer.Identity, text string) (string, error)
	// ClientID is the app registration that the account is signed in with.
	ClientID(account string) string
	// InTenant reports whether the text names the tenant of the account.
	InTenant(account, tenant string) bool
}

// dialect is a foreign protocol: what it is switched on by, how its callers
// present a key, and how it says what went wrong.
type dialect struct {
	on func(config.Dialects) bool
	// credential is the key that a request presents; nil: as in our own protocol.
	credential func(h http.Header) (string, error)
	// fail answers with an error; nil: with a problem document.
	fail func(s *Server, w http.ResponseWriter, r *http.Request, err error)
	// off is the error while it is switched off; nil: there is no such path.
	off func() error
}

// dialects are the foreign protocols of this server.
type dialects struct{ msi, azd, sidecar dialect }

func newDialects() *dialects {
	return &dialects{
		msi:     dialect{on: func(d config.Dialects) bool { return d.ManagedIdentity }, credential: identityHeader, fail: (*Server).failIdentity, off: identityOff},
		azd:     dialect{on: func(d config.Dialects) bool { return d.AZD }, fail: (*Server).failAZD},
		sidecar: dialect{on: func(d config.Dialects) bool { return d.Sidecar }},
	}
}

// registerDialects puts the routes of the dialects beside the generated ones.
func (s *Server) registerDialects() {
	s.echo.GET(identityPath, s.GetManagedIdentityToken)
	s.echo.POST("/azd/token", s.PostAZDToken)
	s.echo.GET(sidecarPath+":api", s.GetAuthorizationHeader)
	s.echo.GET(sidecarOpenPath+":api", s.GetAuthorizationHeaderUnauthenticated)
	s.echo.GET("/healthz", s.GetSidecarHealth)
}

// speaks reports whether a dialect is switched on.
func (s *Server) speaks(d *dialect) bool {
	return s.cfg.Dialects != nil && s.cfg.Names != nil && d.on(s.cfg.Dialects())
}

// dialectOf is the dialect of a path, also of one that is not there, so that its
// callers understand the answer; nil: ours.
func (s *Server) dialectOf(path string) *dialect {
	switch {
	// Also while it is switched off: these clients try a 404 again for 20 s.
	case isUnder(path, "/msi"):
		return &s.dialects.msi
	case isUnder(path, "/azd") && s.speaks(&s.dialects.azd):
		return &s.dialects.azd
	default:
		return nil
	}
}

// isUnder reports whether a path is this one or below it.
func isUnder(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest == "" || rest[0] == '/')
}

// keyOf is the key that a request presents, in the way of its protocol.
func (s *Server) keyOf(r *http.Request) (string, error) {
	if d := s.dialectOf(r.URL.Path); d != nil && d.credential != nil {
		return d.credential(r.Header)
	}
	return credential(r.Header)
}

// refuse answers with an error in the form of the path's protocol.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if d := s.dialectOf(r.URL.Path); d != nil && d.fail != nil {
		d.fail(s, w, r, err)
		return
	}
	s.fail(w, r, err)
}

// The paths whose callers write them in more ways than one.
const (
	identityPath    = "/msi/token"
	sidecarPath     = "/AuthorizationHeader/"
	sidecarOpenPath = "/AuthorizationHeaderUnauthenticated/"
)

// canonical is a request with its path as the document has it: some clients of
// managed identity put a slash behind theirs, and to the sidecar's server upper and
// lower case are the same.
func canonical(r *http.Request) *http.Request {
	path := r.URL.Path
	if path == identityPath+"/" {
		return withPath(r, identityPath)
	}
	for _, p := range []string{sidecarPath, sidecarOpenPath} {
		if len(path) > len(p) && path[:len(p)] != p && strings.EqualFold(path[:len(p)], p) {
			return withPath(r, p+path[len(p):])
		}
	}
	return r
}

func withPath(r *http.Request, path string) *http.Request {
	out, u := *r, *r.URL
	u.Path, u.RawPath = path, ""
	out.URL = &u
	return &out
}

// foreignValidity is how long a token is good for where there is a choice: MSAL
// for Python takes one with less than 5 min left for expired, and would ask again
// at every call; the sidecar's clients keep one for 5 min where they cannot read it.
const foreignValidity = 10 * time.Minute

// patience is how long a caller waits for a token to be renewed that could be
// given as it is: the SDK of .NET lets no other call of its process go on meanwhile.
const patience = 5 * time.Second

// foreignToken gets a token for the caller of a dialect: one with foreignValidity
// left, if that comes soon.
func (s *Server) foreignToken(ctx context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error) {
	req.MinValidity = foreignValidity
	if req.Force || req.Claims != "" {
		return s.cfg.Tokens.Token(ctx, id, req)
	}
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := s.cfg.Tokens.Token(soon, id, req)
	if err == nil || soon.Err() == nil || ctx.Err() != nil {
		return a, err
	}
	req.MinValidity = 0
	return s.cfg.Tokens.Token(ctx, id, req)
}

// lastOf is the value of a parameter that may be sent more than once if it says
// the same; ok is false where it does not.
func lastOf(values []string) (value string, ok bool) {
	for i, v := range values {
		if i > 0 && v != value {
			return "", false
		}
		value = v
	}
	return value, true
}

// reveal is the access token of an answer, for the answers of the dialects.
func reveal(a cache.Answer) string { return a.Entry.Token().Access.Reveal() }

// tell answers a dialect's caller with JSON.
func tell(w http.ResponseWriter, status int, v any) {
	body := encode(v)
	h := w.Header()
	h["Content-Type"] = typeJSON
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that has gone needs no answer
	clear(body)          // it may hold a token
}

// is reports whether a problem is of this kind.
func is(p Problem, k token.Kind) bool { return string(p.Code) == k.Code() }

// oneLine makes one line of a sentence: the clients put it into the text of an
// error of theirs.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
