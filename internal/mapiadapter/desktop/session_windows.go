package desktop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

// Sessions are the sessions on this machine of the account with that SID; it is
// safe for concurrent use and needs no privilege. What Windows does not tell
// this process of a session is left empty.
func Sessions(ctx context.Context, sid string) ([]Session, error) {
	account, err := windows.StringToSid(sid)
	if err != nil {
		return nil, fmt.Errorf("the SID of the account: %w", err)
	}
	ids, err := sessionIDs()
	if err != nil {
		return nil, fmt.Errorf("list the sessions of this machine: %w", err)
	}
	name := accountOf(account)
	var found []Session
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if id != 0 && sessionBelongs(id, account, name) {
			found = append(found, describe(id, account))
		}
	}
	if len(ids) > 0 {
		return found, nil
	}
	// A terminal service that lists no session at all (Wine's) leaves our own.
	here, err := Here()
	if err != nil || !here.Interactive || here.SID != sid {
		return nil, err
	}
	return []Session{ownSession(here)}, nil
}

// sessionBelongs reports whether the account is logged on in the session. The
// names are compared first: to look a name up may ask a domain controller.
func sessionBelongs(id uint32, account *windows.SID, name string) bool {
	user := sessionUser(id)
	if user == "" {
		return false
	}
	if strings.EqualFold(user, name) {
		return true
	}
	owner, _, _, err := windows.LookupSID("", user)
	return err == nil && owner.Equals(account)
}

// sessionUser is DOMAIN\user of the session; empty: nobody, or not told.
func sessionUser(id uint32) string {
	user := sessionText(id, wtsUserName)
	if user == "" {
		return ""
	}
	return sessionText(id, wtsDomainName) + `\` + user
}

// describe says what there is to say of a session.
func describe(id uint32, account *windows.SID) Session {
	s := Session{ID: id, State: SessionOther}
	if info, err := querySession(id, wtsSessionInfoEx); err == nil && sessionOf(&s, info) {
		s.LogonID = logonIn(id, account)
		return s
	}
	if state, err := querySession(id, wtsConnectState); err == nil && len(state) >= 4 {
		s.State = stateOf(binary.LittleEndian.Uint32(state))
	}
	s.LogonID = logonIn(id, account)
	return s
}

// ownSession is the session that this process runs in. Where Windows does not
// tell its state it counts as active: a program of it is running. The session of
// the services, which Windows calls disconnected, is nobody's.
func ownSession(here Where) Session {
	s := Session{ID: here.SessionID, State: SessionActive}
	s.LogonID, _ = logonOf(windows.GetCurrentProcessToken()) // empty: not known
	if !here.Interactive {
		s.State = SessionOther
		return s
	}
	if info, err := querySession(here.SessionID, wtsSessionInfoEx); err != nil || !sessionOf(&s, info) {
		if state, err := querySession(here.SessionID, wtsConnectState); err == nil && len(state) >= 4 {
			s.State = stateOf(binary.LittleEndian.Uint32(state))
		}
	}
	if on := lastInput(time.Now()); !on.IsZero() {
		s.LastInputOn = on
	}
	return s
}

// logonIn is the LUID of the account's logon in the session, by the token of the
// session (for LocalSystem) or of one of its programs; empty where neither may be
// read. The elevated half of an administrator is a logon of its own, and not
// meant.
func logonIn(session uint32, account *windows.SID) string {
	var token windows.Token
	if windows.WTSQueryUserToken(session, &token) == nil {
		defer closeToken(token)
		if id, err := logonOf(token); err == nil {
			return id
		}
	}
	id := ""
	_ = eachProcess(func(p *windows.ProcessEntry32) bool { // no list, no logon
		var at uint32
		if windows.ProcessIdToSessionId(p.ProcessID, &at) != nil || at != session {
			return true
		}
		id = logonOfProcess(p.ProcessID, account)
		return id == ""
	})
	return id
}

func logonOfProcess(pid uint32, account *windows.SID) string {
	token, err := tokenOf(pid)
	if err != nil {
		return ""
	}
	defer closeToken(token)
	owner, err := sidOf(token)
	if err != nil || !owner.Equals(account) || elevated(token) {
		return ""
	}
	id, err := logonOf(token)
	if err != nil {
		return ""
	}
	return id
}

// tokenOf opens the token of a process to look at it.
func tokenOf(pid uint32) (windows.Token, error) {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return 0, err
	}
	defer closeHandle(process)
	var token windows.Token
	err = windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token)
	return token, err
}

func closeToken(t windows.Token)   { closeHandle(windows.Handle(t)) }
func closeHandle(h windows.Handle) { _ = windows.CloseHandle(h) } // fails only for what is no handle

// errNoSession is that the account has no session on this machine.
var errNoSession = errors.New("the account is not logged on at this machine: log it on, by Remote Desktop for example, and leave the session locked")
