package outlooktest

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/go-ole/go-ole"
	"golang.org/x/sys/windows"
)

// Window is a window that the stand-in shows for as long as it lives.
type Window struct {
	Class string        `json:"class"`
	After time.Duration `json:"after"` // since the one before, or the start
	Over  string        `json:"over"`  // the class of one before it that it belongs to, and that takes no input now; empty: none
}

var (
	createWindow  = user32.NewProc("CreateWindowExW")
	registerClass = user32.NewProc("RegisterClassExW")
	defWindowProc = user32.NewProc("DefWindowProcW")
	enableWindow  = user32.NewProc("EnableWindow")
)

const styleShown = 0x10CF0000 // WS_OVERLAPPEDWINDOW | WS_VISIBLE

// show opens the windows, and takes their messages until the process ends.
func show(all []Window) {
	runtime.LockOSThread()
	shown := map[string]uintptr{}
	for _, w := range all {
		<-time.After(w.After)
		handle, err := openWindow(w.Class, shown[w.Over])
		if err != nil {
			fmt.Fprintln(os.Stderr, err) // the test waits for it in vain, and shows this
			return
		}
		if owner := shown[w.Over]; owner != 0 {
			_, _, _ = enableWindow.Call(owner, 0)
		}
		shown[w.Class] = handle
	}
	message := new(ole.Msg)
	for {
		if got, _, _ := getMessage.Call(uintptr(unsafe.Pointer(message)), 0, 0, 0); int32(got) <= 0 {
			return
		}
		_, _, _ = dispatchMessage.Call(uintptr(unsafe.Pointer(message)))
	}
}

// openWindow registers the class, where Windows does not have it, and opens one.
func openWindow(class string, owner uintptr) (uintptr, error) {
	name, err := windows.UTF16PtrFromString(class)
	if err != nil {
		return 0, err
	}
	c := struct { // WNDCLASSEXW
		size, style                        uint32
		proc                               uintptr
		classExtra, windowExtra            int32
		instance, icon, cursor, background uintptr
		menu, name                         *uint16
		smallIcon                          uintptr
	}{proc: defWindowProc.Addr(), name: name}
	c.size = uint32(unsafe.Sizeof(c))
	_, _, _ = registerClass.Call(uintptr(unsafe.Pointer(&c))) // it may be there
	handle, _, err := createWindow.Call(0, uintptr(unsafe.Pointer(name)), 0, styleShown, 0, 0, 200, 100, owner, 0, 0, 0)
	if handle == 0 {
		return 0, fmt.Errorf("CreateWindowEx(%s): %w", class, err)
	}
	return handle, nil
}
