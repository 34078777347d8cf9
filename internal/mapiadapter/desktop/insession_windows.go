package desktop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	localSystem       = "S-1-5-18"
	interactiveScreen = `winsta0\default`
)

// errLogonChanged is that somebody logged off and on in between.
var errLogonChanged = errors.New("the account's session was closed while the agent was being started in it: try again")

// StartInSession starts this very program, as the agent, in the session of the
// account: one in use before one that is disconnected. Only LocalSystem may; for
// everybody else, and for any other program, the error is a *Refusal. The program
// is a normal one of the account, not elevated, and none of our environment
// reaches it.
func StartInSession(ctx context.Context, sid string, program string, args []string) error {
	here, err := Here()
	if err != nil {
		return err
	}
	if here.SID != localSystem {
		return &Refusal{Reason: RefusedAccount, Detail: "Only a service that runs as LocalSystem can start the agent in another session: let the agent start at logon instead."}
	}
	own, err := ourselves(program)
	if err != nil {
		return err
	}
	sessions, err := Sessions(ctx, sid)
	if err != nil {
		return err
	}
	session, ok := bestSession(sessions)
	if !ok {
		return errNoSession
	}
	return startIn(session, sid, own, args)
}

// ourselves is the path of this program, if that is the program named. Every other
// one is refused.
func ourselves(program string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if absolute(program) {
		a, errA := os.Stat(own)
		b, errB := os.Stat(program)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return own, nil
		}
	}
	return "", &Refusal{Reason: RefusedProgram, Detail: "Only the broker's own program is started in a session: name it with its full path."}
}

// bestSession is the session to start the agent in.
func bestSession(sessions []Session) (Session, bool) {
	for _, want := range []SessionState{SessionActive, SessionDisconnected} {
		for _, s := range sessions {
			if s.State == want {
				return s, true
			}
		}
	}
	return Session{}, false
}

// startIn starts the program with the token of the session. The number of a
// session is used again: that its logon is the account's is looked at in the token
// itself, and once more before the program's first instruction runs.
func startIn(session Session, sid, program string, args []string) error {
	token, logon, err := sessionToken(session.ID, sid)
	if err != nil {
		return err
	}
	defer closeToken(token)
	if session.LogonID != "" && session.LogonID != logon {
		return errLogonChanged
	}
	environment, err := environmentOf(token)
	if err != nil {
		return fmt.Errorf("read the account's environment: %w", err)
	}
	info, err := createAs(token, program, args, environment)
	if err != nil {
		return fmt.Errorf("start the agent in session %d: %w", session.ID, err)
	}
	defer closeHandle(info.Process)
	defer closeHandle(info.Thread)
	again, now, err := sessionToken(session.ID, sid)
	if err == nil {
		closeToken(again)
		if now != logon {
			err = errLogonChanged
		}
	}
	if err == nil {
		_, err = windows.ResumeThread(info.Thread)
	}
	if err != nil {
		_ = windows.TerminateProcess(info.Process, 1) // our own program, and it has not begun
	}
	return err
}

// sessionToken is the token of the session's user, who must be the account, and
// the LUID of the logon.
func sessionToken(session uint32, sid string) (windows.Token, string, error) {
	var token windows.Token
	if err := windows.WTSQueryUserToken(session, &token); err != nil {
		return 0, "", fmt.Errorf("read the user of session %d: %w", session, err)
	}
	owner, err := sidOf(token)
	logon := ""
	if err == nil && owner.String() != sid {
		err = errLogonChanged
	}
	if err == nil {
		logon, err = logonOf(token)
	}
	if err == nil && elevated(token) {
		err = &Refusal{Reason: RefusedElevated, Detail: "The session's user has administrator rights that are switched on: the agent must run without them."}
	}
	if err != nil {
		closeToken(token)
		return 0, "", err
	}
	return token, logon, nil
}

// createAs makes the process and leaves it suspended.
func createAs(token windows.Token, program string, args, environment []string) (*windows.ProcessInformation, error) {
	path, err := windows.UTF16PtrFromString(program)
	if err != nil {
		return nil, err
	}
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(append([]string{program}, args...)))
	if err != nil {
		return nil, err
	}
	screen, err := windows.UTF16PtrFromString(interactiveScreen)
	if err != nil {
		return nil, err
	}
	folder, err := windows.UTF16PtrFromString(folderOf(program))
	if err != nil {
		return nil, err
	}
	startup := windows.StartupInfo{Desktop: screen, Flags: windows.STARTF_USESHOWWINDOW, ShowWindow: windows.SW_HIDE}
	startup.Cb = uint32(unsafe.Sizeof(startup))
	block := wideBlock(environment)
	flags := uint32(windows.CREATE_UNICODE_ENVIRONMENT | windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW | windows.CREATE_SUSPENDED)
	var info windows.ProcessInformation
	if err := windows.CreateProcessAsUser(token, path, line, nil, nil, false, flags, &block[0], folder, &startup, &info); err != nil {
		return nil, err
	}
	return &info, nil
}
