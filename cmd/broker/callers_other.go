//go:build !windows

package main

import "os/user"

// lookUpAccount asks the system.
func lookUpAccount(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}
