//go:build !windows

package credstore

import (
	"errors"
	"log/slog"
)

// openWincred says that only Windows has a Credential Manager.
func openWincred(string, *slog.Logger) (*wincredStore, error) {
	return nil, &Error{Op: opOpen, Reason: Unavailable, Err: errors.New("\"store: wincred\" exists on Windows only")}
}
