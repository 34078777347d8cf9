package notify

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// startTree starts the command in a job object, which is ended as a whole when the
// command's context ends. It is started suspended, so that it has no children
// before it is in the job. Call end when it was waited for.
func startTree(ctx context.Context, cmd *exec.Cmd) (end func(), err error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, err
	}
	end = func() { _ = windows.CloseHandle(job) }
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED | windows.CREATE_NO_WINDOW}
	cmd.Cancel = func() error { return errors.Join(windows.TerminateJobObject(job, 1), cmd.Process.Kill()) }
	if err := cmd.Start(); err != nil {
		end()
		return nil, err
	}
	var assigned error
	_ = cmd.Process.WithHandle(func(process uintptr) {
		assigned = windows.AssignProcessToJobObject(job, windows.Handle(process))
	})
	if err := errors.Join(assigned, resume(uint32(cmd.Process.Pid)), ctx.Err()); err != nil {
		_ = cmd.Cancel()
		_ = cmd.Wait()
		end()
		return nil, err
	}
	return end, nil
}

// resume lets a process run that was started suspended.
func resume(pid uint32) error {
	threads, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(threads) }()
	t := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	resumed := errors.New("it has no thread")
	for err = windows.Thread32First(threads, &t); err == nil; err = windows.Thread32Next(threads, &t) {
		if t.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, t.ThreadID)
		if err != nil {
			return err
		}
		_, resumed = windows.ResumeThread(thread)
		_ = windows.CloseHandle(thread)
	}
	return resumed
}
