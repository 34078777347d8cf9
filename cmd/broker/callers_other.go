//go:build !windows

package main

import (
	"errors"
	"os/user"
)

// lookUpAccount asks the system. The error names nobody: it stands in the log.
func lookUpAccount(name string) (string, error) {
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return "", errors.New("there is no such account")
	}
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}
