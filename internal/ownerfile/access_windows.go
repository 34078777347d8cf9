package ownerfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"
)

// standingOf reads owner and access list of a file or directory.
func standingOf(path string) (standing, error) {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	var s standing
	if err == nil {
		s, err = describe(sd)
	}
	if err != nil {
		return s, fmt.Errorf("read the access list of %s: %w", path, err)
	}
	return s, nil
}

// describe is a security descriptor in plain terms. Entries that refuse are left
// out: nothing is private because of them.
func describe(sd *windows.SECURITY_DESCRIPTOR) (s standing, err error) {
	if owner, _, err := sd.Owner(); err == nil && owner != nil {
		s.owner = owner.String()
	}
	if control, _, err := sd.Control(); err == nil {
		s.protected = control&windows.SE_DACL_PROTECTED != 0
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return s, err
	}
	if acl == nil {
		s.noList = true
		return s, nil
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(acl, i, &ace) != nil || ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)) //nolint:gosec // the SID begins in this field (ACCESS_ALLOWED_ACE)
		s.entries = append(s.entries, entry{sid: sid.String(), mask: uint32(ace.Mask)})
	}
	return s, nil
}

// share gives dir, and what is in it, the access. What somebody else put there
// before is refused: he could change it for ever, and has chosen what it says.
func share(dir string, a Access) error {
	info, err := os.Lstat(dir)
	if err == nil {
		err = link(dir, info.Mode()) // before anything is asked of it: Windows answers for the other place
	}
	if err != nil {
		return err
	}
	before, err := standingOf(dir)
	if err != nil {
		return err
	}
	known := append(slices.Concat(a.Full, a.Read), ownSID())
	var below []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := link(path, d.Type()); err != nil {
			if before.administered() {
				return nil // their own; it keeps the list that it has
			}
			return err
		}
		s, err := standingOf(path)
		if err != nil {
			return err
		}
		if !before.administered() && s.strange(known) {
			return &AccessError{Path: path, Problem: "was put there by " + s.owner + ", whom nobody named", Command: `takeown /a /r /f "` + dir + `" once you have looked what is in it, or remove it`}
		}
		if path != dir {
			below = append(below, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString(a.sddl())
	if err != nil {
		return fmt.Errorf("make an access list for %s: %w", dir, err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err != nil {
		return err
	}
	const what = windows.OWNER_SECURITY_INFORMATION | windows.DACL_SECURITY_INFORMATION
	if err := windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, what|windows.PROTECTED_DACL_SECURITY_INFORMATION, owner, nil, list, nil); err != nil {
		return fmt.Errorf("set the access list of %s: %w", dir, err)
	}
	return inherit(below)
}

// inherit lets files and directories have the list of the directory above, and
// none of their own.
func inherit(paths []string) error {
	sd, err := windows.SecurityDescriptorFromString("D:")
	if err != nil {
		return err
	}
	empty, _, err := sd.DACL()
	if err != nil {
		return err
	}
	for _, path := range paths {
		err := windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
			windows.DACL_SECURITY_INFORMATION|windows.UNPROTECTED_DACL_SECURITY_INFORMATION, nil, nil, empty, nil)
		if err != nil {
			return fmt.Errorf("set the access list of %s: %w", path, err)
		}
	}
	return nil
}

func administered(path string) bool {
	s, err := standingOf(path)
	return err == nil && s.administered()
}
