package mapiadapter

import (
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

var here = place{account: `CONTOSO\svc`, host: "APP01", profile: "Outlook", target: "crm"}

func (y *story) obstacle() Obstacle { return obstacleOf(y.in, y.s, here, y.now) }

// What is in the way of a renewal is known before one is due, and is what the
// renewal then ends in.
func TestObstacle(t *testing.T) {
	tests := []struct {
		name   string
		world  func(*Sight)
		phase  Phase
		reason Reason
	}{
		{"nothing", connected, "", ""},
		{"Outlook does not run", absent, "", ""},
		{"Outlook does not answer", deaf, "", ""},
		{"the network is away", noNetwork, "", ""},
		{"nobody is logged on", nobody, WaitSession, ""},
		{"no agent", noAgent, WaitAgent, ""},
		{"another profile", otherProfile, NeedsUser, ReasonWrongProfile},
		{"another session", otherSession, NeedsUser, ReasonOtherSession},
		{"no Outlook", broken(ReasonNoOutlook), Unsupported, ReasonNoOutlook},
		{"new Outlook", broken(ReasonNewOutlook), Unsupported, ReasonNewOutlook},
		{"no profile", broken(ReasonNoProfile), Unsupported, ReasonNoProfile},
		{"bitness", broken(ReasonBitness), Unsupported, ReasonBitness},
		{"an account without sessions", broken(ReasonServiceAccount), Unsupported, ReasonServiceAccount},
		{"another account", broken(ReasonOtherAccount), Unsupported, ReasonOtherAccount},
		{"the platform", broken(ReasonPlatform), Unsupported, ReasonPlatform},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			y := freshStory(t).sees(tt.world).after(minute).is(Idle, ReasonNone)
			got := y.obstacle()
			if got.Phase != tt.phase || got.Reason != tt.reason {
				t.Fatalf("obstacle %s(%s), not %s(%s)", got.Phase, got.Reason, tt.phase, tt.reason)
			}
			if tt.phase == "" {
				if got != (Obstacle{}) {
					t.Errorf("words for nothing: %+v", got)
				}
				return
			}
			for _, s := range []string{got.Message, got.Action} {
				if !strings.Contains(s, "APP01") || strings.ContainsAny(s, "{}") {
					t.Errorf("no sentence for a person: %q", s)
				}
			}
			y.after(hour).refused().after(30*second).is(tt.phase, tt.reason)
			if again := y.obstacle(); again != (Obstacle{}) {
				t.Errorf("the phase says it, and the obstacle again: %+v", again)
			}
		})
	}
}

// A window counts once it has been there for a while.
func TestObstacleOfAWindow(t *testing.T) {
	for what, why := range map[desktop.Asking]Reason{desktop.AskingSignIn: ReasonSignIn, desktop.AskingProfile: ReasonDialog, desktop.AskingFirst: ReasonDialog} {
		y := freshStory(t).sees(connected, asking(what))
		if got := y.obstacle(); got != (Obstacle{}) {
			t.Errorf("%s, at once: %+v", what, got)
		}
		if got := y.after(15*second).is(Idle, ReasonNone).obstacle(); got.Phase != NeedsUser || got.Reason != why {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// Before anything was seen, and while an attempt is made, nothing is said.
func TestNoObstacle(t *testing.T) {
	y := freshStory(t).sees(func(w *Sight) { *w = Sight{} })
	if got := y.obstacle(); got != (Obstacle{}) {
		t.Errorf("nothing was seen, and yet %+v", got)
	}
	if got := observingStory(t).sees(broken(ReasonBitness)).obstacle(); got != (Obstacle{}) {
		t.Errorf("during an attempt: %+v", got)
	}
}

func TestWarnings(t *testing.T) {
	target := Target{Name: "crm", Profile: "Outlook", Policy: Nudge}
	good := func() *desktop.Facts {
		return &desktop.Facts{
			Session: desktop.Session{ID: 1}, Installation: desktop.Installation{Path: `C:\OUTLOOK.EXE`}, Profiles: desktop.Profiles{Names: []string{"Outlook"}},
			Services: map[string]desktop.Service{"Archive": {Account: `CONTOSO\svc`}},
		}
	}
	starting := []desktop.Process{{PID: 7, Product: desktop.ClassicOutlook, SessionID: 1}}
	starts := func(ago ...time.Duration) (all []time.Time) {
		for _, d := range ago {
			all = append(all, noon.Add(-d))
		}
		return all
	}
	tests := []struct {
		name   string
		change func(*Target, *State, *desktop.Facts)
		want   string // a part of the one warning; empty: there is none
	}{
		{"all is well", func(*Target, *State, *desktop.Facts) {}, ""},
		{"notify_only", func(t *Target, _ *State, _ *desktop.Facts) { t.Policy = NotifyOnly }, "a person must open Outlook"},
		{"useless probe", func(_ *Target, s *State, _ *desktop.Facts) { s.ProbeUnusable = true }, "mapi.crm.probe to false"},
		{"a start just now", func(_ *Target, s *State, _ *desktop.Facts) { s.Starts = starts(minute) }, ""},
		{"three starts", func(_ *Target, s *State, _ *desktop.Facts) { s.Starts = starts(3*hour, 2*hour, minute) }, ""},
		{"four starts in six hours", func(_ *Target, s *State, _ *desktop.Facts) { s.Starts = starts(5*hour, 3*hour, 2*hour, hour) }, "may not be started again before 13:00 UTC"},
		{"migration", func(_ *Target, _ *State, f *desktop.Facts) { f.Installation.Migrating = true }, "NewOutlookMigrationUserSetting"},
		{"asks for a profile", func(_ *Target, _ *State, f *desktop.Facts) { f.Profiles.Asks = true }, "asks which profile"},
		{"a service that is not there", func(t *Target, _ *State, _ *desktop.Facts) { t.Service = "Gone" }, "correct mapi.crm.service"},
		{"a service that is there", func(t *Target, _ *State, _ *desktop.Facts) { t.Service = "Archive" }, ""},
		{"no answer", func(_ *Target, _ *State, f *desktop.Facts) { f.Processes = starting }, "runs and does not answer"},
		{"no answer yet", func(_ *Target, s *State, f *desktop.Facts) { f.Processes, s.Phase = starting, Observe }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, s, f := target, NewState(noon), good()
			tt.change(&target, &s, f)
			got := warningsOf(target, s, DefaultLimits(), f, here, noon)
			switch {
			case tt.want == "" && len(got) > 0, tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Fatalf("warnings %q, want %q", got, tt.want)
			}
			for _, w := range got {
				if strings.ContainsAny(w, "{}") || !strings.HasSuffix(w, ".") {
					t.Errorf("no sentence for a person: %q", w)
				}
			}
		})
	}
	if got := warningsOf(target, NewState(noon), DefaultLimits(), nil, here, noon); got != nil {
		t.Errorf("nothing was seen, and yet %q", got)
	}
}
