// Package peer tells which process is at the other end of a connection of this
// machine, so that a key can be tied to the account, or the program, that it was
// given to.
//
// Of a TCP connection the system's own table names the process (Windows) or the
// socket's user and inode (Linux); of a Unix socket the kernel keeps who connected
// it, of a named pipe who opened it. The answer is about now: it is worth something
// only while the connection is open, so ask before the request is answered. A
// process may hand its end to another one; that cannot be seen here.
package peer

import (
	"context"
	"errors"
	"net/netip"
)

// ErrUnknown says that the system does not tell whose connection it is: it is
// closed already, it comes from another machine or container, or the system
// gives the process ID 0. The caller decides what that means for it.
var ErrUnknown = errors.New("the process at the other end of the connection is not known")

// Process is who is at the other end. What the system does not let us see is
// empty, so compare for what must be there, never for what must not.
type Process struct {
	PID     int    // 0 where only the user is known: another user's process on Linux
	Image   string // absolute path of the program; empty: not allowed to see, or not a path of ours
	User    string // a SID on Windows, a user ID in decimal elsewhere; empty: not allowed to see
	Session uint32 // of Windows; 0 elsewhere
	Start   uint64 // when it began, as in Root; 0: not allowed to see
}

// Of finds the process at the other end of the TCP connection that has these two
// addresses here: local is ours, remote the other's. Both are loopback addresses,
// else the error is ErrUnknown. A fault of the system's tables is another error.
// It takes about a millisecond, and on Linux longer the more files are open. Safe
// for concurrent use.
func Of(ctx context.Context, local, remote netip.AddrPort) (Process, error) {
	// The other end's own row has the addresses the other way round.
	f, err := lookLoopback(row{local: plain(remote), remote: plain(local)})(ctx)
	return f.Process, err
}

// lookLoopback looks up a connection that has both ends on loopback.
func lookLoopback(want row) look {
	if !want.local.Addr().IsLoopback() || !want.remote.Addr().IsLoopback() {
		return nobody
	}
	return lookTCP(want)
}

// row is one connection as the process that owns it sees it.
type row struct{ local, remote netip.AddrPort }

// plain takes an address to the one form that is compared: without a zone, IPv4
// as such also where a socket for both versions says ::ffff:127.0.0.1.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
