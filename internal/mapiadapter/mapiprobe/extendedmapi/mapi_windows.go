package extendedmapi

import (
	"errors"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// load finds MAPI, compares its bitness, and only then loads it.
//
// The Go runtime has already told Windows to show no boxes for hard errors
// (SetErrorMode), such as a DLL that MAPI lacks.
func load() (subsystem, desktop.Bitness, uint32) {
	path, bitness, hr := choose(candidates(system{}), fileBitness)
	if hr != 0 {
		return nil, bitness, hr
	}
	m, hr := loadFile(path)
	if hr != 0 {
		return nil, bitness, hr
	}
	return m, bitness, 0
}

// dll is MAPI's DLL. It is never unloaded: MAPI does not survive that.
type dll struct {
	mapiInitialize, mapiUninitialize, mapiLogonEx, mapiFreeBuffer uintptr

	service bool // this process is in session 0
}

func loadFile(path string) (*dll, uint32) {
	// What MAPI needs lies beside it, not beside this program.
	handle, err := windows.LoadLibraryEx(path, 0, windows.LOAD_WITH_ALTERED_SEARCH_PATH)
	if err != nil {
		return nil, fromWin32(err)
	}
	m := &dll{service: inSession0()}
	for name, address := range map[string]*uintptr{
		"MAPIInitialize": &m.mapiInitialize, "MAPIUninitialize": &m.mapiUninitialize,
		"MAPILogonEx": &m.mapiLogonEx, "MAPIFreeBuffer": &m.mapiFreeBuffer,
	} {
		if *address, err = windows.GetProcAddress(handle, name); err != nil {
			return nil, fromWin32(err)
		}
	}
	return m, 0
}

// fromWin32 is HRESULT_FROM_WIN32.
func fromWin32(err error) uint32 {
	code, ok := errors.AsType[windows.Errno](err)
	if !ok || code == 0 {
		return 0x80004005 // E_FAIL
	}
	return 0x80070000 | uint32(code)&0xFFFF
}

func inSession0() bool {
	var id uint32
	err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &id)
	return err == nil && id == 0
}

// call calls a function of the DLL.
//
//go:uintptrescapes
func call(address uintptr, args ...uintptr) uint32 {
	r, _, _ := syscall.SyscallN(address, args...)
	return uint32(r)
}

func (m *dll) initialize() uint32 {
	in := struct{ version, flags uint32 }{0, initializeFlags(m.service)} // MAPIINIT_0
	return call(m.mapiInitialize, uintptr(unsafe.Pointer(&in)))
}

func (m *dll) uninitialize() { call(m.mapiUninitialize) }

func (m *dll) logon(profile string) (session, uint32) {
	name, err := windows.UTF16PtrFromString(profile)
	if err != nil {
		return nil, 0x80070057 // MAPI_E_INVALID_PARAMETER
	}
	var o *object
	hr := call(m.mapiLogonEx, 0, uintptr(unsafe.Pointer(name)), 0, uintptr(logonFlags(m.service)), uintptr(unsafe.Pointer(&o)))
	hr = whole(hr, o)
	return &logon{mapi: m, object: o}, hr
}

// free gives memory back that MAPI allocated.
func (m *dll) free(p unsafe.Pointer) { call(m.mapiFreeBuffer, uintptr(p)) }

// whole makes a success without an object a failure.
func whole(hr uint32, o *object) uint32 {
	if mapiprobe.Classify(hr) == mapiprobe.ClassOK && o == nil {
		return 0x80004002 // MAPI_E_INTERFACE_NOT_SUPPORTED
	}
	return hr
}

// object is any object of MAPI's: a COM interface. It lives in MAPI's memory.
type object struct{ methods *[64]uintptr }

// The places of the methods in their interfaces' tables, behind the three of
// IUnknown (MAPIX.h and MAPIDefS.h).
const (
	methodRelease = 2 // IUnknown

	methodGetMsgStoresTable = 4 // IMAPISession
	methodOpenMsgStore      = 5
	methodLogoff            = 17

	methodSetColumns = 7 // IMAPITable
	methodQueryRows  = 19

	methodGetProps = 5 // IMAPIProp

	methodOpenEntry = 17 // IMsgStore
)

// call calls a method of the object.
//
//go:uintptrescapes
func (o *object) call(method int, args ...uintptr) uint32 {
	r, _, _ := syscall.SyscallN(o.methods[method], slices.Insert(args, 0, uintptr(unsafe.Pointer(o)))...)
	return uint32(r)
}

func (o *object) release() { o.call(methodRelease) }

// logon is an IMAPISession.
type logon struct {
	mapi *dll
	*object
}

func (l *logon) logoff() {
	l.call(methodLogoff, 0, 0, 0)
	l.release()
}

func (l *logon) openStore(entry []byte, flags uint32) (store, uint32) {
	var o *object
	hr := l.call(methodOpenMsgStore, 0, uintptr(len(entry)), uintptr(unsafe.Pointer(unsafe.SliceData(entry))), 0, uintptr(flags), uintptr(unsafe.Pointer(&o)))
	hr = whole(hr, o)
	return &mailbox{mapi: l.mapi, object: o}, hr
}

// mailbox is an IMsgStore.
type mailbox struct {
	mapi *dll
	*object
}

// read asks for the number of messages in the root folder, which the server
// counts.
func (s *mailbox) read(flags uint32) uint32 {
	var kind uint32
	var folder *object
	hr := s.call(methodOpenEntry, 0, 0, 0, uintptr(flags), uintptr(unsafe.Pointer(&kind)), uintptr(unsafe.Pointer(&folder)))
	if hr = whole(hr, folder); mapiprobe.Classify(hr) != mapiprobe.ClassOK {
		return hr
	}
	defer folder.release()
	tags := propTags{count: 1, tags: [2]uint32{tagContentCount}}
	var count uint32
	var values *propValue
	hr = folder.call(methodGetProps, uintptr(unsafe.Pointer(&tags)), 0, uintptr(unsafe.Pointer(&count)), uintptr(unsafe.Pointer(&values)))
	if values == nil {
		return hr
	}
	defer s.mapi.free(unsafe.Pointer(values))
	if mapiprobe.Classify(hr) == mapiprobe.ClassOK && count > 0 {
		return values.failure()
	}
	return hr
}
