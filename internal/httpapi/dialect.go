package httpapi

import (
	"net/http"

	"github.com/m365-token-broker/broker/internal/consumer"
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
}

// dialect is a foreign protocol: how its callers present a key, and how it says
// what went wrong.
type dialect struct {
	credential func(h http.Header) (string, error)
	fail       func(s *Server, w http.ResponseWriter, r *http.Request, err error)
}
