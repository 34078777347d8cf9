package desktop

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

// open is a desktop whose token caches are the stand-in's.
func open(t *testing.T, o *outlooktest.Outlook) *local {
	t.Helper()
	cfg := Config{}
	if o != nil {
		cfg.LocalAppData = o.Local
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := d.(*local)
	l.com.budget, l.com.again = 2*time.Second, 20*time.Millisecond
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func look(t *testing.T, d Desktop, services ...string) Facts {
	t.Helper()
	f, err := d.Look(t.Context(), Want{Services: services})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHere(t *testing.T) {
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if here.SID != user.User.Sid.String() || here.Host != host || strings.Count(here.Account, `\`) != 1 {
		t.Errorf("Here = %+v", here)
	}
	if outlooktest.OnWine() && (!here.Interactive || here.SessionID == 0 || here.Elevated) {
		t.Errorf("Here = %+v, want an interactive session and no elevation", here)
	}
	if s := ownSession(Where{SID: here.SID}); s.State != SessionOther {
		t.Errorf("the session of a service = %+v", s)
	}
}

func TestSessions(t *testing.T) {
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := Sessions(t.Context(), here.SID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", sessions)
	if outlooktest.OnWine() {
		if len(sessions) != 1 || sessions[0].ID != here.SessionID || sessions[0].State != SessionActive {
			t.Errorf("Sessions = %+v, want our own", sessions)
		}
	}
	others, err := Sessions(t.Context(), "S-1-5-21-1-2-3-4567")
	if err != nil || len(others) != 0 {
		t.Errorf("Sessions of somebody else = %+v, %v", others, err)
	}
	if _, err := Sessions(t.Context(), "robot"); err == nil {
		t.Error("Sessions took a name for a SID")
	}
}

// What the terminal service says of a session of ours, and what a process does:
// both are the account's.
func TestSessionBelongs(t *testing.T) {
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	own, err := windows.StringToSid(here.SID)
	if err != nil {
		t.Fatal(err)
	}
	if !sessionBelongs(here.SessionID, own, here.Account) {
		t.Errorf("session %d of %q does not belong to %s", here.SessionID, sessionUser(here.SessionID), here.Account)
	}
	if !sessionBelongs(here.SessionID, own, `NOWHERE\nobody`) {
		t.Error("the session's name was not looked up")
	}
	system, err := windows.StringToSid(localSystem)
	if err != nil {
		t.Fatal(err)
	}
	if sessionBelongs(here.SessionID, system, accountOf(system)) {
		t.Error("the session belongs to LocalSystem")
	}
	if got, want := logonIn(here.SessionID, own), ownSession(here).LogonID; got != want {
		t.Errorf("logonIn = %q, want %q", got, want)
	}
	if got := describe(here.SessionID, own); got.ID != here.SessionID {
		t.Errorf("describe = %+v", got)
	}
}

func TestInstallation(t *testing.T) {
	for _, test := range []struct {
		name    string
		where   outlooktest.Where
		version string
	}{
		{"64-bit view", outlooktest.Native, ""},
		{"32-bit view", outlooktest.Wow64, ""},
		{"of the account", outlooktest.User, ""},
		{"Click-to-Run", outlooktest.ClickToRun, outlooktest.Version},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := outlooktest.Plant(t, outlooktest.Setup{Where: test.where})
			f := look(t, open(t, o))
			want := Installation{Path: o.Program, Bitness: X64, Version: test.version}
			if f.Installation != want {
				t.Errorf("Installation = %+v, want %+v", f.Installation, want)
			}
			if len(f.Processes) != 0 || f.View.Asked || f.Asking != AskingNothing {
				t.Errorf("without a running Outlook: %+v, %+v, %q", f.Processes, f.View, f.Asking)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		o := outlooktest.Plant(t, outlooktest.Setup{Where: outlooktest.Nowhere})
		if f := look(t, open(t, o)); f.Installation != (Installation{}) {
			t.Errorf("Installation = %+v", f.Installation)
		}
	})
}

func TestFileVersion(t *testing.T) {
	folder, err := windows.GetSystemDirectory()
	if err != nil {
		t.Fatal(err)
	}
	if got := fileVersion(filepath.Join(folder, "kernel32.dll")); strings.Count(got, ".") != 3 || strings.HasPrefix(got, "0.0.") {
		t.Errorf("fileVersion of kernel32.dll = %q", got)
	}
	if got := fileVersion(filepath.Join(folder, "none.dll")); got != "" {
		t.Errorf("fileVersion of no file = %q", got)
	}
}

func TestNewOutlookInTheRegistry(t *testing.T) {
	for _, test := range []struct {
		name, path, value string
		set               uint32
		inUse, migrating  bool
	}{
		{"in use", outlooktest.Key + `\Preferences`, "UseNewOutlook", 1, true, false},
		{"in use by policy", outlooktest.PolicyKey + `\Preferences`, "UseNewOutlook", 1, true, false},
		{"not in use", outlooktest.Key + `\Preferences`, "UseNewOutlook", 0, false, false},
		{"migrating", outlooktest.Key + `\Options\General`, "DoNewOutlookAutoMigration", 1, false, true},
		{"migrating by policy", outlooktest.PolicyKey + `\Options\General`, "DoNewOutlookAutoMigration", 1, false, true},
		{"not migrating", outlooktest.Key + `\Options\General`, "DoNewOutlookAutoMigration", 0, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := outlooktest.Plant(t, outlooktest.Setup{})
			outlooktest.SetUser(t, test.path, test.value, test.set)
			i := look(t, open(t, o)).Installation
			if i.NewInUse != test.inUse || i.Migrating != test.migrating {
				t.Errorf("Installation = %+v", i)
			}
		})
	}
	t.Run("migration forbidden", func(t *testing.T) {
		o := outlooktest.Plant(t, outlooktest.Setup{})
		outlooktest.SetUser(t, outlooktest.Key+`\Options\General`, "DoNewOutlookAutoMigration", uint32(1))
		outlooktest.SetUser(t, outlooktest.PolicyKey+`\Preferences`, "NewOutlookMigrationUserSetting", uint32(0))
		if i := look(t, open(t, o)).Installation; i.Migrating {
			t.Errorf("Installation = %+v", i)
		}
	})
}

func TestProfiles(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{Profiles: []string{"Robot 1", "Büro", "Outlook"}})
	d := open(t, o)
	p := look(t, d).Profiles
	slices.Sort(p.Names)
	if !slices.Equal(p.Names, []string{"Büro", "Outlook", "Robot 1"}) || p.Default != "Robot 1" || p.Asks {
		t.Errorf("Profiles = %+v", p)
	}
	for _, ask := range []struct {
		path  string
		value any
	}{
		{`Software\Microsoft\Exchange\Client\Options`, "1"},
		{outlooktest.Key, uint32(1)},
	} {
		t.Run(ask.path, func(t *testing.T) {
			outlooktest.SetUser(t, ask.path, "PickLogonProfile", ask.value)
			if p := look(t, d).Profiles; !p.Asks {
				t.Errorf("Profiles = %+v", p)
			}
		})
	}
	if p := look(t, d).Profiles; p.Asks {
		t.Errorf("Profiles = %+v after the value was gone", p)
	}
}

// The terminal service's list says whose processes they are, where it says so.
func TestProcessOwners(t *testing.T) {
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	owners := processOwners()
	if own, told := owners[windows.GetCurrentProcessId()]; told && own != here.SID {
		t.Errorf("our own process belongs to %s, want %s", own, here.SID)
	}
	t.Logf("%d owners", len(owners))
}

// An account's hive is the same through HKEY_USERS.
func TestHiveOfAnAccount(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{Profiles: []string{"Robot 1"}})
	d := open(t, o)
	other := hiveOf(d.here.SID, "S-1-5-21-1-2-3-4567")
	if other.root != registry.USERS {
		t.Fatal("the hive is not of HKEY_USERS")
	}
	if p := profiles(other); !slices.Equal(p.Names, []string{"Robot 1"}) || p.Default != "Robot 1" {
		t.Errorf("profiles = %+v", p)
	}
	nobody := hiveOf("S-1-5-21-1-2-3-4567", d.here.SID)
	if p := profiles(nobody); len(p.Names) != 0 || p.Default != "" {
		t.Errorf("profiles of nobody = %+v", p)
	}
}

func TestCacheMoves(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{})
	d := open(t, o)
	if on := look(t, d).CacheOn; !on.IsZero() {
		t.Errorf("CacheOn = %v, want none", on)
	}
	path := filepath.Join(o.Local, "Microsoft", "OneAuth", "account")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if on := look(t, d).CacheOn; !on.Equal(old) {
		t.Errorf("CacheOn = %v, want %v", on, old)
	}
	if err := os.WriteFile(filepath.Join(o.Local, "Microsoft", "TokenBroker", "Cache", "x.tbres"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if on := look(t, d).CacheOn; time.Since(on) > time.Minute {
		t.Errorf("CacheOn = %v, want now", on)
	}
}

func TestServices(t *testing.T) {
	if !outlooktest.OnWine() {
		t.Skip("this test changes the registry of the machine: it runs under Wine only")
	}
	dir := filepath.Join(t.TempDir(), "Mail Gateway")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	x86, x64 := filepath.Join(dir, "x86.exe"), filepath.Join(dir, "x64.exe")
	for path, machine := range map[string]uint16{x86: 0x014c, x64: 0x8664} {
		if err := os.WriteFile(path, program(machine, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, values := range map[string][2]string{
		"MapiSvc86":  {`"` + x86 + `" -service`, `DOM\robot`},
		"MapiSvc64":  {x64 + ` -service`, `LocalSystem`},
		"MapiSvcOut": {filepath.Join(dir, "none.exe"), `.\robot`},
	} {
		key := servicesKey + `\` + name
		outlooktest.Set(t, registry.LOCAL_MACHINE, 0, key, "ImagePath", values[0])
		outlooktest.Set(t, registry.LOCAL_MACHINE, 0, key, "ObjectName", values[1])
	}
	got := look(t, open(t, nil), "MapiSvc86", "MapiSvc64", "MapiSvcOut", "NoSuchService", "", `MapiSvc86\..`).Services
	want := map[string]Service{
		"MapiSvc86":  {Account: `DOM\robot`, Bitness: X86},
		"MapiSvc64":  {Account: `LocalSystem`, Bitness: X64},
		"MapiSvcOut": {Account: `.\robot`},
	}
	if len(got) != len(want) {
		t.Errorf("Services = %+v", got)
	}
	for name, s := range want {
		if got[name] != s {
			t.Errorf("Services[%s] = %+v, want %+v", name, got[name], s)
		}
	}
}

func TestLastInput(t *testing.T) {
	now := time.Now()
	on := lastInput(now)
	t.Logf("last input %v ago", now.Sub(on))
	if on.After(now) {
		t.Errorf("lastInput = %v, which is to come", on)
	}
}

// Wine shows no boxes: the error says so, and the next notice may come.
func TestNotice(t *testing.T) {
	d := open(t, nil)
	if !outlooktest.OnWine() {
		t.Skip("this test would show a box to whoever is there")
	}
	for range 2 {
		answer, err := d.Notice(t.Context(), Notice{Title: "Outlook", Text: "Outlook opens in 60 s.", Ask: true, Wait: time.Second})
		if err == nil || answer != AnswerNone || errors.Is(err, errNoticeShown) {
			t.Errorf("Notice = %q, %v", answer, err)
		}
		outlooktest.Until(t, func() bool { return len(d.showing) == 0 })
	}
	d.showing <- struct{}{}
	if _, err := d.Notice(t.Context(), Notice{Title: "x", Text: "y"}); !errors.Is(err, errNoticeShown) {
		t.Errorf("a second notice: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		button uint32
		asked  bool
		want   Answer
	}{
		{1, true, AnswerOK}, {2, true, AnswerNotNow}, {2, false, AnswerOK}, {32000, true, AnswerNone}, {32001, false, AnswerNone},
	} {
		if got, err := answerOf(test.button, test.asked); err != nil || got != test.want {
			t.Errorf("answerOf(%d, %v) = %q, %v", test.button, test.asked, got, err)
		}
	}
	if _, err := answerOf(7, true); err == nil {
		t.Error("an answer that is none was taken")
	}
	for wait, want := range map[time.Duration]uintptr{0: 0, time.Millisecond: 1, time.Minute: 60, time.Hour: 900} {
		if got := noticeSeconds(wait); got != want {
			t.Errorf("noticeSeconds(%v) = %d, want %d", wait, got, want)
		}
	}
}
