package outlooktest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/go-ole/go-ole"
	"golang.org/x/sys/windows"
)

// The objects live in this thread's single-threaded apartment, like Outlook's:
// calls come in as messages, one at a time, through the message filter.

const (
	hresultOK          = 0
	hresultNoInterface = 0x80004002 // E_NOINTERFACE
	hresultNotImpl     = 0x80004001 // E_NOTIMPL
	hresultUnknownName = 0x80020006 // DISP_E_UNKNOWNNAME
	hresultNotFound    = 0x80020003 // DISP_E_MEMBERNOTFOUND
	hresultException   = 0x80020009 // DISP_E_EXCEPTION
	hresultRetryLater  = 0x8001010A // RPC_E_SERVERCALL_RETRYLATER
	hresultOneProvider = 0x8004011D // MAPI_E_FAILONEPROVIDER
	callHandled        = 0          // SERVERCALL_ISHANDLED
	callRejected       = 1          // SERVERCALL_REJECTED
	messageQuit        = 0x0012     // WM_QUIT
	exitDied           = 3
	registerStrong     = 0 // ACTIVEOBJECT_STRONG
)

// member is what the stand-in knows of Outlook's object model; its place is its
// DISPID, from 1.
var members = []string{"Session", "CurrentProfileName", "ExchangeConnectionMode", "SendAndReceive"}

var (
	ole32                 = windows.NewLazySystemDLL("ole32.dll")
	oleaut32              = windows.NewLazySystemDLL("oleaut32.dll")
	user32                = windows.NewLazySystemDLL("user32.dll")
	registerActiveObject  = oleaut32.NewProc("RegisterActiveObject")
	revokeActiveObject    = oleaut32.NewProc("RevokeActiveObject")
	registerMessageFilter = ole32.NewProc("CoRegisterMessageFilter")
	getMessage            = user32.NewProc("GetMessageW")
	dispatchMessage       = user32.NewProc("DispatchMessageW")
	postThreadMessage     = user32.NewProc("PostThreadMessageW")
)

// class is that of Outlook.Application.
var class = ole.GUID{Data1: 0x0006F03A, Data4: [8]byte{0xC0, 0, 0, 0, 0, 0, 0, 0x46}}

// object is a COM object: a pointer to its table of methods, then what is ours.
// COM holds plain pointers to it, so play keeps it alive.
type object struct {
	table *[7]uintptr
	play  *play
}

// play is one stand-in's COM side.
type play struct {
	COM
	begun       time.Time
	application *object
	session     *object
	filter      *object
}

// Serve puts the stand-in into the running object table and answers calls until
// stop is closed.
func (c COM) Serve(stop <-chan struct{}) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	select {
	case <-stop:
		return nil
	case <-time.After(c.After):
	}
	if err := ole.CoInitializeEx(0, ole.COINIT_APARTMENTTHREADED); err != nil {
		return err
	}
	defer ole.CoUninitialize()

	p := &play{COM: c, begun: time.Now()}
	dispatch := dispatchTable()
	p.application = &object{table: dispatch, play: p}
	p.session = &object{table: dispatch, play: p}
	p.filter = &object{table: filterTable(), play: p}
	defer runtime.KeepAlive(p)

	if hr, _, _ := registerMessageFilter.Call(uintptr(unsafe.Pointer(p.filter)), 0); hr != hresultOK {
		return fmt.Errorf("CoRegisterMessageFilter: %#x", hr)
	}
	var cookie uint32
	hr, _, _ := registerActiveObject.Call(uintptr(unsafe.Pointer(p.application)),
		uintptr(unsafe.Pointer(&class)), registerStrong, uintptr(unsafe.Pointer(&cookie)))
	if hr != hresultOK {
		return fmt.Errorf("RegisterActiveObject: %#x", hr)
	}
	defer func() { _, _, _ = revokeActiveObject.Call(uintptr(cookie), 0) }()

	return pumpUntil(stop)
}

// pumpUntil hands on this thread's messages until stop is closed.
func pumpUntil(stop <-chan struct{}) error {
	thread := windows.GetCurrentThreadId()
	go func() {
		<-stop
		_, _, _ = postThreadMessage.Call(uintptr(thread), messageQuit, 0, 0)
	}()
	message := new(ole.Msg) // calls come in while it is being filled, and may move the stack
	for {
		got, _, err := getMessage.Call(uintptr(unsafe.Pointer(message)), 0, 0, 0)
		switch int32(got) {
		case 0:
			return nil
		case -1:
			return fmt.Errorf("GetMessage: %w", err)
		}
		_, _, _ = dispatchMessage.Call(uintptr(unsafe.Pointer(message)))
	}
}

