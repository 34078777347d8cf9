package peer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

func ends(local, remote string) row {
	return row{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote)}
}

// windowsTable builds a table as GetExtendedTcpTable fills it.
func windowsTable(rows ...[]byte) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(len(rows))), bytes.Join(rows, nil)...)
}

func dword(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// port is a port in network byte order with rubbish behind it.
func port(n uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, n), 0xbe, 0xef) }

func tcp4(r row, pid uint32) []byte {
	l, m := r.local.Addr().As4(), r.remote.Addr().As4()
	return bytes.Join([][]byte{dword(5), l[:], port(r.local.Port()), m[:], port(r.remote.Port()), dword(pid)}, nil)
}

func tcp6(r row, pid uint32) []byte {
	l, m := r.local.Addr().As16(), r.remote.Addr().As16()
	return bytes.Join([][]byte{l[:], dword(0), port(r.local.Port()), m[:], dword(0), port(r.remote.Port()), dword(5), dword(pid)}, nil)
}

func TestFindWindows(t *testing.T) {
	ours := ends("127.0.0.1:50000", "127.0.0.1:8477")
	six := ends("[::1]:50000", "[::1]:8477")
	other := ends("127.0.0.1:8477", "127.0.0.1:50000") // the same connection, seen from the other end
	tests := []struct {
		name  string
		table []byte
		six   bool
		want  row
		pid   int
	}{
		{"IPv4", windowsTable(tcp4(other, 7), tcp4(ours, 42)), false, ours, 42},
		{"IPv6", windowsTable(tcp6(ends("[::1]:8477", "[::1]:50000"), 7), tcp6(six, 43)), true, six, 43},
		{"socket for both versions", windowsTable(tcp6(ends("[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:8477"), 44)), true, ours, 44},
		{"PID 0 is nobody", windowsTable(tcp4(ours, 0)), false, ours, 0},
		{"an old row before ours", windowsTable(tcp4(ours, 0), tcp4(ours, 45)), false, ours, 45},
		{"not there", windowsTable(tcp4(other, 7)), false, ours, 0},
		{"empty", windowsTable(), false, ours, 0},
		{"cut off", windowsTable(tcp4(ours, 42))[:20], false, ours, 0},
		{"no table", nil, true, six, 0},
	}
	for _, tt := range tests {
		if pid := findWindows(tt.table, tt.six, tt.want); pid != tt.pid {
			t.Errorf("%s: PID %d, want %d", tt.name, pid, tt.pid)
		}
	}
}

func TestFindLinux(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the sample below is from a little-endian machine")
	}
	const four = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:211D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 35101 1 0000000000000000 100 0 0 10 0
   1: 0100007F:211D 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 35102 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C350 0100007F:211D 01 00000000:00000000 00:00000000 00000000  1001        0 35103 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:C351 0100007F:211D 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
`
	const six = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:C352 00000000000000000000000001000000:211D 01 00000000:00000000 00:00000000 00000000  1002        0 35104 1 0000000000000000 20 4 30 10 -1
   1: 0000000000000000FFFF00000100007F:C353 0000000000000000FFFF00000100007F:211D 01 00000000:00000000 00:00000000 00000000  1003        0 35105 1 0000000000000000 20 4 30 10 -1
   2: zz
   3: 00:211D 00:C350 01 0 0 0 0 0 0 1
`
	tests := []struct {
		table  string
		want   row
		socket socket
	}{
		{four, ends("127.0.0.1:50000", "127.0.0.1:8477"), socket{"1001", "35103"}},
		{four, ends("127.0.0.1:8477", "127.0.0.1:50000"), socket{"1000", "35102"}},
		{four, ends("127.0.0.1:50001", "127.0.0.1:8477"), socket{}}, // closed: inode 0
		{four, ends("127.0.0.1:50009", "127.0.0.1:8477"), socket{}},
		{six, ends("[::1]:50002", "[::1]:8477"), socket{"1002", "35104"}},
		{six, ends("127.0.0.1:50003", "127.0.0.1:8477"), socket{"1003", "35105"}},
	}
	for _, tt := range tests {
		got, ok := findLinux(tt.table, tt.want)
		if got != tt.socket || ok != (tt.socket != socket{}) {
			t.Errorf("%v: %v %v, want %v", tt.want, got, ok, tt.socket)
		}
	}
}

func FuzzTables(f *testing.F) {
	r := ends("127.0.0.1:50000", "127.0.0.1:8477")
	f.Add(windowsTable(tcp4(r, 1)), true)
	f.Add(windowsTable(tcp6(r, 1)), false)
	f.Add(diagSocket(inet4, r, 1, 2), false)
	f.Add([]byte("5 (cat) S 4 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777"), false)
	f.Add([]byte("0: 0100007F:C350 0100007F:211D 01 0:0 0:0 0 1 0 2 1\n"), false)
	f.Fuzz(func(_ *testing.T, table []byte, six bool) {
		findWindows(table, six, r)
		findLinux(string(table), r)
		_, _ = parseDiag(table, r)
		_, _ = parseStat(string(table))
	})
}
