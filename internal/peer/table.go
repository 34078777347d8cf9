package peer

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// This file reads the systems' tables. It holds no system calls, so that every
// system runs its tests.

// The sizes of a row of Windows' tables, in bytes (tcpmib.h). All members are
// DWORDs or bytes, so that nothing is padded.
const (
	sizeTCP4 = 24 // MIB_TCPROW_OWNER_PID: state, local address and port, remote address and port, PID
	sizeTCP6 = 56 // MIB_TCP6ROW_OWNER_PID: local address, scope, port, remote the same, state, PID
)

// findWindows finds the process ID that owns the row in a MIB_TCPTABLE_OWNER_PID,
// or with six in a MIB_TCP6TABLE_OWNER_PID; 0 where there is none.
func findWindows(table []byte, six bool, want row) int {
	if len(table) < 4 {
		return 0
	}
	size, read := sizeTCP4, rowTCP4
	if six {
		size, read = sizeTCP6, rowTCP6
	}
	n := int(binary.NativeEndian.Uint32(table))
	for b := table[4:]; n > 0 && len(b) >= size; n, b = n-1, b[size:] {
		if got, pid := read(b); got == want && pid != 0 {
			return int(pid)
		}
	}
	return 0
}

func rowTCP4(b []byte) (row, uint32) {
	at := func(addr, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[addr:])), networkPort(b[port:]))
	}
	return row{local: at(4, 8), remote: at(12, 16)}, binary.NativeEndian.Uint32(b[20:])
}

func rowTCP6(b []byte) (row, uint32) {
	at := func(addr, port int) netip.AddrPort {
		return plain(netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[addr:])), networkPort(b[port:])))
	}
	return row{local: at(0, 20), remote: at(24, 44)}, binary.NativeEndian.Uint32(b[52:])
}

// networkPort is a port that stands in network byte order in the first two bytes
// of a DWORD; the other two can hold anything.
func networkPort(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// socket is what Linux's table says of the row.
type socket struct{ uid, inode string }

// findLinux finds the row in the text of /proc/net/tcp or tcp6 (proc(5)): columns
// sl, local_address, rem_address, st, two pairs, retrnsmt, uid, timeout, inode. A
// socket that its process has closed has the inode 0 and is nobody's.
func findLinux(table string, want row) (socket, bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || f[9] == "0" {
			continue
		}
		local, ok1 := parseLinux(f[1])
		remote, ok2 := parseLinux(f[2])
		if ok1 && ok2 && (row{local, remote}) == want {
			return socket{uid: f[7], inode: f[9]}, true
		}
	}
	return socket{}, false
}

// parseLinux reads "0100007F:1F90": the address as 32-bit words in the machine's
// byte order, the port in plain hex.
func parseLinux(s string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	if err != nil || len(port) != 4 {
		return netip.AddrPort{}, false
	}
	p, err := hex.DecodeString(port)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	return plain(netip.AddrPortFrom(addr, binary.BigEndian.Uint16(p))), ok
}

// stat is what we need of /proc/PID/stat.
type stat struct {
	parent int
	start  uint64
	ended  bool // it waits for its parent to ask how it ended
}

// parseStat reads the text of /proc/PID/stat (proc_pid_stat(5)). The name in it, in
// parentheses, can hold spaces and parentheses of its own, so the last one counts;
// behind it stand the state, the parent and, as the 20th, the start.
func parseStat(text string) (stat, bool) {
	_, rest, ok := strings.Cut(text, " (")
	end := strings.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return stat{}, false
	}
	f := strings.Fields(rest[end+1:])
	if len(f) < 20 {
		return stat{}, false
	}
	parent, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	return stat{parent: parent, start: start, ended: f[0] == "Z" || f[0] == "X"}, err1 == nil && err2 == nil
}
