//go:build !windows

package main

func installAgent(*options, bool) (string, error) { return "", notWindows() }

func uninstallAgent(bool) (bool, error) { return false, notWindows() }

// startDetached has no use here: the agent works on Windows only.
func startDetached([]string) error { return notWindows() }
