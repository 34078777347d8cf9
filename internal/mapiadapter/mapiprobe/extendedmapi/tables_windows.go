package extendedmapi

import (
	"bytes"
	"unsafe"

	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// Property tags: the identifier, then the type (MAPITags.h).
const (
	tagEntryID      uint32 = 0x0FFF0102 // PR_ENTRYID, PT_BINARY
	tagDefaultStore uint32 = 0x3400000B // PR_DEFAULT_STORE, PT_BOOLEAN
	tagContentCount uint32 = 0x36020003 // PR_CONTENT_COUNT, PT_LONG

	typeError uint32 = 0x000A // PT_ERROR: the value is an HRESULT
)

const hresultNotFound uint32 = 0x8004010F // MAPI_E_NOT_FOUND

// propTags is SPropTagArray with room for two.
type propTags struct {
	count uint32
	tags  [2]uint32
}

// propValue is SPropValue: 16 bytes in a 32-bit program, 24 in a 64-bit one. The
// value is a union; binary is its form for PT_BINARY (SBinary), and in length
// lies a number, a boolean or an error.
type propValue struct {
	tag    uint32
	_      uint32
	length uint32
	binary *byte
}

// failure is the HRESULT of a property that could not be read. That it does not
// exist is an answer too.
func (v *propValue) failure() uint32 {
	if v.tag&0xFFFF == typeError && v.length != hresultNotFound {
		return v.length
	}
	return 0
}

// row is SRow, rowSet SRowSet.
type row struct {
	_      uint32
	count  uint32
	values *propValue
}

type rowSet struct {
	count uint32
	rows  [1]row // count of them
}

func (s *rowSet) all() []row { return unsafe.Slice(&s.rows[0], s.count) }

// rowsAtOnce is more than a profile has stores, usually.
const rowsAtOnce = 50

func (l *logon) defaultStore() ([]byte, uint32) {
	var table *object
	hr := l.call(methodGetMsgStoresTable, 0, uintptr(unsafe.Pointer(&table)))
	if hr = whole(hr, table); mapiprobe.Classify(hr) != mapiprobe.ClassOK {
		return nil, hr
	}
	defer table.release()
	columns := propTags{count: 2, tags: [2]uint32{tagEntryID, tagDefaultStore}}
	if hr = table.call(methodSetColumns, uintptr(unsafe.Pointer(&columns)), 0); mapiprobe.Classify(hr) != mapiprobe.ClassOK {
		return nil, hr
	}
	for {
		var set *rowSet
		hr = table.call(methodQueryRows, rowsAtOnce, 0, uintptr(unsafe.Pointer(&set)))
		if mapiprobe.Classify(hr) != mapiprobe.ClassOK {
			return nil, hr
		}
		if set == nil {
			return nil, hresultNotFound
		}
		entry, more := set.defaultStore(), set.count > 0
		l.mapi.freeRows(set)
		if entry != nil || !more {
			return found(entry)
		}
	}
}

func found(entry []byte) ([]byte, uint32) {
	if entry == nil {
		return nil, hresultNotFound
	}
	return entry, 0
}

// defaultStore is a copy of the identifier in the default store's row; nil where
// the rows hold none.
func (s *rowSet) defaultStore() []byte {
	for _, r := range s.all() {
		var entry []byte
		isDefault := false
		for _, v := range unsafe.Slice(r.values, r.count) {
			switch v.tag {
			case tagEntryID:
				entry = unsafe.Slice(v.binary, v.length)
			case tagDefaultStore:
				isDefault = v.length&0xFFFF != 0
			}
		}
		if isDefault && len(entry) > 0 {
			return bytes.Clone(entry)
		}
	}
	return nil
}

// freeRows is FreeProws: each row's values and the set are memory of their own.
func (m *dll) freeRows(set *rowSet) {
	for _, r := range set.all() {
		m.free(unsafe.Pointer(r.values))
	}
	m.free(unsafe.Pointer(set))
}
