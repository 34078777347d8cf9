package desktop

import (
	"errors"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const stillActive = 259 // STILL_ACTIVE

// processes are the Outlooks of the account in every session. A process counts
// by its image's name alone: a second OUTLOOK.EXE in another folder, or one whose
// path may not be read, is one that Outlook must not be started beside.
func processes(sid string, ownSession uint32) ([]Process, error) {
	found := []Process{}
	var owners map[uint32]string
	err := eachProcess(func(entry *windows.ProcessEntry32) bool {
		product, is := productOf(windows.UTF16ToString(entry.ExeFile[:]))
		if !is {
			return true
		}
		if owners == nil {
			owners = processOwners()
		}
		p := Process{PID: entry.ProcessID, Product: product}
		if windows.ProcessIdToSessionId(p.PID, &p.SessionID) != nil {
			return true // it is gone
		}
		owner, alive := examine(&p)
		if owner == "" {
			owner = owners[p.PID]
		}
		if alive && (owner == sid || owner == "" && mayBeOurs(p.SessionID, ownSession, sid)) {
			found = append(found, p)
		}
		return true
	})
	return found, err
}

func productOf(image string) (Product, bool) {
	switch {
	case strings.EqualFold(image, classicImage):
		return ClassicOutlook, true
	case strings.EqualFold(image, newImage):
		return NewOutlook, true
	}
	return "", false
}

// examine reads the start, the elevation and the owner of a process. A token
// that may not be opened is, in one's own session, that of an elevated process.
func examine(p *Process) (owner string, alive bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, p.PID)
	if err != nil {
		p.Elevated = true
		return "", !errors.Is(err, windows.ERROR_INVALID_PARAMETER) // no process of that number
	}
	defer closeHandle(h)
	var code uint32
	if windows.GetExitCodeProcess(h, &code) == nil && code != stillActive {
		return "", false
	}
	p.StartedOn = startOf(h)
	var token windows.Token
	if windows.OpenProcessToken(h, windows.TOKEN_QUERY, &token) != nil {
		p.Elevated = true
		return "", true
	}
	defer closeToken(token)
	p.Elevated = elevated(token)
	if user, err := sidOf(token); err == nil {
		owner = user.String()
	}
	return owner, true
}

// mayBeOurs decides about a process whose owner is not told: it counts in our
// own session, in a session of the account, and where nobody says whose session
// it is. A session of another account is theirs.
func mayBeOurs(session, own uint32, sid string) bool {
	if session == own {
		return true
	}
	user := sessionUser(session)
	if user == "" {
		return true
	}
	account, err := windows.StringToSid(sid)
	return err != nil || sessionBelongs(session, account, accountOf(account))
}

// startOf is when a process was created; zero: not known.
func startOf(process windows.Handle) time.Time {
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(process, &created, &exited, &kernel, &user) != nil {
		return time.Time{}
	}
	return fileTime(uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime))
}

// eachProcess visits every process of the machine until visit returns false.
func eachProcess(visit func(*windows.ProcessEntry32) bool) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return err
	}
	defer closeHandle(snapshot)
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		if !visit(&entry) {
			return nil
		}
	}
	if errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil
	}
	return err
}
