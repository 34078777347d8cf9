package credstore

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/natefinch/atomic"
	"golang.org/x/sys/windows"
)

// ownerOnly takes every file: the directory's access list is what protects,
// it is set when the directory is made, and the key is with Credential Manager.
func ownerOnly(string, fs.FileInfo) error { return nil }

// protectDirectory gives dir an access list of its own that its files inherit:
// this user and the system, and nobody by inheritance from above.
func protectDirectory(dir string) error {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	access, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;" + user.User.Sid.String() + ")(A;OICI;FA;;;SY)")
	if err != nil {
		return err
	}
	list, _, err := access.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}

// replaceFile puts content into path by MoveFileEx with REPLACE_EXISTING and
// WRITE_THROUGH: afterwards it holds the old or the new content.
func replaceFile(path string, content []byte) error {
	return atomic.WriteFile(path, bytes.NewReader(content))
}

// syncDirectory has nothing to do: WRITE_THROUGH did it, and NTFS keeps a journal.
func syncDirectory(string) error { return nil }

func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
