package desktop

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestSessionOf(t *testing.T) {
	logon := time.Date(2026, 11, 22, 7, 30, 0, 0, time.UTC)
	ticks := func(t time.Time) uint64 { return uint64(t.Unix())*1e7 + 116444736000000000 }
	info := func(state, flags uint32) []byte {
		b := make([]byte, infoSize)
		binary.LittleEndian.PutUint32(b, 1)
		binary.LittleEndian.PutUint32(b[infoState:], state)
		binary.LittleEndian.PutUint32(b[infoFlags:], flags)
		binary.LittleEndian.PutUint64(b[infoLogon:], ticks(logon))
		return b
	}
	for _, test := range []struct {
		name string
		info []byte
		want Session
		ok   bool
	}{
		{"active", info(0, 1), Session{State: SessionActive, LogonOn: logon}, true},
		{"locked", info(0, 0), Session{State: SessionActive, Locked: true, LogonOn: logon}, true},
		{"lock not known", info(4, 0xffffffff), Session{State: SessionDisconnected, LogonOn: logon}, true},
		{"listening", info(6, 1), Session{State: SessionOther, LogonOn: logon}, true},
		{"short", info(0, 1)[:100], Session{}, false},
		{"another level", make([]byte, infoSize), Session{}, false},
		{"nothing", nil, Session{}, false},
	} {
		var got Session
		if ok := sessionOf(&got, test.info); ok != test.ok || got != test.want {
			t.Errorf("%s: sessionOf = %+v, %v", test.name, got, ok)
		}
	}
}

func TestFileTime(t *testing.T) {
	if got := fileTime(116444736000000000 + 15); !got.Equal(time.Unix(0, 1500)) {
		t.Errorf("fileTime = %v", got)
	}
	for _, none := range []uint64{0, 1, 1 << 63} {
		if got := fileTime(none); !got.IsZero() {
			t.Errorf("fileTime(%d) = %v, want none", none, got)
		}
	}
}
