package desktop

import (
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	askFindWindowEx    = comUser32.NewProc("FindWindowExW")
	askGetWindow       = comUser32.NewProc("GetWindow")
	askIsWindowEnabled = comUser32.NewProc("IsWindowEnabled")
)

const (
	gwOwner = 4 // GW_OWNER

	// walkLimit is how many windows are looked at, a hundred times what a
	// session has: the walk is not over a list that stands still.
	walkLimit = 20_000

	classFrame = "ApplicationFrameWindow"     // of ApplicationFrameHost.exe, around a program of the Store's kind
	classCore  = "Windows.UI.Core.CoreWindow" // what that program draws
)

// askingOf looks at the windows of the session and says what they ask a person
// on behalf of the Outlook processes with these IDs. It reads no text of any
// window and sends no message to any, so that a hanging one does not hold it up.
func askingOf(outlook []uint32) Asking {
	if len(outlook) == 0 {
		return AskingNothing
	}
	names := map[uint32]string{}
	var seen []window
	for _, handle := range topWindows() {
		if w := looked(handle, names); w.Visible {
			seen = append(seen, w)
		}
	}
	return asked(seen, outlook)
}

// list collects windows, each once. It is handed to Windows, which hands it to
// collect: so it must not move while a list is made.
type list struct {
	all  []windows.HWND
	seen map[windows.HWND]bool
}

func (l *list) add(handle windows.HWND) {
	if !l.seen[handle] {
		l.seen[handle] = true
		l.all = append(l.all, handle)
	}
}

// collect is a WNDENUMPROC. One is a function, not a closure: callbacks are never
// freed.
func collect(handle windows.HWND, into *list) uintptr {
	into.add(handle)
	return 1 // go on
}

// topWindows lists the top-level windows of the session. EnumWindows takes them
// all at once, but since Windows 8 leaves out those that stand in another band
// of the screen, and so perhaps the sign-in of Windows. FindWindowEx has them,
// one after the other, and misses some while the order changes.
func topWindows() []windows.HWND {
	found := &list{seen: map[windows.HWND]bool{}}
	var hold runtime.Pinner
	hold.Pin(found) // on the heap, not on a stack that may move
	defer hold.Unpin()
	_ = windows.EnumWindows(windows.NewCallback(collect), unsafe.Pointer(found)) // what it cannot list is not there

	var last uintptr
	for range walkLimit {
		last, _, _ = askFindWindowEx.Call(0, last, 0, 0)
		if last == 0 {
			break // the end, or the last one has gone meanwhile
		}
		found.add(windows.HWND(last))
	}
	return found.all
}

// looked is what counts of a window. The names of processes are kept in names.
func looked(handle windows.HWND, names map[uint32]string) window {
	w := window{Class: classOf(handle), PID: pidOf(handle)}
	w.Visible = windows.IsWindowVisible(handle) && !cloaked(handle)
	if !w.Visible {
		return w
	}
	w.Enabled = enabled(handle)
	w.Choice = child(handle, "ComboBox") != 0 || child(handle, "REComboBox20W") != 0
	drawnBy := w.PID
	if core := child(handle, classCore); w.Class == classFrame && core != 0 {
		drawnBy = pidOf(core)
	}
	if _, known := names[drawnBy]; !known {
		names[drawnBy] = processName(drawnBy)
	}
	w.Process = names[drawnBy]
	if owner, _, _ := askGetWindow.Call(uintptr(handle), gwOwner); owner != 0 {
		w.OwnerPID = pidOf(windows.HWND(owner))
		w.Modal = !enabled(windows.HWND(owner))
	}
	return w
}

// child is the first child window of a class, or zero.
func child(parent windows.HWND, class string) windows.HWND {
	name, err := windows.UTF16PtrFromString(class)
	if err != nil {
		return 0
	}
	found, _, _ := askFindWindowEx.Call(uintptr(parent), 0, uintptr(unsafe.Pointer(name)), 0)
	return windows.HWND(found)
}

func classOf(handle windows.HWND) string {
	var name [256]uint16 // the longest there can be
	n, err := windows.GetClassName(handle, &name[0], int32(len(name)))
	if err != nil {
		return ""
	}
	return windows.UTF16ToString(name[:n])
}

func pidOf(handle windows.HWND) uint32 {
	var pid uint32
	_, _ = windows.GetWindowThreadProcessId(handle, &pid)
	return pid
}

func enabled(handle windows.HWND) bool {
	yes, _, _ := askIsWindowEnabled.Call(uintptr(handle))
	return yes != 0
}

// cloaked reports whether the window is kept off the screen though it says that
// it is visible, as those of sleeping programs of the Store's kind are.
func cloaked(handle windows.HWND) bool {
	var why uint32
	err := windows.DwmGetWindowAttribute(handle, windows.DWMWA_CLOAKED, unsafe.Pointer(&why), uint32(unsafe.Sizeof(why)))
	return err == nil && why != 0
}

// processName is the file name of a process's program, empty where it cannot be
// read: it has ended, or belongs to somebody else.
func processName(pid uint32) string {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return ""
	}
	defer func() { _ = windows.CloseHandle(process) }()
	var path [windows.MAX_LONG_PATH]uint16
	size := uint32(len(path))
	if err := windows.QueryFullProcessImageName(process, 0, &path[0], &size); err != nil {
		return ""
	}
	name := windows.UTF16ToString(path[:size])
	return filepath.Base(strings.TrimSpace(name))
}
