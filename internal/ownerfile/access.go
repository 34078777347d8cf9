package ownerfile

import (
	"crypto/sha1" //nolint:gosec // Windows makes the SID of a service with it
	"encoding/binary"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// The security identifiers that are the same on every Windows ("Well-known
// SIDs", Microsoft Learn).
const (
	sidSystem           = "S-1-5-18"
	sidAdministrators   = "S-1-5-32-544"
	sidTrustedInstaller = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
)

// crowds are the groups that hold people whom nobody chose one by one.
func crowds() map[string]string {
	return map[string]string{
		"S-1-1-0": "Everyone", "S-1-2-0": "LOCAL", "S-1-5-2": "NETWORK", "S-1-5-4": "INTERACTIVE", "S-1-5-6": "SERVICE",
		"S-1-5-7": "ANONYMOUS LOGON", "S-1-5-11": "Authenticated Users", "S-1-5-13": "TERMINAL SERVER USER", "S-1-5-14": "REMOTE INTERACTIVE LOGON",
		"S-1-5-32-545": "Users", "S-1-5-32-546": "Guests", "S-1-5-32-555": "Remote Desktop Users", "S-1-15-2-1": "ALL APPLICATION PACKAGES",
	}
}

// Crowd names the group of people, whom nobody chose one by one, that a Windows SID
// is; "" is none. The last three are the Domain Users, Guests and Computers of any
// domain.
func Crowd(sid string) string {
	if name := crowds()[sid]; name != "" {
		return name
	}
	if strings.HasPrefix(sid, "S-1-5-21-") {
		for end, name := range map[string]string{"-513": "Domain Users", "-514": "Domain Guests", "-515": "Domain Computers"} {
			if strings.HasSuffix(sid, end) && strings.Count(sid, "-") == 7 {
				return name
			}
		}
	}
	return ""
}

// The rights that let somebody read or change what is in a file or directory, or
// give himself those rights (winnt.h).
const (
	rightReadData   = 0x1
	rightWriteData  = 0x2
	rightWriteDAC   = 0x40000
	rightWriteOwner = 0x80000
	rightAll        = 0x10000000
	rightWrite      = 0x40000000
	rightRead       = 0x80000000
	rightsToContent = rightReadData | rightWriteData | rightWriteDAC | rightWriteOwner | rightAll | rightWrite | rightRead
)

// entry is one entry of an access list that allows something.
type entry struct {
	sid  string
	mask uint32
}

// standing is what Windows says of a file: its owner and its access list.
type standing struct {
	owner   string
	entries []entry
	noList  bool // no list at all: everybody may do everything

	protected bool // nothing comes into the list from the directory above
}

// administered reports whether the administrators had this directory already, so
// that what is in it was put there by whom they let in.
func (s standing) administered() bool {
	return s.protected && s.owner == sidAdministrators && s.judge(true) == ""
}

// strange reports whether somebody owns it who is none of those.
func (s standing) strange(known []string) bool {
	return !slices.Contains(append(known, sidSystem, sidAdministrators, sidTrustedInstaller), s.owner)
}

// link refuses a symbolic link or a junction where the administrators do not have
// the directory yet: every user can make one, to a place that he may not change
// himself, and it would get the access list, or to one of his own, once it has it.
func link(path string, mode fs.FileMode) error {
	if mode&(fs.ModeSymlink|fs.ModeIrregular) == 0 {
		return nil
	}
	return &AccessError{Path: path, Problem: "is a link to another place", Command: `cmd /c dir /al "` + filepath.Dir(path) + `" to see where to, then remove it`}
}

// judge says what is wrong with a file that should be private; "" is nothing. The
// owner counts for directories only: he can always give himself any right, and
// what is in a directory was put there by whom its list lets in. trusted are the
// SIDs, besides the administrators, that may own it.
func (s standing) judge(directory bool, trusted ...string) (problem string) {
	if s.noList {
		return "can be reached by other users, as it has no access list"
	}
	for _, e := range s.entries {
		if name := Crowd(e.sid); name != "" && e.mask&rightsToContent != 0 {
			return "can be reached by other users, as its access list lets in " + name
		}
	}
	if trusted = append(trusted, sidSystem, sidAdministrators, sidTrustedInstaller); directory && !slices.Contains(trusted, s.owner) {
		return "belongs to " + s.owner + ", who is neither this process's account nor an administrator"
	}
	return ""
}

// remedy is the command for what judge has found.
func (s standing) remedy(path string, directory bool, account string) string {
	if (standing{owner: s.owner}).judge(directory, account) != "" {
		return `icacls "` + path + `" /setowner *` + account + " /t"
	}
	return s.mend(path, directory, account)
}

// mend is the command that makes path private to one account, SYSTEM and the
// administrators: it takes every crowd out that the list lets in, and the usual ones.
func (s standing) mend(path string, directory bool, account string) string {
	inherit := ""
	if directory {
		inherit = "(OI)(CI)"
	}
	remove := []string{"*S-1-1-0", "*S-1-5-4", "*S-1-5-7", "*S-1-5-11", "*S-1-5-32-545", "*S-1-5-32-546"}
	for _, e := range s.entries {
		if sid := "*" + e.sid; Crowd(e.sid) != "" && !slices.Contains(remove, sid) {
			remove = append(remove, sid)
		}
	}
	return `icacls "` + path + `" /inheritance:r /remove:g ` + strings.Join(remove, " ") +
		" /grant:r *" + sidSystem + ":" + inherit + "F *" + sidAdministrators + ":" + inherit + "F *" + account + ":" + inherit + "F"
}

// Access is who may do what with a directory and all in it, by SID; besides
// SYSTEM and the administrators, who may do everything.
type Access struct {
	Full []string // may do everything
	Read []string // may read
}

// sddl is the access as Windows writes it: protected, so that nothing comes from
// above, and inherited by files and directories. It belongs to the administrators.
func (a Access) sddl() string {
	var b strings.Builder
	b.WriteString("O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
	for _, sid := range a.Full {
		if sid != sidSystem && sid != sidAdministrators {
			b.WriteString("(A;OICI;FA;;;" + sid + ")")
		}
	}
	for _, sid := range a.Read {
		if sid != sidSystem && sid != sidAdministrators && !slices.Contains(a.Full, sid) {
			b.WriteString("(A;OICI;FRFX;;;" + sid + ")")
		}
	}
	return b.String()
}

// ServiceSID is the security identifier of a Windows service, which is that of
// its virtual account NT SERVICE\name, too: the SHA-1 of the name in capitals.
func ServiceSID(name string) string {
	var raw []byte
	for _, unit := range utf16.Encode([]rune(strings.ToUpper(name))) {
		raw = binary.LittleEndian.AppendUint16(raw, unit)
	}
	sum := sha1.Sum(raw) //nolint:gosec // as above
	sid := []string{"S-1-5-80"}
	for i := 0; i < len(sum); i += 4 {
		sid = append(sid, strconv.FormatUint(uint64(binary.LittleEndian.Uint32(sum[i:])), 10))
	}
	return strings.Join(sid, "-")
}
