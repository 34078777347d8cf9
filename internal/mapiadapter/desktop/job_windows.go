package desktop

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// jobLimits are the limits of the job that this process is in; none where they are
// not told, as Wine does.
func jobLimits() (inJob bool, limits uint32) {
	var in int32
	if isProcessInJob.Find() != nil || queryJob.Find() != nil {
		return false, 0
	}
	ok, _, _ := isProcessInJob.Call(uintptr(windows.CurrentProcess()), 0, uintptr(unsafe.Pointer(&in)))
	if ok == 0 || in == 0 {
		return false, 0
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	var size uint32
	ok, _, _ = queryJob.Call(0, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&size)))
	if ok == 0 {
		return true, 0
	}
	return true, info.BasicLimitInformation.LimitFlags
}

// leaveJob is the flag that takes a new process out of our job, so that our end
// is not its end.
func leaveJob(inJob bool, limits uint32) uint32 {
	if !inJob || limits&windows.JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK != 0 {
		return 0
	}
	return windows.CREATE_BREAKAWAY_FROM_JOB
}

// stayInJob decides about a job that lets nothing out: what is started in one
// that ends with us would be ended, so nothing is.
func stayInJob(limits uint32) error {
	if limits&windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE == 0 {
		return nil
	}
	return &Refusal{Reason: RefusedJob, Detail: "Outlook would be ended together with the agent, unsaved work and all: start the agent at logon, not from a program that ends it."}
}
