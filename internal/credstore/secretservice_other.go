//go:build !linux

package credstore

import "errors"

// newSecretService says that only Linux has a Secret Service.
func newSecretService(_, _ string) (Store, error) {
	return nil, &Error{Op: opOpen, Reason: Unavailable, Err: errors.New("\"store: secret-service\" exists on Linux only")}
}
