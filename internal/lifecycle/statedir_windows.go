package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/windows"
)

// protectStateDir gives path an access list of its own where it has none.
func protectStateDir(path string, _ fs.FileInfo) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("state directory %s: read its access list: %w; choose another --state-dir", path, err)
	}
	if control, _, err := sd.Control(); err == nil && control&windows.SE_DACL_PROTECTED != 0 {
		return nil
	}
	if err := setOwnerOnly(path); err != nil {
		return fmt.Errorf("state directory %s: make it yours alone: %w; choose another --state-dir", path, err)
	}
	return nil
}

// setOwnerOnly sets a protected access list that files inherit: this user, and
// SYSTEM and Administrators, who could take ownership anyway and whose backup
// and support tools should not have to.
func setOwnerOnly(path string) error {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;" + user.User.Sid.String() + ")(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}

// openElsewhere is true of the errors of a file that another process has open:
// a sharing violation for removing, access denied for replacing.
func openElsewhere(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// ownerOnly takes every file: it inherits the directory's access list.
func ownerOnly(string, string, fs.FileInfo) error { return nil }
