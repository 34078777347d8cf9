//go:build !windows

package main

import (
	"os/user"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
)

// thisSeat is that of a system without Outlook.
func thisSeat() (seat, error) {
	s := seat{platform: mapiadapter.ReasonPlatform, account: "this account"}
	if u, err := user.Current(); err == nil {
		s.account = u.Username
	}
	return s, nil
}

// sidOf finds no account: security identifiers are Windows'.
func sidOf(string) (string, error) { return "", notWindows() }
