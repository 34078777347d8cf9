//go:build !windows

package local

import "net"

// ListenPipe opens nothing: named pipes are Windows'.
func ListenPipe(string, []string) (net.Listener, error) { return nil, ErrNotHere }
