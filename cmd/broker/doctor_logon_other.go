//go:build !windows

package main

// thisLogon is nothing that matters here.
func thisLogon() logon { return logon{} }
