package peer

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

func openProcess(pid int) (windows.Handle, error) {
	return windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
}

// begin is when a process was made, in 100 ns since 1601; 0 where that is not told.
func begin(process windows.Handle) uint64 {
	var made, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(process, &made, &ended, &kernel, &user); err != nil {
		return 0
	}
	return fileTime(made)
}

func fileTime(t windows.Filetime) uint64 {
	return uint64(t.HighDateTime)<<32 | uint64(t.LowDateTime)
}

// hasEnded reports whether a process is there only because somebody holds it open.
func hasEnded(process windows.Handle) bool {
	const stillActive = 259
	var code uint32
	return windows.GetExitCodeProcess(process, &code) == nil && code != stillActive
}

func startOf(pid int) (uint64, error) {
	h, err := openProcess(pid)
	if err != nil {
		return 0, ErrUnknown
	}
	defer func() { _ = windows.CloseHandle(h) }()
	start := begin(h)
	if start == 0 || hasEnded(h) {
		return 0, ErrUnknown
	}
	return start, nil
}

// parents is the way up, by one picture of all processes. Windows keeps the ID of a
// parent that has ended, and may give it to another process: the caller compares
// when they began.
func parents() (func(Root) (Root, bool), error) {
	parent, err := snapshot()
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	return func(child Root) (Root, bool) {
		p := Root{PID: parent[child.PID]}
		if p.PID == 0 {
			return Root{}, false
		}
		h, err := openProcess(p.PID)
		if err != nil {
			return Root{}, false
		}
		defer func() { _ = windows.CloseHandle(h) }()
		p.Start = begin(h)
		return p, p.Start != 0
	}, nil
}

// snapshot is the parent's ID of every process.
func snapshot() (map[int]int, error) {
	h, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	parent := map[int]int{}
	var e windows.ProcessEntry32
	e.Size = uint32(unsafe.Sizeof(e))
	for err = windows.Process32First(h, &e); err == nil; err = windows.Process32Next(h, &e) {
		parent[int(e.ProcessID)] = int(e.ParentProcessID)
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, err
	}
	return parent, nil
}

// openProgram opens the file under the program's path. Windows lets nobody change a
// file that runs, but whoever may write to its directory can put another one there.
func openProgram(f found) (*os.File, error) {
	if f.Image == "" {
		return nil, ErrUnknown
	}
	return os.Open(f.Image)
}

func stateOf(f *os.File) (fileState, error) {
	var i windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &i); err != nil {
		return fileState{}, err
	}
	wide := func(high, low uint32) uint64 { return uint64(high)<<32 | uint64(low) }
	return fileState{
		id:   fileID{volume: uint64(i.VolumeSerialNumber), index: wide(i.FileIndexHigh, i.FileIndexLow)},
		size: int64(wide(i.FileSizeHigh, i.FileSizeLow)), written: i.LastWriteTime.Nanoseconds(),
	}, nil
}

// clock is now, as GetProcessTimes counts.
func clock() uint64 {
	var t windows.Filetime
	windows.GetSystemTimePreciseAsFileTime(&t)
	return fileTime(t)
}
