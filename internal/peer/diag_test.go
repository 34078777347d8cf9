package peer

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// diagSocket builds the kernel's answer about the socket of a row.
func diagSocket(family byte, r row, uid, inode uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, diagHeader+diagAnswer)
	b = binary.NativeEndian.AppendUint16(b, diagByFamily)
	b = append(b, make([]byte, 10)...)
	b = append(b, family, 1, 0, 0)
	b = binary.BigEndian.AppendUint16(b, r.local.Port())
	b = binary.BigEndian.AppendUint16(b, r.remote.Port())
	for _, end := range []row{{local: r.local}, {local: r.remote}} {
		if a := end.local.Addr(); family == inet6 {
			raw := a.As16() // an IPv4 address as ::ffff:…
			b = append(b, raw[:]...)
		} else {
			b = appendAddress(b, a)
		}
	}
	b = append(b, make([]byte, 12+12)...) // interface, cookie; expiry, queues
	b = binary.NativeEndian.AppendUint32(b, uid)
	return binary.NativeEndian.AppendUint32(b, inode)
}

func TestDiag(t *testing.T) {
	four, six := ends("127.0.0.1:50000", "127.0.0.1:8477"), ends("[::1]:50000", "[::1]:8477")
	listener := ends("127.0.0.1:50000", "0.0.0.0:0")
	refusal := binary.NativeEndian.AppendUint32(nil, 36)
	refusal = append(binary.NativeEndian.AppendUint16(refusal, 2), make([]byte, 30)...) // NLMSG_ERROR
	for _, tt := range []struct {
		name   string
		answer []byte
		want   row
		socket socket
		fails  bool
	}{
		{"IPv4", diagSocket(inet4, four, 1001, 35103), four, socket{"1001", "35103"}, false},
		{"IPv6", diagSocket(inet6, six, 0, 7), six, socket{"0", "7"}, false},
		{"socket for both versions", diagSocket(inet6, four, 1, 2), four, socket{"1", "2"}, false},
		{"the listener there", diagSocket(inet4, listener, 1, 2), four, socket{}, false},
		{"the other end", diagSocket(inet4, row{local: four.remote, remote: four.local}, 1, 2), four, socket{}, false},
		{"an error", refusal, four, socket{}, true},
		{"cut off", diagSocket(inet4, four, 1, 2)[:60], four, socket{}, true},
		{"nothing", nil, four, socket{}, true},
	} {
		got, err := parseDiag(tt.answer, tt.want)
		if got != tt.socket || (err != nil) != tt.fails {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestDiagRequest(t *testing.T) {
	b := diagRequest(ends("127.0.0.1:50000", "127.0.0.1:8477"))
	if len(b) != 72 || binary.NativeEndian.Uint32(b) != 72 || b[16] != inet4 || b[17] != stream {
		t.Fatalf("% x", b)
	}
	if want := []byte{0xc3, 0x50, 0x21, 0x1d, 127, 0, 0, 1}; !bytes.Equal(b[24:32], want) {
		t.Errorf("ports and address % x", b[24:32])
	}
	if b := diagRequest(ends("[::1]:1", "[::1]:2")); b[16] != inet6 || b[43] != 1 || b[59] != 1 {
		t.Errorf("% x", b)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 1 1\n"
	for text, want := range map[string]stat{
		"5 (cat) S 4" + rest:         {parent: 4, start: 777},
		"5 (a) Z (b) S 12" + rest:    {parent: 12, start: 777},
		"5 (a b) Z 1" + rest:         {parent: 1, start: 777, ended: true},
		"5 ()) R 0" + rest + "extra": {parent: 0, start: 777},
	} {
		if got, ok := parseStat(text); !ok || got != want {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "5", "5 (cat", "5 (cat)", "5 (cat) S 4 1", "5 (cat) S x" + rest} {
		if got, ok := parseStat(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
