package httpapi

import (
	"net/http"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Audit is told what must be known later. Its methods return at once and keep
// nothing of their arguments that is secret.
type Audit interface {
	// Issued is one token that left the broker, or was sent on by the proxy. It is
	// on the hot path.
	Issued(id *consumer.Identity, key token.Key, etag, requestID string)
	// Refused is one request that was refused; id is nil where nobody knows who
	// asked.
	Refused(id *consumer.Identity, kind token.Kind, route, requestID string)
	// Did is one thing that an administrator did, such as "consumer.rotate", and to
	// which consumer or account.
	Did(action, subject, requestID string)
}

// issued tells the list of consumers and the audit log of a token that is about
// to be answered with.
func (s *Server) issued(w http.ResponseWriter, id *consumer.Identity, a cache.Answer) {
	id.Served(a.Entry.Key())
	if s.cfg.Audit != nil {
		s.cfg.Audit.Issued(id, a.Entry.Key(), a.Entry.ETag(), w.Header().Get(headerRequestID))
	}
}
