package agent_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/windows/registry"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

// What must be true on Windows as on a scripted desktop: see TestScenarios.

const refusedLogon = 0x8004011D // MAPI_E_FAILONEPROVIDER

// The whole way: found, started once, seen to renew; and when it is due again,
// asked, because it runs.
func TestOutlookRenews(t *testing.T) {
	s := stage(t, outlooktest.Setup{Knobs: ordinary()})
	s.begin()
	v := s.reaches(mapiadapter.Idle, "", mapiadapter.Fresh)
	if v.Proof != mapiadapter.ProofEvidence || v.Agent.Running != mapiadapter.OutlookHere || v.Agent.Outlook.Path != s.outlook.Program {
		t.Errorf("proof %s, %s runs, installed is %+v", v.Proof, v.Agent.Running, v.Agent.Outlook)
	}
	pid := s.started(1)[0].PID

	s.report(refusedLogon)
	if v := s.view(); v.Freshness != mapiadapter.Expired {
		t.Errorf("after a consumer's error the access is %s", v.Freshness)
	}
	s.until("Outlook is asked to send and receive", func() bool { return s.called("SendAndReceive") == 1 })
	s.renew()
	v = s.reaches(mapiadapter.Idle, "", mapiadapter.Fresh)
	if s.stays(mapiadapter.Idle, ""); s.started(1)[0].PID != pid || s.called("SendAndReceive") != 1 || v.Agent.Running != mapiadapter.OutlookHere {
		t.Errorf("asked %d times; %s runs", s.called("SendAndReceive"), v.Agent.Running)
	}
}

// An Outlook that turns calls away while it starts is waited for.
func TestOutlookIsBusyAtFirst(t *testing.T) {
	k := ordinary()
	k.COM.RejectFor = 2 * time.Second
	s := stage(t, outlooktest.Setup{Knobs: k})
	s.begin()
	s.reaches(mapiadapter.Idle, "", mapiadapter.Fresh)
	s.started(1)
	if s.called(outlooktest.Rejected) == 0 {
		t.Error("no call was turned away")
	}
}

func TestOutlookRunsWithAnotherProfile(t *testing.T) {
	k := ordinary()
	k.COM.Profile = "Private"
	s := stage(t, outlooktest.Setup{Knobs: k, Profiles: []string{"Private", "Outlook"}})
	person := exec.Command(s.outlook.Program, "/profile", "Private")
	if err := person.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Wait() }) // Plant ended it
	t.Cleanup(func() { s.outlook.End(t) })
	s.outlook.Await(t, 1)
	s.begin()
	s.reaches(mapiadapter.NeedsUser, mapiadapter.ReasonWrongProfile, mapiadapter.Unknown)
	s.ensure()
	s.stays(mapiadapter.NeedsUser, mapiadapter.ReasonWrongProfile)
	if all := s.outlook.Starts(t); len(all) != 1 || s.view().Agent.Running != mapiadapter.OutlookOther || s.called("SendAndReceive") != 0 {
		t.Errorf("started: %+v; runs: %s; asked: %d times", all, s.view().Agent.Running, s.called("SendAndReceive"))
	}
}

// What cannot work on this machine is said, nothing is started, and it goes on
// by itself once the machine has changed.
func TestOutlookCannotWorkHere(t *testing.T) {
	set := func(s *scene, path, name string, value any) {
		outlooktest.SetUser(s.t, path, name, value)
	}
	for _, test := range []struct {
		reason    mapiadapter.Reason
		profiles  []string
		plant     func(s *scene)
		otherwise func(s *scene)
	}{
		{
			mapiadapter.ReasonNewOutlook,
			nil,
			func(s *scene) { set(s, outlooktest.Key+`\Preferences`, "UseNewOutlook", uint32(1)) },
			func(s *scene) { set(s, outlooktest.Key+`\Preferences`, "UseNewOutlook", uint32(0)) },
		},
		{
			mapiadapter.ReasonNoProfile,
			[]string{"Private"},
			func(*scene) {},
			func(s *scene) { set(s, outlooktest.Key+`\Profiles\Outlook`, "NextAccountID", uint32(1)) },
		},
		{
			mapiadapter.ReasonBitness,
			nil,
			func(s *scene) { s.serve(pe.IMAGE_FILE_MACHINE_I386) },
			func(s *scene) { s.serve(pe.IMAGE_FILE_MACHINE_AMD64) },
		},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			s := stage(t, outlooktest.Setup{Knobs: ordinary(), Profiles: test.profiles})
			test.plant(s)
			s.begin()
			s.reaches(mapiadapter.Unsupported, test.reason, mapiadapter.Unknown)
			s.ensure()
			s.stays(mapiadapter.Unsupported, test.reason)
			s.started(0)
			test.otherwise(s)
			s.reaches(mapiadapter.Idle, "", mapiadapter.Fresh)
			s.started(1)
		})
	}
}

