//go:build !windows

package main

// windowsService is empty: there is none here.
func windowsService() serviceTools { return serviceTools{} }

// programData is nowhere.
func programData() string { return "" }
