package desktop

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Start starts Outlook. It is the only place that does.
func (d *local) Start(ctx context.Context, profile string) (Process, error) {
	d.mu.Lock() // one at a time, from the look to the process
	defer d.mu.Unlock()
	path, err := d.mayStart(profile)
	if err != nil {
		return Process{}, err
	}
	if err := ctx.Err(); err != nil {
		return Process{}, err
	}
	environment, err := userEnvironment()
	if err != nil {
		return Process{}, fmt.Errorf("read the account's environment: %w", err)
	}
	info, err := create(path, commandLine(path, Arguments(profile)), environment)
	if err != nil {
		return Process{}, err
	}
	closeHandle(info.Thread)
	d.started = append(d.started, started{pid: info.ProcessId, handle: info.Process})
	return Process{
		PID: info.ProcessId, Product: ClassicOutlook, SessionID: d.here.SessionID, StartedOn: startOf(info.Process),
	}, nil
}

// mayStart looks again at everything that forbids a start, and says what to
// start. Its refusals are of type *Refusal.
func (d *local) mayStart(profile string) (path string, err error) {
	switch {
	case d.sid != d.here.SID:
		return "", &Refusal{Reason: RefusedAccount, Detail: "Outlook is started for the account that the agent runs as only: run the agent as the account of the MAPI service."}
	case !d.here.Interactive:
		return "", &Refusal{Reason: RefusedService, Detail: "A service has no desktop for Outlook: run the agent in a session of the account."}
	case d.here.Elevated:
		return "", &Refusal{Reason: RefusedElevated, Detail: "An Outlook with administrator rights cannot be reached by other programs: run the agent without administrator rights."}
	}
	i := installation(d.user, d.machine)
	switch {
	case i.Path == "":
		return "", &Refusal{Reason: RefusedNoOutlook, Detail: "Classic Outlook is not installed on this machine: install it, as Extended MAPI comes with it."}
	case i.NewInUse:
		return "", &Refusal{Reason: RefusedNewOutlook, Detail: "This account uses new Outlook, which has no MAPI: switch it back to classic Outlook."}
	}
	if refused := checkProfile(profile, profiles(d.user).Names); refused != nil {
		return "", refused
	}
	running, err := processes(d.sid, d.here.SessionID)
	if err != nil {
		return "", fmt.Errorf("list the processes of this machine: %w", err)
	}
	for _, p := range running {
		if p.Product == ClassicOutlook {
			return "", &Refusal{Reason: RefusedRunning, Detail: "Outlook runs for this account already, and a second one is never started beside it."}
		}
	}
	return i.Path, nil
}

// create makes the process: minimised, without the focus, with no handle of
// ours, and so that it outlives us.
func create(path, line string, environment []string) (*windows.ProcessInformation, error) {
	inJob, limits := jobLimits()
	leave := leaveJob(inJob, limits)
	info, err := createIn(path, line, environment, leave)
	if leave != 0 && errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		if err := stayInJob(limits); err != nil {
			return nil, err
		}
		info, err = createIn(path, line, environment, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("start Outlook: %w", err)
	}
	return info, nil
}

func createIn(path, line string, environment []string, leave uint32) (*windows.ProcessInformation, error) {
	program, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	wide, err := windows.UTF16PtrFromString(line)
	if err != nil {
		return nil, err
	}
	folder, err := windows.UTF16PtrFromString(folderOf(path))
	if err != nil {
		return nil, err
	}
	startup := windows.StartupInfo{Flags: windows.STARTF_USESHOWWINDOW, ShowWindow: windows.SW_SHOWMINNOACTIVE}
	startup.Cb = uint32(unsafe.Sizeof(startup))
	block := wideBlock(environment)
	// The default error mode: how Outlook reports its crashes is its own matter,
	// and Go's runtime has changed ours.
	flags := uint32(windows.CREATE_UNICODE_ENVIRONMENT | windows.CREATE_NEW_PROCESS_GROUP |
		windows.DETACHED_PROCESS | windows.CREATE_DEFAULT_ERROR_MODE)
	var info windows.ProcessInformation
	err = windows.CreateProcess(program, wide, nil, nil, false, flags|leave, &block[0], folder, &startup, &info)
	if err != nil {
		return nil, err
	}
	return &info, nil
}

// userEnvironment is what the account's shell would hand a program, without ours.
// This process's own environment stays here: it may hold secrets.
func userEnvironment() ([]string, error) {
	var token windows.Token
	err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_QUERY|windows.TOKEN_DUPLICATE|windows.TOKEN_IMPERSONATE, &token)
	if err != nil {
		return nil, err
	}
	defer closeToken(token)
	return environmentOf(token)
}

func environmentOf(token windows.Token) ([]string, error) {
	environment, err := token.Environ(false)
	if err != nil {
		return nil, err
	}
	return withoutOurs(environment), nil
}

func wideBlock(environment []string) []uint16 {
	var block []uint16
	for _, variable := range environment {
		block = append(block, utf16Of(variable)...)
	}
	if len(block) == 0 {
		block = append(block, 0)
	}
	return append(block, 0)
}

// utf16Of is s with its zero; without what could not stand in a variable.
func utf16Of(s string) []uint16 {
	wide, err := windows.UTF16FromString(s)
	if err != nil {
		return nil
	}
	return wide
}
