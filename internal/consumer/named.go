package consumer

import (
	"fmt"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Named is the identity of the configured consumer with this name, for what the
// broker does in its name without being asked. It counts nothing.
func (r *Registry) Named(name string) (*Identity, bool) {
	id := r.current.Load().ids[name]
	return id, id != nil && !id.Admin && !id.Agent
}

// MayKeepFile reports whether a token of this identity may lie in a file at this
// moment: within its hours, and only where the identity is not tied to a process,
// as nobody knows who reads a file. The error is of KindDenied. It counts nothing.
func (id *Identity) MayKeepFile(now time.Time) error {
	why := ""
	switch {
	case id.tie == nil:
		return nil
	case id.tie.toProcess():
		why = "is tied to a program or an account, and anybody could read the file; take the sink away, or the executable, sha256 and user"
	case id.tie.hours.Contains(now):
		return nil
	default:
		why = "may not have a token at this time of the week"
	}
	return token.NewError(token.KindDenied, "keep token file", fmt.Sprintf("Consumer %q %s.", id.Name, why))
}

// Count counts a use of the identity that was no request.
func (id *Identity) Count(now time.Time) { id.usage.use(now) }
