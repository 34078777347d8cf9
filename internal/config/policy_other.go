//go:build !windows

package config

// machinePolicy is for Windows, which alone has a registry.
func machinePolicy() (PolicyKey, error) { return PolicyKey{}, nil }
