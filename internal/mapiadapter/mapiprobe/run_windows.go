package mapiprobe

import (
	"errors"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// startOnLeash starts cmd without a console window and puts it into a job that
// ends it when this process ends, however that happens. What the probe starts
// stays out of the job (silent breakaway): should MAPI ever start a part of
// Office, it must not be ended with the probe.
//
// The process runs for a moment before it is in the job; its own time limit
// covers the case that this process dies just then.
func startOnLeash(cmd *exec.Cmd) (release func(), err error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, err
	}
	letGo := func() { _ = windows.CloseHandle(job) }
	defer func() {
		if err != nil {
			letGo()
		}
	}()
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	if err = cmd.Start(); err != nil {
		return nil, err
	}
	var assigned error
	err = cmd.Process.WithHandle(func(h uintptr) {
		assigned = windows.AssignProcessToJobObject(job, windows.Handle(h))
	})
	if err = errors.Join(err, assigned); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return letGo, nil
}
