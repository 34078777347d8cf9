package peer

import (
	"errors"

	"golang.org/x/sys/unix"
)

// diagnose asks the kernel for one socket by its addresses (sock_diag(7)). An error
// says that there is none, or that this kernel cannot be asked so; a socket without
// an inode is nobody's.
func diagnose(want row) (socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return socket{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	// The answer is there when sending returns; the time is for a kernel that is odd.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return socket{}, err
	}
	if err := unix.Sendto(fd, diagRequest(want), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return socket{}, err
	}
	answer := make([]byte, 1<<10)
	n, from, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return socket{}, err
	}
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return socket{}, errors.New("the answer is not the kernel's")
	}
	return parseDiag(answer[:n], want)
}
