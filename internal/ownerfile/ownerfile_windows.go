package ownerfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

func check(string, fs.FileInfo) error { return nil }

func protectDir(path string) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("read the access list of %s: %w", path, err)
	}
	if control, _, err := sd.Control(); err == nil && control&windows.SE_DACL_PROTECTED != 0 {
		return nil
	}
	list, err := ownerList()
	if err == nil {
		err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
			windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	}
	if err != nil {
		return fmt.Errorf("make %s yours alone: %w", path, err)
	}
	return nil
}

// ownerList is the access list for this user, SYSTEM and Administrators, in the
// security descriptor definition language.
func ownerList() (*windows.ACL, error) {
	sd, err := ownerDescriptor()
	if err != nil {
		return nil, err
	}
	list, _, err := sd.DACL()
	return list, err
}

func ownerDescriptor() (*windows.SECURITY_DESCRIPTOR, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;" + user.User.Sid.String() + ")(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
}

// makeDir gives the directory its list while it is made.
func makeDir(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	attributes, err := ownerAttributes()
	if err != nil {
		return fmt.Errorf("make an access list for %s: %w", path, err)
	}
	wide, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	if err := windows.CreateDirectory(wide, attributes); err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return &os.PathError{Op: "make", Path: path, Err: err}
	}
	return nil
}

func ownerAttributes() (*windows.SecurityAttributes, error) {
	sd, err := ownerDescriptor()
	if err != nil {
		return nil, err
	}
	attributes := windows.SecurityAttributes{SecurityDescriptor: sd}
	attributes.Length = uint32(unsafe.Sizeof(attributes))
	return &attributes, nil
}

// createOwned gives the file its access list while it is made: who opened it
// before that would keep the access.
func createOwned(path string) (*os.File, error) {
	attributes, err := ownerAttributes()
	if err != nil {
		return nil, fmt.Errorf("make an access list for %s: %w", path, err)
	}
	for {
		name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.FormatUint(uint64(rand.Uint32()), 10)) //nolint:gosec // a free name, not a secret
		wide, err := windows.UTF16PtrFromString(name)
		if err != nil {
			return nil, err
		}
		h, err := windows.CreateFile(wide, windows.GENERIC_WRITE, 0, attributes, windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
		switch {
		case err == nil:
			return os.NewFile(uintptr(h), name), nil
		case !errors.Is(err, windows.ERROR_FILE_EXISTS):
			return nil, &os.PathError{Op: "create", Path: name, Err: err}
		}
	}
}

func syncDir(string) error { return nil }

// replace renames temporary to path and returns once that is on the disk
// (MoveFileEx with MOVEFILE_WRITE_THROUGH, which os.Rename does not ask for).
func replace(temporary, path string) error {
	from, err := windows.UTF16PtrFromString(temporary)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "replace", Old: temporary, New: path, Err: err}
	}
	return nil
}

// inUse is true of the errors of a file that another process has open: a sharing
// violation for removing, access denied for replacing.
func inUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}
