package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// right is what a caller must have for a route. The zero right is the strictest,
// so that a route which nobody thought of is closed.
type right int

const (
	adminOnly      right = iota // the admin key
	metricsReaders              // the admin key, or a consumer with metrics
	anyConsumer                 // any key but the agent's
	agentOnly                   // the agent's key, or the admin key
	anybody                     // no key
	pageFile                    // no key: the files of the broker's own page, which hold nothing
	pageTicket                  // that page, with a ticket that its handler looks at
	pageSession                 // that page, with a session
)

// identify finds who is calling a route with this right; nobody (nil) where it
// takes no key.
func (s *Server) identify(r *http.Request, want right) (*consumer.Identity, error) {
	switch want {
	case anybody, pageFile:
		return nil, nil
	case pageTicket:
		return nil, fromScript(r)
	case pageSession:
		return s.authenticatePage(r)
	default:
		return s.authenticate(r)
	}
}

// authenticate finds who is calling.
func (s *Server) authenticate(r *http.Request) (*consumer.Identity, error) {
	key, err := s.keyOf(r)
	if err != nil {
		return nil, err
	}
	return s.authenticateKey(r, key)
}

// authenticateKey finds whose key it is that a request presents, and holds the
// caller to what its consumer is tied to and to its rate.
func (s *Server) authenticateKey(r *http.Request, key string) (*consumer.Identity, error) {
	id, err := s.cfg.Consumers.Authenticate(key)
	if err != nil {
		return nil, err
	}
	return id, admit(r, id)
}

// mayUse reports whether the identity may use a route with this right.
func mayUse(id *consumer.Identity, want right) error {
	switch {
	case want == anybody, want == pageFile, want == pageTicket: // id is nil
		return nil
	case id.Admin, id.Agent && want == agentOnly:
		return nil
	case id.Agent:
		return token.NewError(token.KindDenied, "authorize", "This is the key of the Outlook agent, which may only call POST /v1/agent/sync; use a consumer's key.")
	case want == anyConsumer, want == metricsReaders && id.Metrics:
		return nil
	case want == agentOnly:
		return token.NewError(token.KindDenied, "authorize", "Only the Outlook agent may do this; run: broker agent")
	case want == metricsReaders:
		return token.NewError(token.KindDenied, "authorize", "This consumer may not read metrics; set metrics: true for it, or use the admin key.")
	default:
		return token.NewError(token.KindDenied, "authorize", "Only the admin key may do this; it is in the file admin.key of the broker's state directory.")
	}
}

// credential is the key that a request presents: as a bearer token (RFC 6750
// section 2.1) or as X-Broker-Key.
func credential(h http.Header) (string, error) {
	auth, own := h["Authorization"], h["X-Broker-Key"]
	switch {
	case len(auth) > 1 || len(own) > 1:
		return "", badRequest("Authorization or X-Broker-Key was sent twice; send one key, once.")
	case len(auth) == 0 && len(own) == 0:
		return "", token.NewError(token.KindUnauthenticated, "authenticate", "A key is needed; send it as Authorization: Bearer <key> or as X-Broker-Key: <key>.")
	case len(auth) == 0:
		return strings.TrimSpace(own[0]), nil
	}
	scheme, bearer, _ := strings.Cut(auth[0], " ")
	bearer = strings.TrimSpace(bearer)
	isBearer := strings.EqualFold(scheme, "Bearer")
	switch {
	case len(own) == 0 && !isBearer:
		return "", token.NewError(token.KindUnauthenticated, "authenticate", "The Authorization header must be of the scheme Bearer; send Authorization: Bearer <key>.")
	case len(own) == 1 && (!isBearer || strings.TrimSpace(own[0]) != bearer):
		return "", badRequest("Authorization and X-Broker-Key differ; send one of them.")
	}
	return bearer, nil
}

type identityKey struct{}

func withIdentity(ctx context.Context, id *consumer.Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// identityOf is who is calling; nil where the route is open to anybody.
func identityOf(ctx context.Context) *consumer.Identity {
	id, _ := ctx.Value(identityKey{}).(*consumer.Identity)
	return id
}