// serve gives the consumer a Windows service whose program is of that machine
// type.
func (s *scene) serve(machine uint16) {
	s.t.Helper()
	const name = "ArchiveGateway"
	path := filepath.Join(s.t.TempDir(), "archive.exe")
	if err := os.WriteFile(path, program(machine), 0o600); err != nil {
		s.t.Fatal(err)
	}
	here, err := desktop.Here()
	if err != nil {
		s.t.Fatal(err)
	}
	key := `SYSTEM\CurrentControlSet\Services\` + name
	outlooktest.Set(s.t, registry.LOCAL_MACHINE, 0, key, "ImagePath", path)
	outlooktest.Set(s.t, registry.LOCAL_MACHINE, 0, key, "ObjectName", here.Account)
	s.target.Service = name
}

// program is a PE file with nothing but headers.
func program(machine uint16) []byte {
	var b bytes.Buffer
	dos := make([]byte, 0x40)
	copy(dos, "MZ")
	binary.LittleEndian.PutUint32(dos[0x3c:], 0x40)
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	var optional any = pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16}
	if machine == pe.IMAGE_FILE_MACHINE_I386 {
		optional = pe.OptionalHeader32{Magic: 0x10b, NumberOfRvaAndSizes: 16}
	}
	header := pe.FileHeader{Machine: machine, Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE, SizeOfOptionalHeader: uint16(binary.Size(optional))}
	_ = binary.Write(&b, binary.LittleEndian, header) // a buffer takes everything
	_ = binary.Write(&b, binary.LittleEndian, optional)
	return b.Bytes()
}

// OUTLOOK.EXE hands over to new Outlook, though no setting says so: it would be
// started for ever.
func TestOutlookHandsOver(t *testing.T) {
	s := stage(t, outlooktest.Setup{Knobs: outlooktest.Knobs{HandOver: true}})
	s.begin()
	s.reaches(mapiadapter.Unsupported, mapiadapter.ReasonNewOutlook, mapiadapter.Unknown)
	s.ensure()
	s.report(refusedLogon)
	s.stays(mapiadapter.Unsupported, mapiadapter.ReasonNewOutlook)
	s.started(1)
	if all := s.outlook.Starts(t); !slices.ContainsFunc(all, func(o outlooktest.Start) bool { return o.New }) {
		t.Errorf("new Outlook did not start: %+v", all)
	}
}

// Outlook runs and never says anything, or never gets out of a call.
func TestOutlookHangs(t *testing.T) {
	for name, com := range map[string]*outlooktest.COM{
		"before it is registered": nil,
		"in a call":               {Profile: "Outlook", Mode: 700, Hang: "Session"},
		"rejecting every call":    {Profile: "Outlook", Mode: 700, RejectFor: -1},
	} {
		t.Run(name, func(t *testing.T) {
			k := ordinary()
			k.COM = com
			s := stage(t, outlooktest.Setup{Knobs: k})
			s.limits.Observe, s.limits.ObserveLogon = 3*time.Second, 3*time.Second
			s.begin()
			s.reaches(mapiadapter.Backoff, mapiadapter.ReasonNoProof, mapiadapter.Unknown)
			s.ensure()
			s.stays(mapiadapter.Backoff, mapiadapter.ReasonNoProof)
			if v := s.view(); v.Failures != 1 || v.Agent.Running != mapiadapter.OutlookDeaf {
				t.Errorf("%d failures, %s runs", v.Failures, v.Agent.Running)
			}
			s.started(1)
		})
	}
}

func TestOutlookCrashes(t *testing.T) {
	s := stage(t, outlooktest.Setup{Knobs: outlooktest.Knobs{Life: 300 * time.Millisecond, Code: 0xC0000005}})
	s.begin()
	s.reaches(mapiadapter.Backoff, mapiadapter.ReasonCrashed, mapiadapter.Unknown)
	s.ensure()
	s.stays(mapiadapter.Backoff, mapiadapter.ReasonCrashed)
	s.started(1)
}

// A person closes what we opened: once may be chance, twice is a wish.
func TestOutlookIsClosedByAPerson(t *testing.T) {
	s := stage(t, outlooktest.Setup{Knobs: ordinary()})
	s.begin()
	s.reaches(mapiadapter.Idle, "", mapiadapter.Fresh)
	s.started(1)
	s.outlook.End(t)
	s.until("the closing is noted", func() bool { return s.state().Closings == 1 })
	s.report(refusedLogon)
	s.until("Outlook is started again", func() bool { return len(s.outlook.Starts(t)) == 2 })
	s.reaches(mapiadapter.Idle, "", mapiadapter.Fresh)
	s.outlook.End(t)
	s.reaches(mapiadapter.Suspended, mapiadapter.ReasonUserClosed, mapiadapter.Fresh)
	s.report(refusedLogon)
	s.ensure()
	s.stays(mapiadapter.Suspended, mapiadapter.ReasonUserClosed)
	s.started(2)
}

// What a person must answer is seen by the windows, whatever their text.
func TestOutlookAsks(t *testing.T) {
	const main = "rctrl_renwnd32"
	offline := &outlooktest.COM{Profile: "Outlook", Mode: 300}
	for _, test := range []struct {
		name    string
		reason  mapiadapter.Reason
		com     *outlooktest.COM
		windows []outlooktest.Window
	}{
		{"a box at the start", mapiadapter.ReasonDialog, &outlooktest.COM{RejectFor: -1}, []outlooktest.Window{{Class: "#32770"}}},
		{"a modal box", mapiadapter.ReasonDialog, offline, []outlooktest.Window{{Class: main}, {Class: "#32770", Over: main}}},
		{"a sign-in", mapiadapter.ReasonSignIn, offline, []outlooktest.Window{{Class: main}, {Class: "Credential Dialog Xaml Host", Over: main}}},
		{"disconnected", mapiadapter.ReasonSignIn, offline, []outlooktest.Window{{Class: main}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			com := *test.com
			s := stage(t, outlooktest.Setup{Knobs: outlooktest.Knobs{COM: &com, Windows: test.windows}})
			s.begin()
			s.reaches(mapiadapter.NeedsUser, test.reason, mapiadapter.Unknown)
			s.ensure()
			s.stays(mapiadapter.NeedsUser, test.reason)
			s.started(1)
		})
	}
}

// The budget is on disk: a new adapter on the same ledger has spent it too.
func TestOutlookBudget(t *testing.T) {
	s := stage(t, outlooktest.Setup{Knobs: outlooktest.Knobs{Life: 300 * time.Millisecond, Code: 0xC0000005}})
	s.limits.BackoffFirst = time.Second
	s.limits.Budget = []mapiadapter.Allowance{{Number: 1, In: time.Hour}}
	s.begin()
	first := s.reaches(mapiadapter.Backoff, mapiadapter.ReasonBudget, mapiadapter.Unknown)
	for range 2 {
		s.end()
		s.begin()
		s.until("the agent is heard", func() bool { return s.view().Agent.Present })
		s.ensure()
		s.stays(mapiadapter.Backoff, mapiadapter.ReasonBudget)
		if v := s.view(); v.StartsNow != 0 || !v.NextStart.Equal(first.NextStart) || v.Failures != 1 {
			t.Errorf("%d starts left, the next at %v, %d failures; want none, %v, 1", v.StartsNow, v.NextStart, v.Failures, first.NextStart)
		}
	}
	s.started(1)
}
