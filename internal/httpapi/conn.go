package httpapi

import (
	"context"
	"net"
	"net/http"

	"github.com/m365-token-broker/broker/internal/consumer"
)

// This file is who is at the other end of a request's connection. There is one
// Peer per connection, so that the system is not asked for every request of a
// connection that stays open. It is made when the connection is accepted, which
// asks nothing yet: a process that began later than that cannot have made it.

type peerKey struct{}

// withPeer is http.Server's ConnContext.
func (s *Server) withPeer(ctx context.Context, c net.Conn) context.Context {
	if s.cfg.Peer == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, consumer.NewConnection(s.cfg.Peer(c)))
}

// peerOf is who is at the other end; nil where nobody looks, and for a request of
// this process, which came over no connection.
func peerOf(ctx context.Context) consumer.Peer {
	if c, ok := ctx.Value(peerKey{}).(*consumer.Connection); ok {
		return c
	}
	return nil
}

// admit holds a caller whose key is right to the process and the hours that the
// consumer is tied to, and then to its rate: a wrong process uses nothing of it up.
func admit(r *http.Request, id *consumer.Identity) error {
	if id.IsTied() {
		if err := id.Check(r.Context(), peerOf(r.Context())); err != nil {
			return err
		}
	}
	return id.Admit()
}

// admitUnkeyed finds who calls without a key, and holds it to its rate; see
// consumer.Registry.Unkeyed.
func (s *Server) admitUnkeyed(r *http.Request, anyProgram bool) (*consumer.Identity, error) {
	id, err := s.cfg.Consumers.Unkeyed(r.Context(), peerOf(r.Context()), anyProgram)
	if err != nil {
		return id, err
	}
	return id, id.Admit()
}
