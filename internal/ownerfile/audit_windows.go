package ownerfile

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// contentRights are the rights that let somebody read or change what is in a file
// or directory, or give himself those rights.
const contentRights = windows.FILE_READ_DATA | windows.FILE_WRITE_DATA | windows.WRITE_DAC | windows.WRITE_OWNER |
	windows.GENERIC_READ | windows.GENERIC_WRITE | windows.GENERIC_ALL

// audit looks for an entry of the access list that lets everybody in. No list at
// all does.
func audit(path string) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("read the access list of %s: %w", path, err)
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("read the access list of %s: %w", path, err)
	}
	if acl != nil && !letsEverybodyIn(acl) {
		return nil
	}
	return &AccessError{
		Path:    path,
		Problem: "can be reached by other users, as its access list lets in a group of all of them",
		Command: `icacls "` + path + `" /inheritance:r /remove:g *S-1-1-0 *S-1-5-11 *S-1-5-32-545 /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F *` + ownSID() + `:(OI)(CI)F`,
	}
}

// letsEverybodyIn reports whether an entry allows Everyone, Authenticated Users or
// Users what is in there.
func letsEverybodyIn(acl *windows.ACL) bool {
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(acl, i, &ace) != nil || ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)) //nolint:gosec // the SID begins in this field (ACCESS_ALLOWED_ACE)
		if ace.Mask&contentRights != 0 && (sid.IsWellKnown(windows.WinWorldSid) ||
			sid.IsWellKnown(windows.WinBuiltinUsersSid) || sid.IsWellKnown(windows.WinAuthenticatedUserSid)) {
			return true
		}
	}
	return false
}

// ownSID is the user that this process runs as, for a command.
func ownSID() string {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "S-1-3-4" // whoever owns it (OWNER RIGHTS)
	}
	return user.User.Sid.String()
}
