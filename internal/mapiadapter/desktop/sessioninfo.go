package desktop

import (
	"encoding/binary"
	"time"
)

// WTSINFOEX: where the fields that are read stand. The structure is the same for
// 32 and 64 bits: a level, and at 8 a WTSINFOEX_LEVEL1_W.
const (
	infoLevel     = 0
	infoState     = 8 + 4
	infoFlags     = 8 + 8
	infoLogon     = 8 + 160
	infoLastInput = 8 + 184
	infoSize      = 8 + 224

	sessionLocked = 0 // WTS_SESSIONSTATE_LOCK, as Windows 8 and later mean it
)

// sessionOf reads a WTSINFOEX into the session. It reports false for what is no
// WTSINFOEX of level 1.
func sessionOf(s *Session, info []byte) bool {
	if len(info) < infoSize || binary.LittleEndian.Uint32(info[infoLevel:]) != 1 {
		return false
	}
	s.State = stateOf(binary.LittleEndian.Uint32(info[infoState:]))
	s.Locked = binary.LittleEndian.Uint32(info[infoFlags:]) == sessionLocked
	s.LogonOn = fileTime(binary.LittleEndian.Uint64(info[infoLogon:]))
	s.LastInputOn = fileTime(binary.LittleEndian.Uint64(info[infoLastInput:]))
	return true
}

// stateOf names a WTS_CONNECTSTATE_CLASS.
func stateOf(class uint32) SessionState {
	switch class {
	case 0: // WTSActive
		return SessionActive
	case 4: // WTSDisconnected
		return SessionDisconnected
	}
	return SessionOther
}

// fileTime is a FILETIME as a number: 100 ns since 1601. Zero stays zero.
func fileTime(ticks uint64) time.Time {
	const epoch = 116444736000000000 // 1970 in a FILETIME
	if ticks < epoch || ticks > 1<<62 {
		return time.Time{}
	}
	since := int64(ticks - epoch)
	return time.Unix(since/1e7, since%1e7*100).UTC()
}
