package config

import (
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// trustedInstaller owns what Windows itself installed.
const trustedInstaller = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

// writeRights are the rights that let somebody change a file: its data, its
// access list, its owner, or all of it.
const writeRights = windows.FILE_WRITE_DATA | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL

// standingOf reads owner and access list of the file. In a directory that the
// administrators closed, the account of a service that they let in writes the
// drop-ins; those are as good as theirs.
func standingOf(path string) standing {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return standing{}
	}
	owner, _, err := sd.Owner()
	if err != nil || owner == nil {
		return standing{}
	}
	s := standing{known: true, openToWrite: everybodyMayWrite(sd)}
	if !isAdministrative(owner) && !isCurrentUser(owner) && !ownerfile.Administered(filepath.Dir(path)) {
		s.foreign, s.owner = true, accountName(owner)
	}
	return s
}

func isAdministrative(sid *windows.SID) bool {
	return sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) || sid.IsWellKnown(windows.WinLocalSystemSid) ||
		sid.String() == trustedInstaller
}

func isCurrentUser(sid *windows.SID) bool {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && user.User.Sid.Equals(sid)
}

func accountName(sid *windows.SID) string {
	if name, domain, _, err := sid.LookupAccount(""); err == nil {
		return domain + `\` + name
	}
	return sid.String()
}

// everybodyMayWrite looks for an entry that allows a group of people to write, whom
// nobody chose. No access list at all allows everything.
func everybodyMayWrite(sd *windows.SECURITY_DESCRIPTOR) bool {
	acl, _, err := sd.DACL()
	if err != nil {
		return false
	}
	if acl == nil {
		return true
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(acl, i, &ace) != nil || ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)) //nolint:gosec // the SID begins in this field (ACCESS_ALLOWED_ACE)
		if ace.Mask&writeRights != 0 && ownerfile.Crowd(sid.String()) != "" {
			return true
		}
	}
	return false
}
