//go:build !windows

package main

// isAddressInUse knows no error beyond EADDRINUSE here.
func isAddressInUse(error) bool { return false }
