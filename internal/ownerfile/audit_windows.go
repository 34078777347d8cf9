package ownerfile

import (
	"os"

	"golang.org/x/sys/windows"
)

// audit reads owner and access list, and judges them. Wine keeps no lists but
// modes, and gives a directory the groups of the one above it whatever it is told:
// nothing can be learned of directories there. Files are made with theirs.
func audit(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() && keepsModes() {
		return err
	}
	s, err := standingOf(path)
	if err != nil {
		return err
	}
	account := ownSID()
	if problem := s.judge(info.IsDir(), account); problem != "" {
		return &AccessError{Path: path, Problem: problem, Command: s.remedy(path, info.IsDir(), account)}
	}
	return nil
}

// keepsModes reports whether this Windows is Wine, over a Unix file system.
func keepsModes() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// ownSID is the user that this process runs as, for a command.
func ownSID() string {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "S-1-3-4" // whoever owns it (OWNER RIGHTS)
	}
	return user.User.Sid.String()
}
