package main

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isAddressInUse knows Winsock's error, and the one for a port that Windows has
// reserved.
func isAddressInUse(err error) bool {
	return errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES)
}
