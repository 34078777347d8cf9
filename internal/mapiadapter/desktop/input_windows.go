package desktop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	user32         = windows.NewLazySystemDLL("user32.dll")
	getLastInput   = user32.NewProc("GetLastInputInfo")
	kernel32       = windows.NewLazySystemDLL("kernel32.dll")
	getTickCount   = kernel32.NewProc("GetTickCount")
	isProcessInJob = kernel32.NewProc("IsProcessInJob")
	queryJob       = kernel32.NewProc("QueryInformationJobObject")
)

// lastInput is when a key or the mouse was last touched in this session; zero:
// not known. Both tick counts wrap after 49.7 days, their difference does not.
func lastInput(now time.Time) time.Time {
	if getLastInput.Find() != nil || getTickCount.Find() != nil {
		return time.Time{}
	}
	info := struct{ size, tick uint32 }{size: 8}
	if ok, _, _ := getLastInput.Call(uintptr(unsafe.Pointer(&info))); ok == 0 {
		return time.Time{}
	}
	tick, _, _ := getTickCount.Call()
	return now.Add(-time.Duration(uint32(tick)-info.tick) * time.Millisecond).Truncate(time.Second)
}
