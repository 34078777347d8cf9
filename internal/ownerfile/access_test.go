package ownerfile

import (
	"io/fs"
	"strings"
	"testing"
)

const (
	annSID    = "S-1-5-21-1-2-3-1001"
	malSID    = "S-1-5-21-1-2-3-1002"
	usersSID  = "S-1-5-32-545"
	fullRight = 0x1f01ff
	readRight = 0x120089
)

func TestJudge(t *testing.T) {
	system, admins := entry{sidSystem, fullRight}, entry{sidAdministrators, fullRight}
	ours := []entry{system, admins, {annSID, fullRight}}
	with := func(more ...entry) []entry { return append(append([]entry{}, ours...), more...) }
	for name, tt := range map[string]struct {
		s    standing
		file bool
		want string
	}{
		"ours":                             {s: standing{owner: annSID, entries: ours}},
		"the administrators'":              {s: standing{owner: sidAdministrators, entries: ours}},
		"a backup account was let in":      {s: standing{owner: annSID, entries: with(entry{malSID, readRight})}},
		"Everyone may see that it exists":  {s: standing{owner: annSID, entries: with(entry{"S-1-1-0", 0x100000})}},
		"no list":                          {s: standing{owner: annSID, noList: true}, want: "no access list"},
		"Everyone reads":                   {s: standing{owner: annSID, entries: with(entry{"S-1-1-0", readRight})}, want: "lets in Everyone"},
		"Users write":                      {s: standing{owner: annSID, entries: with(entry{usersSID, rightWriteData})}, want: "lets in Users"},
		"Authenticated Users, generic":     {s: standing{owner: annSID, entries: with(entry{"S-1-5-11", rightRead})}, want: "Authenticated Users"},
		"Domain Users":                     {s: standing{owner: annSID, entries: with(entry{"S-1-5-21-7-8-9-513", readRight})}, want: "Domain Users"},
		"somebody whose number ends so":    {s: standing{owner: annSID, entries: with(entry{"S-1-5-21-7-8-9-1513", readRight})}},
		"Everyone may take it":             {s: standing{owner: annSID, entries: with(entry{"S-1-1-0", rightWriteOwner})}, want: "lets in Everyone"},
		"a stranger owns the directory":    {s: standing{owner: malSID, entries: ours}, want: "belongs to " + malSID},
		"the service's file, for an admin": {s: standing{owner: ServiceSID("M365TokenBroker"), entries: ours}, file: true},
		"a file that Everyone reads":       {s: standing{owner: annSID, entries: with(entry{"S-1-1-0", readRight})}, file: true, want: "lets in Everyone"},
	} {
		got := tt.s.judge(!tt.file, annSID)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestMend(t *testing.T) {
	want := `icacls "C:\s\admin.key" /inheritance:r /remove:g *S-1-1-0 *S-1-5-4 *S-1-5-7 *S-1-5-11 *S-1-5-32-545 *S-1-5-32-546` +
		` /grant:r *S-1-5-18:F *S-1-5-32-544:F *` + annSID + `:F`
	ours := standing{owner: annSID, entries: []entry{{sidSystem, fullRight}, {annSID, fullRight}, {usersSID, readRight}}}
	if got := ours.remedy(`C:\s\admin.key`, false, annSID); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	domainUsers := "S-1-5-21-7-8-9-513" // whom no other command takes out
	ours.entries = append(ours.entries, entry{domainUsers, readRight})
	if got := ours.remedy(`C:\s\admin.key`, false, annSID); !strings.Contains(got, " *S-1-5-32-546 *"+domainUsers+" /grant:r ") {
		t.Error(got)
	}
	if got := (standing{owner: malSID}).remedy(`C:\s`, true, annSID); got != `icacls "C:\s" /setowner *`+annSID+" /t" {
		t.Error(got)
	}
	if got := (standing{owner: annSID, noList: true}).remedy(`C:\s`, true, annSID); !strings.Contains(got, "*"+annSID+":(OI)(CI)F") {
		t.Error(got)
	}
}

// The SID of a service's account, by one that Microsoft has published.
func TestServiceSID(t *testing.T) {
	if got := ServiceSID("TrustedInstaller"); got != sidTrustedInstaller {
		t.Error(got)
	}
	if ServiceSID("m365tokenbroker") != ServiceSID("M365TokenBroker") {
		t.Error("the names of services have no case")
	}
}

func TestAccessSDDL(t *testing.T) {
	a := Access{Full: []string{annSID, sidSystem}, Read: []string{annSID, malSID}}
	want := "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;" + annSID + ")(A;OICI;FRFX;;;" + malSID + ")"
	if got := a.sddl(); got != want {
		t.Error(got)
	}
}

func TestAdministered(t *testing.T) {
	ours := []entry{{sidAdministrators, fullRight}, {annSID, fullRight}}
	for name, tt := range map[string]struct {
		s    standing
		want bool
	}{
		"made by us":           {standing{owner: sidAdministrators, entries: ours, protected: true}, true},
		"as Windows makes it":  {standing{owner: sidAdministrators, entries: ours}, false},
		"of a stranger":        {standing{owner: malSID, entries: ours, protected: true}, false},
		"with Users let in":    {standing{owner: sidAdministrators, entries: append(ours, entry{usersSID, readRight}), protected: true}, false},
		"with no list at all":  {standing{owner: sidAdministrators, noList: true, protected: true}, false},
		"of the system itself": {standing{owner: sidSystem, entries: ours, protected: true}, false},
	} {
		if got := tt.s.administered(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if s := (standing{owner: malSID}); !s.strange([]string{annSID}) || s.strange([]string{malSID}) {
		t.Error("who is known is no stranger")
	}
}

func TestLink(t *testing.T) {
	for mode, want := range map[fs.FileMode]bool{
		0o600: false, fs.ModeDir | 0o700: false,
		fs.ModeSymlink: true, fs.ModeIrregular: true, // a junction is irregular to Go
	} {
		if got := link(`C:\ProgramData\M365TokenBroker`, mode) != nil; got != want {
			t.Errorf("%v: %v", mode, got)
		}
	}
}
