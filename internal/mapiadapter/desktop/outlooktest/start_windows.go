package outlooktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Start is what a stand-in saw of how it was started.
type Start struct {
	PID        uint32    `json:"pid"`
	New        bool      `json:"new"`         // as olk.exe
	Args       []string  `json:"args"`        // without the program
	Line       string    `json:"line"`        // the command line as it came
	Folder     string    `json:"folder"`      // the working folder
	ShowWindow uint16    `json:"show_window"` // of STARTUPINFO, where it is used; else 0xffff
	Variables  []string  `json:"variables"`   // names of the environment
	On         time.Time `json:"on"`
}

const startPrefix = "start-" // and the process's number, beside the program

// record writes down how this process was started.
func record(dir string, isNew bool) error {
	s := Start{PID: windows.GetCurrentProcessId(), New: isNew, Args: os.Args[1:], ShowWindow: 0xffff, On: time.Now()}
	s.Line = windows.UTF16PtrToString(windows.GetCommandLine())
	s.Folder, _ = os.Getwd()
	info := windows.StartupInfo{Cb: uint32(unsafe.Sizeof(windows.StartupInfo{}))}
	if err := windows.GetStartupInfo(&info); err != nil {
		return err
	}
	if info.Flags&windows.STARTF_USESHOWWINDOW != 0 {
		s.ShowWindow = info.ShowWindow
	}
	for _, variable := range windows.Environ() {
		if name, _, ok := strings.Cut(variable, "="); ok && name != "" {
			s.Variables = append(s.Variables, name)
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s%d.json", startPrefix, s.PID))
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Starts are the stand-ins that have been started, in no order.
func (o *Outlook) Starts(t testing.TB) []Start {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(o.Program), startPrefix+"*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []Start
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var s Start
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// Await waits until n stand-ins have been started, and returns them.
func (o *Outlook) Await(t testing.TB, n int) []Start {
	t.Helper()
	var all []Start
	Until(t, func() bool {
		all = o.Starts(t)
		return len(all) >= n
	})
	return all
}

// Until waits until something is so, and fails the test after half a minute.
func Until(t testing.TB, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // another process does it
		if time.Now().After(end) {
			t.Fatal("it did not come about in half a minute")
		}
	}
}

// End ends every stand-in that runs, as if a person had closed it, and waits
// until it is gone. It looks for processes, not for Starts: one may be too young
// to have said anything.
func (o *Outlook) End(t testing.TB) {
	t.Helper()
	Until(t, func() bool {
		running := o.running(t)
		for _, process := range running {
			_ = windows.TerminateProcess(process, 0) // an error: it is ending by itself
			_, _ = windows.WaitForSingleObject(process, 10_000)
			_ = windows.CloseHandle(process)
		}
		return len(running) == 0
	})
}

// running are the stand-ins of this folder, as handles.
func (o *Outlook) running(t testing.TB) []windows.Handle {
	t.Helper()
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(snapshot) }()
	var all []windows.Handle
	entry := windows.ProcessEntry32{}
	entry.Size = uint32(unsafe.Sizeof(entry))
	for err = windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		if name := windows.UTF16ToString(entry.ExeFile[:]); !strings.EqualFold(name, filepath.Base(o.Program)) && !strings.EqualFold(name, newName) {
			continue
		}
		process, err := windows.OpenProcess(windows.PROCESS_TERMINATE|windows.SYNCHRONIZE|windows.PROCESS_QUERY_LIMITED_INFORMATION, false, entry.ProcessID)
		if err != nil {
			continue // it is gone
		}
		if ended, _ := windows.WaitForSingleObject(process, 0); ended == windows.WAIT_OBJECT_0 || !o.owns(process) {
			_ = windows.CloseHandle(process)
			continue
		}
		all = append(all, process)
	}
	return all
}

// owns reports whether the process is a stand-in of this folder: its number may
// have been used again.
func (o *Outlook) owns(process windows.Handle) bool {
	name := make([]uint16, windows.MAX_LONG_PATH)
	size := uint32(len(name))
	if windows.QueryFullProcessImageName(process, 0, &name[0], &size) != nil {
		return false
	}
	return strings.EqualFold(filepath.Dir(windows.UTF16ToString(name[:size])), filepath.Dir(o.Program))
}
