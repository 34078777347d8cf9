package desktop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

func refusal(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Reason
	}
	return ""
}

func TestStart(t *testing.T) {
	t.Setenv("BROKER_KEY", "secret")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "secret")
	o := outlooktest.Plant(t, outlooktest.Setup{Profiles: []string{"Robot 1", "Other"}})
	outlooktest.SetUser(t, `Environment`, "BROKER_URL", "http://127.0.0.1:1/")
	outlooktest.SetUser(t, `Environment`, "KEPT", "yes")
	d := open(t, o)
	before := time.Now().Add(-time.Second)
	p, err := d.Start(t.Context(), "Robot 1")
	if err != nil {
		t.Fatal(err)
	}
	if p.PID == 0 || p.Product != ClassicOutlook || p.SessionID != d.here.SessionID || p.Elevated || p.StartedOn.Before(before) || time.Since(p.StartedOn) > time.Minute {
		t.Errorf("Start = %+v", p)
	}
	s := o.Await(t, 1)[0]
	if s.PID != p.PID || !slices.Equal(s.Args, Arguments("Robot 1")) {
		t.Errorf("it was started as %d with %q", s.PID, s.Args)
	}
	if want := `"` + o.Program + `" /recycle /profile "Robot 1"`; s.Line != want {
		t.Errorf("the command line was %s, want %s", s.Line, want)
	}
	if !strings.EqualFold(s.Folder, filepath.Dir(o.Program)) || s.ShowWindow != windows.SW_SHOWMINNOACTIVE {
		t.Errorf("it was started in %s, shown as %d", s.Folder, s.ShowWindow)
	}
	for _, name := range s.Variables {
		if strings.HasPrefix(name, "BROKER_") || strings.HasPrefix(name, "OTEL_") {
			t.Errorf("%s reached it", name)
		}
	}
	if !slices.Contains(s.Variables, "KEPT") || !slices.ContainsFunc(s.Variables, func(v string) bool { return strings.EqualFold(v, "SystemRoot") }) {
		t.Errorf("its environment is %q, not the account's", s.Variables)
	}

	f := look(t, d)
	if len(f.Processes) != 1 || f.Processes[0] != p || len(f.Ended) != 0 {
		t.Errorf("Processes = %+v, Ended = %+v, want %+v", f.Processes, f.Ended, p)
	}
	if !f.View.Asked || f.View.Failure != FailureAbsent {
		t.Errorf("View = %+v", f.View)
	}
	if _, err := d.Start(t.Context(), "Robot 1"); refusal(err) != RefusedRunning {
		t.Errorf("the second start: %v", err)
	}
	if _, err := open(t, o).Start(t.Context(), "Other"); refusal(err) != RefusedRunning {
		t.Errorf("a start by another desktop: %v", err)
	}
	o.End(t)
	f = look(t, d)
	if len(f.Processes) != 0 || len(f.Ended) != 1 || f.Ended[0].PID != p.PID || f.Ended[0].ExitCode != 0 {
		t.Errorf("after its end: Processes = %+v, Ended = %+v", f.Processes, f.Ended)
	}
	if n := len(o.Starts(t)); n != 1 {
		t.Errorf("it was started %d times", n)
	}
}

