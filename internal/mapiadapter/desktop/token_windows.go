package desktop

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// tokenStatistics is TOKEN_STATISTICS, the beginning of it.
type tokenStatistics struct {
	tokenID          windows.LUID
	authenticationID windows.LUID
	_                [40]byte
}

// TOKEN_ELEVATION_TYPE.
const elevationFull = 2

// logonOf is the LUID of the logon that a token belongs to, in hex; empty where
// Windows gives none, as Wine does.
func logonOf(token windows.Token) (string, error) {
	var s tokenStatistics
	var size uint32
	if err := windows.GetTokenInformation(token, windows.TokenStatistics,
		(*byte)(unsafe.Pointer(&s)), uint32(unsafe.Sizeof(s)), &size); err != nil {
		return "", err
	}
	id := s.authenticationID
	if id == (windows.LUID{}) {
		return "", nil
	}
	return fmt.Sprintf("%x", uint64(uint32(id.HighPart))<<32|uint64(id.LowPart)), nil
}

// elevated reports the elevated half of a split token: one with more integrity
// than the other half, which is what the account's other programs run with and
// what keeps them from reaching this one. A token that was never split (an account
// without administrator's rights, UAC switched off, the built-in administrator) is
// not. Wine splits its token too, but gives both halves the same integrity.
func elevated(token windows.Token) bool {
	var kind, size uint32
	err := windows.GetTokenInformation(token, windows.TokenElevationType,
		(*byte)(unsafe.Pointer(&kind)), uint32(unsafe.Sizeof(kind)), &size)
	if err != nil || kind != elevationFull {
		return false
	}
	other, err := token.GetLinkedToken()
	if err != nil {
		return true
	}
	defer closeToken(other)
	ours, errOurs := integrityOf(token)
	theirs, errTheirs := integrityOf(other)
	return errOurs != nil || errTheirs != nil || ours > theirs
}

// integrityOf is the integrity level of a token: 0x2000 is a program's usual one,
// 0x3000 that of an administrator's.
func integrityOf(token windows.Token) (uint32, error) {
	var label [16]uint64 // a TOKEN_MANDATORY_LABEL and its SID
	var size uint32
	if err := windows.GetTokenInformation(token, windows.TokenIntegrityLevel,
		(*byte)(unsafe.Pointer(&label)), uint32(unsafe.Sizeof(label)), &size); err != nil {
		return 0, err
	}
	sid := (*windows.Tokenmandatorylabel)(unsafe.Pointer(&label)).Label.Sid
	return sid.SubAuthority(uint32(sid.SubAuthorityCount()) - 1), nil
}

// sidOf is the account of a token.
func sidOf(token windows.Token) (*windows.SID, error) {
	user, err := token.GetTokenUser()
	if err != nil {
		return nil, err
	}
	return user.User.Sid, nil
}

// Here is where this process runs. An error means that Windows does not say who
// this process is.
func Here() (Where, error) {
	token := windows.GetCurrentProcessToken()
	sid, err := sidOf(token)
	if err != nil {
		return Where{}, fmt.Errorf("read the account of this process: %w", err)
	}
	w := Where{SID: sid.String(), Account: accountOf(sid), Elevated: elevated(token)}
	if err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &w.SessionID); err != nil {
		return Where{}, fmt.Errorf("read the session of this process: %w", err)
	}
	w.Interactive = w.SessionID != 0
	w.Host, _ = os.Hostname() // for people only
	return w, nil
}

// accountOf is DOMAIN\user of an account, or its SID where there is no name.
func accountOf(sid *windows.SID) string {
	name, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return sid.String()
	}
	return domain + `\` + name
}
