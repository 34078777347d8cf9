package desktop

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// What golang.org/x/sys/windows does not have of wtsapi32.dll.
var (
	wtsapi32        = windows.NewLazySystemDLL("wtsapi32.dll")
	wtsQuerySession = wtsapi32.NewProc("WTSQuerySessionInformationW")
	wtsSendMessage  = wtsapi32.NewProc("WTSSendMessageW")
	wtsEnumerate    = wtsapi32.NewProc("WTSEnumerateProcessesW")
)

// WTS_INFO_CLASS.
const (
	wtsUserName      = 5
	wtsDomainName    = 7
	wtsConnectState  = 8
	wtsSessionInfoEx = 25
)

const longestName = 512 // bytes of a name that a session says; longer ones are not names

// querySession is WTSQuerySessionInformation, as bytes.
func querySession(session, class uint32) ([]byte, error) {
	if err := wtsQuerySession.Find(); err != nil {
		return nil, err
	}
	var buffer *byte
	var size uint32
	ok, _, err := wtsQuerySession.Call(0, uintptr(session), uintptr(class),
		uintptr(unsafe.Pointer(&buffer)), uintptr(unsafe.Pointer(&size)))
	if ok == 0 || buffer == nil {
		return nil, callError(err)
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(buffer)))
	return append([]byte(nil), unsafe.Slice(buffer, size)...), nil
}

// sessionText is an answer of WTSQuerySessionInformation that is a text.
func sessionText(session, class uint32) string {
	b, err := querySession(session, class)
	if err != nil || len(b) > longestName {
		return ""
	}
	wide := make([]uint16, len(b)/2)
	for i := range wide {
		wide[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return windows.UTF16ToString(wide)
}

// sessionIDs are the sessions of this machine, as WTSEnumerateSessions lists
// them. Needs no privilege.
func sessionIDs() ([]uint32, error) {
	var first *windows.WTS_SESSION_INFO
	var count uint32
	if err := windows.WTSEnumerateSessions(0, 0, 1, &first, &count); err != nil {
		return nil, err
	}
	if first == nil {
		return nil, nil
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(first)))
	ids := make([]uint32, 0, count)
	for _, s := range unsafe.Slice(first, count) {
		ids = append(ids, s.SessionID)
	}
	return ids, nil
}

// processInfo is WTS_PROCESS_INFOW.
type processInfo struct {
	sessionID uint32
	pid       uint32
	name      *uint16
	sid       *windows.SID
}

// processOwners are the owners of the processes that the terminal service tells
// them of: also of elevated ones, whose token this process may not open.
func processOwners() map[uint32]string {
	owners := map[uint32]string{}
	if wtsEnumerate.Find() != nil {
		return owners
	}
	var first *processInfo
	var count uint32
	ok, _, _ := wtsEnumerate.Call(0, 0, 1, uintptr(unsafe.Pointer(&first)), uintptr(unsafe.Pointer(&count)))
	if ok == 0 || first == nil {
		return owners
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(first)))
	for _, p := range unsafe.Slice(first, count) {
		if p.sid != nil && p.sid.IsValid() {
			owners[p.pid] = p.sid.String()
		}
	}
	return owners
}

// callError is the error of a call that failed, also where Windows set none.
func callError(err error) error {
	if err == nil || err == windows.ERROR_SUCCESS { //nolint:errorlint // Call returns a plain Errno
		return windows.ERROR_NOT_SUPPORTED
	}
	return err
}
