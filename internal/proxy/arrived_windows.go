package proxy

import "syscall"

// fionread is FIONREAD of winsock2.h: how much can be read at once.
const fionread = 0x4004667f

// arrived reports whether something is there to be read from a socket.
func arrived(socket syscall.RawConn) bool {
	nothing := false
	err := socket.Control(func(fd uintptr) {
		var count [4]byte
		var size uint32
		err := syscall.WSAIoctl(syscall.Handle(fd), fionread, nil, 0, &count[0], uint32(len(count)), &size, nil, 0)
		nothing = err == nil && count == [4]byte{}
	})
	return err != nil || !nothing
}
