package lifecycle

import (
	"errors"
	"fmt"
	"os"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// EnsureStateDir makes path, and what is missing above it, with access for its
// owner only: mode 0700; on Windows an access list of its own for this user,
// SYSTEM and Administrators. An existing directory that somebody else can read
// or owns is refused, with the command that mends it.
//
// On Windows an existing directory that only inherits its access list gets that
// list too; one with a list of its own is left as it is, since we or an
// administrator gave it on purpose.
func EnsureStateDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = ownerfile.MakeDir(path)
	case err != nil:
		return fmt.Errorf("state directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("state directory %s is a file; choose another --state-dir", path)
	default:
		err = ownerfile.Check(path, info)
	}
	if err == nil {
		err = ownerfile.ProtectDir(path)
	}
	if err == nil {
		err = ownerfile.Audit(path)
	}
	if access, ok := errors.AsType[*ownerfile.AccessError](err); ok {
		return &stateDirError{access}
	}
	if err != nil {
		return fmt.Errorf("state directory: %w; choose another --state-dir", err)
	}
	return nil
}

// stateDirError is a directory that is not its owner's alone.
type stateDirError struct{ access *ownerfile.AccessError }

func (e *stateDirError) Error() string {
	return fmt.Sprintf("state directory %s %s; choose another --state-dir, or run: %s", e.access.Path, e.access.Problem, e.access.Command)
}

func (e *stateDirError) Unwrap() error { return e.access }
