//go:build !windows

package proxy

import (
	"errors"
	"syscall"
)

// arrived reports whether something is there to be read from a socket, or its end.
func arrived(socket syscall.RawConn) bool {
	nothing := false
	err := socket.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		nothing = errors.Is(err, syscall.EAGAIN)
	})
	return err != nil || !nothing
}
