package desktop

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// stage has windows of its own on its own thread, which takes its messages.
type stage struct {
	t    *testing.T
	work chan func()
	open []uintptr // windows, or what was one
}

var (
	testCreateWindow  = comUser32.NewProc("CreateWindowExW")
	testDestroyWindow = comUser32.NewProc("DestroyWindow")
	testRegisterClass = comUser32.NewProc("RegisterClassExW")
	testDefWindowProc = comUser32.NewProc("DefWindowProcW")
	testEnableWindow  = comUser32.NewProc("EnableWindow")
)

func newStage(t *testing.T) *stage {
	s := &stage{t: t, work: make(chan func())}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		for do := range s.work {
			do()
		}
	}()
	t.Cleanup(func() {
		for _, handle := range s.open {
			s.close(handle)
		}
		close(s.work)
		<-ended
	})
	return s
}

func (s *stage) do(f func()) {
	done := make(chan struct{})
	s.work <- func() {
		defer close(done)
		f()
		pump(time.Millisecond) // what follows from it has happened: activation, another order
	}
	<-done
}

// show opens a window. The class is registered where Windows does not have it.
func (s *stage) show(class string, parent uintptr, style uint32) uintptr {
	s.t.Helper()
	var handle uintptr
	var err error
	s.do(func() {
		name := windows.StringToUTF16Ptr(class)
		c := struct {
			size, style                        uint32
			proc                               uintptr
			classExtra, windowExtra            int32
			instance, icon, cursor, background uintptr
			menu, name                         *uint16
			smallIcon                          uintptr
		}{proc: testDefWindowProc.Addr(), name: name}
		c.size = uint32(unsafe.Sizeof(c))
		_, _, _ = testRegisterClass.Call(uintptr(unsafe.Pointer(&c)))
		handle, _, err = testCreateWindow.Call(0, uintptr(unsafe.Pointer(name)), 0, uintptr(style),
			0, 0, 200, 100, parent, 0, 0, 0)
	})
	if handle == 0 {
		s.t.Fatalf("CreateWindowEx(%s): %v", class, err)
	}
	s.open = append(s.open, handle)
	return handle
}

func (s *stage) close(handle uintptr) {
	s.do(func() { _, _, _ = testDestroyWindow.Call(handle) })
}

func (s *stage) enable(handle uintptr, on uintptr) {
	s.do(func() { _, _, _ = testEnableWindow.Call(handle, on) })
}

const (
	styleTop   = 0x10CF0000 // WS_OVERLAPPEDWINDOW | WS_VISIBLE
	styleChild = 0x50000000 // WS_CHILD | WS_VISIBLE
)

// This process plays Outlook, from the chooser of profiles to a modal box.
func TestAskingOf(t *testing.T) {
	us := []uint32{uint32(os.Getpid())}
	s := newStage(t)
	expect := func(when string, want Asking) {
		t.Helper()
		if got := askingOf(us); got != want {
			t.Errorf("%s it asks for %q, want %q", when, got, want)
		}
	}
	expect("without a window", AskingNothing)

	chooser := s.show("#32770", 0, styleTop)
	expect("with a dialog box", AskingDialog)
	s.show("ComboBox", chooser, styleChild)
	expect("with a choice in it", AskingProfile)
	s.close(chooser)
	expect("when it is closed", AskingNothing)

	first := s.show("NUIDialog", 0, styleTop)
	expect("with a box of Office", AskingFirst)
	s.close(first)

	outlook := s.show("rctrl_renwnd32", 0, styleTop)
	expect("with its main window", AskingNothing)
	s.show("#32770", 0, styleTop)
	expect("with its reminders", AskingNothing)
	question := s.show("#32770", outlook, styleTop)
	expect("with a box that takes no input away", AskingNothing)
	s.enable(outlook, 0)
	expect("with a modal box", AskingDialog)
	s.close(question)
	expect("with a main window that takes no input", AskingDialog)
	s.enable(outlook, 1)
	expect("when all is answered", AskingNothing)

	if got := askingOf([]uint32{0xFFFF}); got != AskingNothing {
		t.Errorf("for another process it asks for %q, want nothing", got)
	}
}

// What is drawn inside a frame counts, not who draws the frame.
func TestLooked(t *testing.T) {
	s := newStage(t)
	frame := s.show("ApplicationFrameWindow", 0, styleTop)
	s.show("Windows.UI.Core.CoreWindow", frame, styleChild)
	names := map[uint32]string{}
	got := looked(windows.HWND(frame), names)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := window{
		Class: "ApplicationFrameWindow", Process: filepath.Base(self), PID: uint32(os.Getpid()), Visible: true, Enabled: true,
	}
	if !strings.EqualFold(got.Process, want.Process) {
		t.Errorf("drawn by %q, want %q", got.Process, want.Process)
	}
	if got.Process = want.Process; got != want {
		t.Errorf("window is %+v, want %+v", got, want)
	}
	if len(names) != 1 {
		t.Errorf("names are %v, want one", names)
	}
	s.close(frame)
	if got := looked(windows.HWND(frame), names); got.Visible {
		t.Errorf("a window that is gone is %+v", got)
	}
}
