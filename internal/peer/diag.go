package peer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
)

// This file writes and reads the messages of Linux's sock_diag(7). It holds no
// system calls, so that every system runs its tests.

// From netlink(7), sock_diag(7) and linux/inet_diag.h. Numbers are in the machine's
// byte order but for ports and addresses, which are as on the network.
const (
	diagHeader   = 16 // nlmsghdr: length, type (2), flags (2), sequence, port
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagRequests = 1  // NLM_F_REQUEST
	diagAnswer   = 72 // inet_diag_msg: family, state, timer, retransmits, ID (48), expiry, queues (2), user, inode

	inet4  = 2
	inet6  = 10
	stream = 6 // IPPROTO_TCP
)

// diagRequest asks for the socket of this row: an inet_diag_req_v2 of family,
// protocol, extensions, padding, states and ID.
func diagRequest(want row) []byte {
	family := byte(inet4)
	if want.local.Addr().Is6() {
		family = inet6
	}
	b := binary.NativeEndian.AppendUint32(nil, diagHeader+56)
	b = binary.NativeEndian.AppendUint16(b, diagByFamily)
	b = binary.NativeEndian.AppendUint16(b, diagRequests)
	b = append(b, make([]byte, 8)...) // sequence and port
	b = append(b, family, stream, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // any state
	b = binary.BigEndian.AppendUint16(b, want.local.Port())
	b = binary.BigEndian.AppendUint16(b, want.remote.Port())
	b = appendAddress(b, want.local.Addr())
	b = appendAddress(b, want.remote.Addr())
	b = binary.NativeEndian.AppendUint32(b, 0)             // any interface
	return binary.NativeEndian.AppendUint64(b, ^uint64(0)) // INET_DIAG_NOCOOKIE
}

// appendAddress fills four words, of which IPv4 uses the first.
func appendAddress(b []byte, a netip.Addr) []byte {
	raw := a.AsSlice()
	return append(append(b, raw...), make([]byte, 16-len(raw))...)
}

// parseDiag reads the answer, which must be one of a socket. A listener at the address answers where there is no
// connection, so the addresses are compared.
func parseDiag(b []byte, want row) (socket, error) {
	if len(b) < diagHeader+4 {
		return socket{}, fmt.Errorf("an answer of %d bytes", len(b))
	}
	// The error ENOENT says that there is no such socket, or that the kernel was
	// built without the answer.
	kind, b := binary.NativeEndian.Uint16(b[4:]), b[diagHeader:]
	if kind != diagByFamily || len(b) < diagAnswer {
		return socket{}, fmt.Errorf("an answer of kind %d", kind)
	}
	if (row{diagEnd(b, 4, 8), diagEnd(b, 6, 24)}) != want {
		return socket{}, nil
	}
	number := func(at int) string {
		return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(b[at:])), 10)
	}
	return socket{uid: number(64), inode: number(68)}, nil
}

// diagEnd is one end of the socket: its port and its address stand there. A socket
// for both versions of IP is of family 10 and has an IPv4 address as ::ffff:….
func diagEnd(b []byte, port, address int) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(b[address:]))
	if b[0] == inet6 {
		a = netip.AddrFrom16([16]byte(b[address:]))
	}
	return plain(netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[port:])))
}