// A process that this desktop did not start counts as well, wherever its file
// is.
func TestOutlookOfThePerson(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{})
	other := outlooktest.Plant(t, outlooktest.Setup{Where: outlooktest.Nowhere})
	p, err := os.StartProcess(other.Program, []string{other.Program}, &os.ProcAttr{Files: []*os.File{nil, nil, nil}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Release() }()
	other.Await(t, 1)
	d := open(t, o)
	f := look(t, d)
	if len(f.Processes) != 1 || int(f.Processes[0].PID) != p.Pid || len(f.Ended) != 0 {
		t.Errorf("Processes = %+v", f.Processes)
	}
	if _, err := d.Start(t.Context(), "Outlook"); refusal(err) != RefusedRunning {
		t.Errorf("Start: %v", err)
	}
	if n := len(o.Starts(t)); n != 0 {
		t.Errorf("it was started %d times", n)
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, test := range []struct {
		name, want, profile string
		where               outlooktest.Where
		change              func(*testing.T, *local)
	}{
		{name: "service", want: RefusedService, change: func(_ *testing.T, d *local) { d.here.SessionID, d.here.Interactive = 0, false }},
		{name: "elevated", want: RefusedElevated, change: func(_ *testing.T, d *local) { d.here.Elevated = true }},
		{name: "other account", want: RefusedAccount, change: func(_ *testing.T, d *local) { d.sid = "S-1-5-21-1-2-3-4567" }},
		{name: "no Outlook", want: RefusedNoOutlook, where: outlooktest.Nowhere},
		{name: "new Outlook", want: RefusedNewOutlook, change: func(t *testing.T, _ *local) {
			outlooktest.SetUser(t, outlooktest.Key+`\Preferences`, "UseNewOutlook", uint32(1))
		}},
		{name: "unknown profile", want: RefusedNoProfile, profile: "Nobody"},
		{name: "long profile", want: RefusedNoProfile, profile: long},
		{name: "quote", want: RefusedNoProfile, profile: `a"b`},
		{name: "control character", want: RefusedNoProfile, profile: "a\tb"},
		{name: "switch", want: RefusedNoProfile, profile: "/cleanprofile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := outlooktest.Plant(t, outlooktest.Setup{Where: test.where, Profiles: []string{"Outlook", long, `a"b`, "/cleanprofile"}})
			d := open(t, o)
			if test.change != nil {
				test.change(t, d)
			}
			profile := test.profile
			if profile == "" {
				profile = "Outlook"
			}
			if _, err := d.Start(t.Context(), profile); refusal(err) != test.want {
				t.Errorf("Start: %v", err)
			}
			if n := len(o.Starts(t)); n != 0 {
				t.Errorf("it was started %d times", n)
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := open(t, o)
	if _, err := d.Start(ctx, "Outlook"); !errors.Is(err, context.Canceled) {
		t.Errorf("Start: %v", err)
	}
	if _, err := d.Look(ctx, Want{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Look: %v", err)
	}
}

// How it ended is told, with when and how.
func TestEnded(t *testing.T) {
	for _, test := range []struct {
		name string
		code uint32
	}{{"closed", 0}, {"crashed", 0xC0000005}} {
		t.Run(test.name, func(t *testing.T) {
			o := outlooktest.Plant(t, outlooktest.Setup{Knobs: outlooktest.Knobs{Life: 100 * time.Millisecond, Code: test.code}})
			d := open(t, o)
			p, err := d.Start(t.Context(), "Outlook")
			if err != nil {
				t.Fatal(err)
			}
			var f Facts
			outlooktest.Until(t, func() bool {
				f = look(t, d)
				return len(f.Ended) > 0
			})
			e := f.Ended[0]
			if e.PID != p.PID || e.ExitCode != test.code || e.On.Before(p.StartedOn) || time.Since(e.On) > time.Minute {
				t.Errorf("Ended = %+v, started %v", e, p.StartedOn)
			}
			if again := look(t, d).Ended; len(again) != 1 || again[0] != e {
				t.Errorf("Ended = %+v the second time", again)
			}
			if len(f.Processes) != 0 {
				t.Errorf("Processes = %+v", f.Processes)
			}
		})
	}
}

// Closing the desktop lets go of Outlook: it goes on.
func TestCloseLeavesOutlook(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{})
	d := open(t, o)
	if _, err := d.Start(t.Context(), "Outlook"); err != nil {
		t.Fatal(err)
	}
	o.Await(t, 1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if f := look(t, open(t, o)); len(f.Processes) != 1 {
		t.Errorf("Processes = %+v", f.Processes)
	}
}

func TestHandOverToNewOutlook(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{Knobs: outlooktest.Knobs{HandOver: true}})
	d := open(t, o)
	p, err := d.Start(t.Context(), "Outlook")
	if err != nil {
		t.Fatal(err)
	}
	o.Await(t, 2)
	var f Facts
	outlooktest.Until(t, func() bool {
		f = look(t, d)
		return len(f.Ended) > 0
	})
	if len(f.Processes) != 1 || f.Processes[0].Product != NewOutlook || f.Processes[0].PID == p.PID || f.View.Asked {
		t.Errorf("Processes = %+v, View = %+v", f.Processes, f.View)
	}
	if err := d.SendAndReceive(t.Context(), "Outlook"); refusal(err) != RefusedNotRunning {
		t.Errorf("SendAndReceive: %v", err)
	}
}

// The whole way: a start, a token written, Outlook's own view.
func TestStartedOutlookShows(t *testing.T) {
	o := outlooktest.Plant(t, outlooktest.Setup{Knobs: outlooktest.Knobs{
		Writes: []outlooktest.Write{{Path: `Microsoft\OneAuth\token`, After: 300 * time.Millisecond}},
		COM:    &outlooktest.COM{Profile: "Outlook", Mode: 700},
	}})
	d := open(t, o)
	p, err := d.Start(t.Context(), "Outlook")
	if err != nil {
		t.Fatal(err)
	}
	var f Facts
	outlooktest.Until(t, func() bool {
		f = look(t, d)
		return f.View.Failure == "" && !f.CacheOn.IsZero()
	})
	if f.View != (View{Asked: true, Profile: "Outlook", Mode: 700}) || f.CacheOn.Before(p.StartedOn) {
		t.Errorf("View = %+v, CacheOn = %v, started %v", f.View, f.CacheOn, p.StartedOn)
	}
	if err := d.SendAndReceive(t.Context(), "Outlook"); err != nil {
		t.Errorf("SendAndReceive: %v", err)
	}
	if err := d.SendAndReceive(t.Context(), "Other"); refusal(err) != RefusedProfile {
		t.Errorf("SendAndReceive with another profile: %v", err)
	}
}
