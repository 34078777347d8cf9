package desktop

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

func TestStartInSessionIsForLocalSystem(t *testing.T) {
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	if here.SID == localSystem {
		t.Skip("this test runs as LocalSystem")
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := StartInSession(t.Context(), here.SID, own, nil); refusal(err) != RefusedAccount {
		t.Errorf("StartInSession: %v", err)
	}
}

func TestOurselves(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ourselves(own); err != nil || got != own {
		t.Errorf("our own program: %q, %v", got, err)
	}
	system, err := windows.GetSystemDirectory()
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{filepath.Join(system, "cmd.exe"), filepath.Base(own), "", `C:\none.exe`} {
		if _, err := ourselves(program); refusal(err) != RefusedProgram {
			t.Errorf("%q: %v", program, err)
		}
	}
}

func TestBestSession(t *testing.T) {
	sessions := []Session{{ID: 1, State: SessionOther}, {ID: 2, State: SessionDisconnected}, {ID: 3, State: SessionActive}}
	for n, want := range map[int]uint32{1: 0, 2: 2, 3: 3} {
		if s, ok := bestSession(sessions[:n]); ok != (want != 0) || s.ID != want {
			t.Errorf("of %d: %+v, %v", n, s, ok)
		}
	}
}

// What LocalSystem does once it may: under Wine everybody may.
func TestStartIn(t *testing.T) {
	if !outlooktest.OnWine() {
		t.Skip("only LocalSystem may do this on Windows")
	}
	t.Setenv("BROKER_KEY", "secret")
	o := outlooktest.Plant(t, outlooktest.Setup{})
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	session := ownSession(here)
	if err := startIn(session, here.SID, o.Program, []string{"agent", "a b"}); err != nil {
		t.Fatal(err)
	}
	s := o.Await(t, 1)[0]
	if len(s.Args) != 2 || s.Args[1] != "a b" {
		t.Errorf("it was started with %q", s.Args)
	}
	for _, name := range s.Variables {
		if name == "BROKER_KEY" {
			t.Error("our environment reached it")
		}
	}
	session.LogonID = "1"
	if err := startIn(session, here.SID, o.Program, nil); err != errLogonChanged { //nolint:errorlint // exactly this one
		t.Errorf("another logon: %v", err)
	}
	session.LogonID = ""
	if err := startIn(session, "S-1-5-21-1-2-3-4567", o.Program, nil); err != errLogonChanged { //nolint:errorlint // exactly this one
		t.Errorf("another account: %v", err)
	}
	session.ID = 77
	if err := startIn(session, here.SID, o.Program, nil); err == nil {
		t.Log("this Wine knows a session 77")
	}
}
