package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc/eventlog"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// windowsService is what this Windows offers.
func windowsService() serviceTools {
	return serviceTools{
		manager: lifecycle.NewServiceManager(), program: thisProgram, sid: sidOfService, allowLogon: allowServiceLogon,
		share: ownerfile.Share, eventSource: registerEvents, agent: agentForAll,
	}
}

// sidOfService is sidOf, and knows the accounts that services alone have, by the
// names that the service manager uses.
func sidOfService(account string) (string, error) {
	switch lower := strings.ToLower(account); {
	case lifecycle.IsLocalSystem(account):
		return "S-1-5-18", nil
	case lower == `nt authority\localservice`:
		return "S-1-5-19", nil
	case lower == `nt authority\networkservice`:
		return "S-1-5-20", nil
	case strings.HasPrefix(lower, `nt service\`):
		return ownerfile.ServiceSID(account[len(`nt service\`):]), nil
	}
	return sidOf(account)
}

// programData is the directory of settings for all users, "" where it is not
// known. It is read where Windows takes the variable of this name from: a service
// manager can give another environment than a session has (Wine's does).
func programData() string {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList`, registry.QUERY_VALUE)
	if err != nil {
		return ""
	}
	defer func() { _ = key.Close() }()
	dir, _, err := key.GetStringValue("ProgramData")
	windir, err2 := windows.GetWindowsDirectory()
	if err != nil || err2 != nil {
		return ""
	}
	return strings.ReplaceAll(dir, "%SystemDrive%", filepath.VolumeName(windir))
}

// thisProgram is the absolute path of the running program.
func thisProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return self, nil
}

// eventsKey is where Windows keeps the sources of the Application log.
const eventsKey = `SYSTEM\CurrentControlSet\Services\EventLog\Application\` + serviceName

// registerEvents makes or removes the event source. Its texts are those of
// EventCreate.exe, which Windows has.
func registerEvents(install bool) error {
	if !install {
		err := eventlog.Remove(serviceName)
		if errors.Is(err, registry.ErrNotExist) {
			err = nil
		}
		return err
	}
	if key, err := registry.OpenKey(registry.LOCAL_MACHINE, eventsKey, registry.QUERY_VALUE); err == nil {
		return key.Close() // it is there
	}
	return eventlog.InstallAsEventCreate(serviceName, eventlog.Error|eventlog.Warning|eventlog.Info)
}

// agentForAll makes or removes the agent's entry for everybody who logs on.
func agentForAll(o *options, install bool) error {
	if !install {
		_, err := uninstallAgent(true)
		return err
	}
	_, err := installAgent(o, true)
	return err
}

// What LsaOpenPolicy and its like take (ntsecapi.h).
const (
	policyCreateAccount  = 0x10
	policyLookupNames    = 0x800
	serviceLogonRight    = "SeServiceLogonRight"
	objectAttributesSize = uint32(unsafe.Sizeof(windows.OBJECT_ATTRIBUTES{}))
)

// allowServiceLogon gives an account the right to log on as a service
// (LsaAddAccountRights). It may have it already.
func allowServiceLogon(account string) error {
	sid, err := windows.StringToSid(account)
	if err != nil {
		return fmt.Errorf("read the account's security identifier: %w", err)
	}
	lsa := windows.NewLazySystemDLL("advapi32.dll")
	call := func(name string, args ...uintptr) error {
		proc := lsa.NewProc(name)
		if err := proc.Find(); err != nil {
			return err
		}
		if status, _, _ := proc.Call(args...); status != 0 {
			return windows.NTStatus(uint32(status)).Errno()
		}
		return nil
	}
	attributes := windows.OBJECT_ATTRIBUTES{Length: objectAttributesSize}
	var policy uintptr
	err = call("LsaOpenPolicy", 0, uintptr(unsafe.Pointer(&attributes)), policyCreateAccount|policyLookupNames, uintptr(unsafe.Pointer(&policy))) //nolint:gosec // the call takes pointers
	if err != nil {
		return fmt.Errorf("open the security policy: %w", err)
	}
	defer func() { _ = call("LsaClose", policy) }()
	right, err := windows.NewNTUnicodeString(serviceLogonRight)
	if err != nil {
		return err
	}
	err = call("LsaAddAccountRights", policy, uintptr(unsafe.Pointer(sid)), uintptr(unsafe.Pointer(right)), 1) //nolint:gosec // as above
	if err != nil {
		return fmt.Errorf("add the right: %w", err)
	}
	return nil
}