// dispatchTable is IDispatch.
func dispatchTable() *[7]uintptr {
	return &[7]uintptr{
		windows.NewCallback(queryInterface),
		windows.NewCallback(addRef),
		windows.NewCallback(release),
		windows.NewCallback(func(_ *object, count *uint32) uintptr { *count = 0; return hresultOK }),
		windows.NewCallback(func(*object, uintptr, uintptr, *uintptr) uintptr { return hresultNotImpl }),
		windows.NewCallback(idsOfNames),
		windows.NewCallback(invoke),
	}
}

// filterTable is IMessageFilter.
func filterTable() *[7]uintptr {
	return &[7]uintptr{
		windows.NewCallback(func(this *object, iid *ole.GUID, out *uintptr) uintptr {
			*out = 0
			if !ole.IsEqualGUID(iid, ole.IID_IUnknown) && !ole.IsEqualGUID(iid, iidMessageFilter) {
				return hresultNoInterface
			}
			*out = uintptr(unsafe.Pointer(this))
			return hresultOK
		}),
		windows.NewCallback(addRef),
		windows.NewCallback(release),
		windows.NewCallback(func(this *object, _, _, _, _ uintptr) uintptr { return this.play.handleIncoming() }),
		windows.NewCallback(func(*object, uintptr, uintptr, uintptr) uintptr { return ^uintptr(0) }), // RetryRejectedCall: no
		windows.NewCallback(func(*object, uintptr, uintptr, uintptr) uintptr { return 2 }),           // MessagePending: wait on
	}
}

var iidMessageFilter = ole.NewGUID("{00000016-0000-0000-C000-000000000046}")

// handleIncoming is where Outlook turns calls away while it shows a dialog.
func (p *play) handleIncoming() uintptr {
	if p.RetryLater || !p.rejects() {
		return callHandled
	}
	return callRejected
}

// rejects reports whether a call is turned away now, and notes it.
func (p *play) rejects() bool {
	if p.RejectFor >= 0 && time.Since(p.begun) >= p.RejectFor {
		return false
	}
	return p.note(Rejected) == nil
}

func queryInterface(this *object, iid *ole.GUID, out *uintptr) uintptr {
	*out = 0
	if !ole.IsEqualGUID(iid, ole.IID_IUnknown) && !ole.IsEqualGUID(iid, ole.IID_IDispatch) {
		return hresultNoInterface
	}
	*out = uintptr(unsafe.Pointer(this))
	return hresultOK
}

// The objects live as long as the process, so nobody counts.
func addRef(*object) uintptr  { return 2 }
func release(*object) uintptr { return 1 }

func idsOfNames(this *object, _ uintptr, names **uint16, count, _ uintptr, ids *int32) uintptr {
	// The filter could say SERVERCALL_RETRYLATER too, but Wine 8 lets such a call
	// through; on the other side both look the same.
	if this.play.RetryLater && this.play.rejects() {
		return hresultRetryLater
	}
	if count != 1 {
		return hresultUnknownName
	}
	name := windows.UTF16PtrToString(*names)
	for i, m := range members {
		if m == name {
			*ids = int32(i + 1)
			return hresultOK
		}
	}
	*ids = -1
	return hresultUnknownName
}

// exception is EXCEPINFO.
type exception struct {
	_     [2]uint16
	_     [3]uintptr
	_     uint32
	_     [2]uintptr
	scode uint32
}

func invoke(this *object, id, _, _, _, _ uintptr, result *ole.VARIANT, thrown *exception, _ uintptr) uintptr {
	if int(int32(id)) < 1 || int(int32(id)) > len(members) {
		return hresultNotFound
	}
	return this.play.answer(members[int32(id)-1], result, thrown)
}

func (p *play) answer(member string, result *ole.VARIANT, thrown *exception) uintptr {
	if err := p.note(member); err != nil {
		return hresultNotImpl
	}
	switch member {
	case p.Hang:
		for {
			windows.SleepEx(windows.INFINITE, false)
		}
	case p.Die:
		_ = windows.TerminateProcess(windows.CurrentProcess(), exitDied)
	case p.Throw:
		if thrown != nil {
			thrown.scode = hresultOneProvider
		}
		return hresultException
	}
	if result == nil {
		return hresultOK
	}
	switch member {
	case "Session":
		*result = ole.NewVariant(ole.VT_DISPATCH, int64(uintptr(unsafe.Pointer(p.session))))
	case "CurrentProfileName":
		*result = ole.NewVariant(ole.VT_BSTR, int64(uintptr(unsafe.Pointer(ole.SysAllocStringLen(p.Profile)))))
	case "ExchangeConnectionMode":
		mode := p.Mode
		if p.ModeAfter > 0 && time.Since(p.begun) >= p.ModeAfter {
			mode = p.LaterMode
		}
		*result = ole.NewVariant(ole.VT_I4, int64(mode))
	}
	return hresultOK
}

// note writes the member's name into the log.
func (p *play) note(member string) error {
	if p.Log == "" {
		return nil
	}
	log, err := os.OpenFile(p.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(log, member)
	return errors.Join(err, log.Close())
}
