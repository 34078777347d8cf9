package httpapi

import (
	"net/http"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Proxy sends a consumer's request on to a resource, with a token put in.
type Proxy interface {
	// Forward answers r, whose URL has only what is behind the resource's base_url,
	// and which carries no credential any more. The names of to are as the caller
	// sent them. An error is one from before the answer began.
	Forward(w http.ResponseWriter, r *http.Request, id *consumer.Identity, to token.Key) error
}
