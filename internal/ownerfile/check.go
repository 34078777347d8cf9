package ownerfile

import (
	"io/fs"
	"os"
)

// AccessError says that a file or directory is not its owner's alone. It
// matches fs.ErrPermission.
type AccessError struct {
	Path    string
	Problem string // after the path: "can be reached by other users (mode 0644)"
	Command string // what mends it, for a shell
}

// Error is the problem and the command that mends it.
func (e *AccessError) Error() string { return e.Path + " " + e.Problem + "; run: " + e.Command }

// Is makes the error match fs.ErrPermission.
func (e *AccessError) Is(target error) bool { return target == fs.ErrPermission }

// Check refuses the file or directory path, of which info is known, with an
// *AccessError where it belongs to another user or where others have any access.
// It mends nothing by itself: who opened the path may not know that it holds
// secrets, and should. On Windows it takes everything, as there a file has the
// access list of its directory, which ProtectDir sets.
func Check(path string, info fs.FileInfo) error { return check(path, info) }

// Audit is Check, and on Windows it reads the access list, which must let in no
// group of people whom nobody chose; a directory must belong to this process's
// account or to the administrators. It is for what decides everything else: the
// state directory and the admin key, at the start and in a report.
func Audit(path string) error {
	info, err := os.Stat(path)
	if err == nil {
		err = check(path, info)
	}
	if err == nil {
		err = audit(path)
	}
	return err
}

// MakeDir makes the directory path, and what is missing above it, its owner's
// alone from its first moment on: mode 0700; on Windows with the list that
// ProtectDir sets.
func MakeDir(path string) error { return makeDir(path) }

// ProtectDir makes the directory path its owner's alone: mode 0700. On Windows it
// sets a protected access list, which files inherit, for this user, and for
// SYSTEM and Administrators, who could take ownership anyway and whose backup and
// support tools should not have to. A directory that has a protected list is left
// as it is there, since we or an administrator gave it on purpose.
func ProtectDir(path string) error { return protectDir(path) }

// Share gives the directory path, with all in it, to the administrators, and lets
// in those whom a names. It refuses what a stranger has put there. Only Windows
// has such lists; elsewhere it is an error.
func Share(path string, a Access) error { return share(path, a) }

// Administered reports whether the directory path is one that Share made: the
// administrators', with a list that lets in whom they chose. What is in it was
// put there by one of those. Only Windows knows such directories.
func Administered(path string) bool { return administered(path) }
