package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	iphlpapi                = windows.NewLazySystemDLL("iphlpapi.dll")
	procGetExtendedTCPTable = iphlpapi.NewProc("GetExtendedTcpTable")
)

// tableOwnerPIDConnections is TCP_TABLE_OWNER_PID_CONNECTIONS: every connection
// with its process, no listeners.
const tableOwnerPIDConnections = 4

// lookTCP looks the connection up.
func lookTCP(want row) look {
	return func(context.Context) (found, error) {
		return behind(func() (int, error) { return ownerID(want) })
	}
}

// lookPipe asks for who opened the other end of the pipe.
func lookPipe(pipe uintptr) (found, error) {
	return behind(func() (int, error) {
		var pid uint32
		if err := windows.GetNamedPipeClientProcessId(windows.Handle(pipe), &pid); err != nil || pid == 0 {
			return 0, ErrUnknown
		}
		return int(pid), nil
	})
}

func lookUnix(*net.UnixConn) (found, error) { return found{}, ErrUnknown }

// behind asks for the process, opens it, and asks again: while the process is open
// its ID is not given to another, so that the second answer shows that it is the
// right one.
func behind(ask func() (int, error)) (found, error) {
	pid, err := ask()
	if err != nil {
		return found{}, err
	}
	f := found{Process: Process{PID: pid}}
	_ = windows.ProcessIdToSessionId(uint32(pid), &f.Session)
	h, err := openProcess(pid)
	if err == nil {
		defer func() { _ = windows.CloseHandle(h) }()
		f.Image, f.User, f.Start = imageOf(h), userOf(h), begin(h)
		if hasEnded(h) {
			return found{}, ErrUnknown
		}
	}
	switch again, err := ask(); {
	case err != nil:
		return found{}, err
	case again != pid:
		return found{}, ErrUnknown
	}
	return f, nil
}

// ownerID finds the connection in the table of its version of IP, and of IPv4 also
// in the other one: there stand sockets for both versions.
func ownerID(want row) (int, error) {
	for _, family := range []uint32{windows.AF_INET, windows.AF_INET6} {
		if family == windows.AF_INET && want.local.Addr().Is6() {
			continue
		}
		table, err := connections(family)
		if err != nil {
			return 0, fmt.Errorf("read the table of connections: %w", err)
		}
		if pid := findWindows(table, family == windows.AF_INET6, want); pid != 0 {
			return pid, nil
		}
	}
	return 0, ErrUnknown
}

// connections reads a table. It may grow between two calls, so there are some
// tries; a system without IPv6 has no table of it.
func connections(family uint32) ([]byte, error) {
	size := uint32(16 << 10)
	for range 8 {
		table := make([]byte, size)
		r, _, _ := procGetExtendedTCPTable.Call(uintptr(unsafe.Pointer(&table[0])), uintptr(unsafe.Pointer(&size)), 0, //nolint:gosec // a system call takes addresses so
			uintptr(family), tableOwnerPIDConnections, 0)
		switch err := windows.Errno(r); {
		case err == windows.ERROR_SUCCESS:
			return table, nil
		case errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER):
			size += size / 4
		case family == windows.AF_INET6 && (errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_PARAMETER)):
			return nil, nil
		default:
			return nil, err
		}
	}
	return nil, windows.ERROR_INSUFFICIENT_BUFFER
}

// imageOf is the program's path, as Win32 writes it.
func imageOf(process windows.Handle) string {
	buf := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(buf))
	if err := windows.QueryFullProcessImageName(process, 0, &buf[0], &n); err != nil {
		return ""
	}
	return windows.UTF16ToString(buf[:n])
}

// userOf is the SID that the process runs as.
func userOf(process windows.Handle) string {
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return ""
	}
	defer func() { _ = token.Close() }()
	user, err := token.GetTokenUser()
	if err != nil {
		return ""
	}
	return user.User.Sid.String()
}
