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

// logonOf is the LUID of the logon that a token belongs to, in hex.
func logonOf(token windows.Token) (string, error) {
	var s tokenStatistics
	var size uint32
	if err := windows.GetTokenInformation(token, windows.TokenStatistics,
		(*byte)(unsafe.Pointer(&s)), uint32(unsafe.Sizeof(s)), &size); err != nil {
		return "", err
	}
	id := s.authenticationID
	return fmt.Sprintf("%x", uint64(uint32(id.HighPart))<<32|uint64(id.LowPart)), nil
}

// elevated reports the elevated half of a split token. A token that was never
// split (an account without administrator's rights, UAC switched off, the
// built-in administrator) is not: every program of that account has the same one.
func elevated(token windows.Token) bool {
	var kind, size uint32
	err := windows.GetTokenInformation(token, windows.TokenElevationType,
		(*byte)(unsafe.Pointer(&kind)), uint32(unsafe.Sizeof(kind)), &size)
	return err == nil && kind == elevationFull
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
