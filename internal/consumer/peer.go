package consumer

import (
	"context"

	"github.com/m365-token-broker/broker/internal/peer"
)

// Peer is the process at the other end of a request's connection. One Peer
// belongs to one connection, so that the system is asked once and not for every
// request of it. It is safe for concurrent use.
type Peer interface {
	// Process is who that is, as the system said when it was first asked.
	Process(ctx context.Context) (peer.Process, error)
	// Confirm asks the system again, and fails where it is another process by now:
	// the first one may have ended and its ID been given away.
	Confirm(ctx context.Context) error
	// SHA256 is the lower-case hex SHA-256 of the file of the process's program.
	SHA256(ctx context.Context) (string, error)
	// DescendsFrom reports whether the process is the one with this ID, which began
	// at this time, or was started by it or by a descendant of it.
	DescendsFrom(ctx context.Context, root peer.Root) (bool, error)
}
