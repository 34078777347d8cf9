// Package peer tells which process is at the other end of a loopback TCP
// connection, so that a key can be tied to the account, or the program, that it
// was given to.
//
// The system's own table of connections names the process (Windows) or the
// socket's user and inode (Linux). The answer is about now: it is worth something
// only while the connection is open, so ask before the request is answered. A
// process may hand its socket to another one; that cannot be seen here.
package peer

import (
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
	Image   string // absolute path of the program; empty: not allowed to see
	User    string // a SID on Windows, a user ID in decimal elsewhere; empty: not allowed to see
	Session uint32 // of Windows; 0 elsewhere
}

// Of finds the process at the other end of the connection that has these two
// addresses here: local is ours, remote the other's. Both are loopback addresses,
// else the error is ErrUnknown. A fault of the system's tables is another error.
// It takes about a millisecond, and on Linux longer the more files are open. Safe
// for concurrent use.
func Of(local, remote netip.AddrPort) (Process, error) {
	local, remote = plain(local), plain(remote)
	if !local.Addr().IsLoopback() || !remote.Addr().IsLoopback() {
		return Process{}, ErrUnknown
	}
	// The other end's own row has the addresses the other way round.
	return owner(row{local: remote, remote: local})
}

// row is one connection as the process that owns it sees it.
type row struct{ local, remote netip.AddrPort }

// plain takes an address to the one form that is compared: without a zone, IPv4
// as such also where a socket for both versions says ::ffff:127.0.0.1.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
