//go:build !windows

package extendedmapi

import (
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// load finds nothing: there is no MAPI here.
func load() (subsystem, desktop.Bitness, uint32) { return nil, "", mapiprobe.HResultNoMAPI }
