package mapiadapter

import (
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

func TestSurelyNot(t *testing.T) {
	ours := identity{name: `CONTOSO\svc`, sid: "S-1-5-21-1", host: "APP-SERVER-0000001.contoso.com"}
	local := ours
	local.name = `APP-SERVER-0000\svc`
	tests := []struct {
		ours    identity
		written string
		other   bool
	}{
		{ours, "", false},
		{ours, `CONTOSO\svc`, false},
		{ours, `contoso\SVC`, false},
		{ours, `CONTOSO\svc2`, true},
		{ours, `FABRIKAM\svc`, true},
		{ours, `contoso.com\svc`, false}, // the domain's other name
		{ours, `contoso.com\else`, true},
		{ours, `svc@contoso.com`, false},
		{ours, `mailbox@contoso.com`, false}, // need not be the account's name
		{ours, `AzureAD\someone@contoso.com`, false},
		{ours, `.\svc`, true}, // of this machine, and we are of the domain
		{local, `.\svc`, false},
		{local, `.\else`, true},
		{identity{name: `CONTOSO\svc`}, `.\svc`, false},
		{ours, "S-1-5-21-1", false},
		{ours, "s-1-5-21-1", false},
		{ours, "S-1-5-21-10", true},
		{identity{name: `CONTOSO\svc`}, "S-1-5-21-10", false}, // not known
		{identity{name: "S-1-5-21-1", sid: "S-1-5-21-1"}, `CONTOSO\svc`, false},
		{identity{name: "robot"}, `CONTOSO\robot`, false},
		{identity{name: "robot"}, "other", true},
		{identity{}, `CONTOSO\svc`, false},
	}
	for _, tt := range tests {
		if got := tt.ours.surelyNot(tt.written); got != tt.other {
			t.Errorf("%+v, written %s: %v", tt.ours, tt.written, got)
		}
	}
}

func TestNeverLogsOn(t *testing.T) {
	for account, want := range map[string]bool{
		"": true, "LocalSystem": true, `.\LocalSystem`: true, `NT AUTHORITY\NetworkService`: true, `NT Service\Archive`: true,
		`IIS APPPOOL\x`: true, `CONTOSO\gmsa$`: true, "gmsa$@contoso.com": true,
		`CONTOSO\svc`: false, `.\svc`: false, "svc@contoso.com": false, `CONTOSO\system`: false,
	} {
		if got := neverLogsOn(account); got != want {
			t.Errorf("%q: %v", account, got)
		}
	}
}

// sighted is what a target makes of a desktop, with an agent that looked for its
// service.
func sighted(change func(*Target, *surroundings, *desktop.Facts)) (Sight, Target) {
	t := Target{Name: "crm", Profile: "Outlook", Service: "Archive"}
	e := surroundings{ours: identity{name: `CONTOSO\svc`, sid: "S-1-5-21-1", host: "HOST"}}
	f := desktop.Facts{
		SeenOn: noon, Host: "HOST", Account: `CONTOSO\svc`, SID: "S-1-5-21-1",
		Session:      desktop.Session{ID: 3, State: desktop.SessionActive, LogonID: "77", LogonOn: noon.Add(-hour), LastInputOn: noon.Add(-minute)},
		Installation: desktop.Installation{Path: `C:\OUTLOOK.EXE`, Bitness: desktop.X64},
		Profiles:     desktop.Profiles{Names: []string{"Other", "OUTLOOK"}},
		Services:     map[string]desktop.Service{"Archive": {Account: `CONTOSO\svc`, Bitness: desktop.X64}},
	}
	change(&t, &e, &f)
	agent := &seenAgent{report: Report{Agent: AgentInfo{StartedOn: noon.Add(-hour)}, Facts: f}, looked: noon.Add(-second), asked: []string{"Archive"}}
	return sightOf(t, e, agent), t
}

func process1(product desktop.Product, session uint32, elevated bool) desktop.Process {
	return desktop.Process{PID: 8, Product: product, SessionID: session, Elevated: elevated}
}

func TestSightOfWhatIsBroken(t *testing.T) {
	type change = func(*Target, *surroundings, *desktop.Facts)
	service := func(s desktop.Service) change {
		return func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Services["Archive"] = s }
	}
	account := func(a string) change { return func(t *Target, _ *surroundings, _ *desktop.Facts) { t.Account = a } }
	tests := map[string]struct {
		change change
		want   Reason
	}{
		"nothing":          {account(""), ReasonNone},
		"not on Windows":   {func(_ *Target, e *surroundings, _ *desktop.Facts) { e.platform = ReasonPlatform }, ReasonPlatform},
		"no Outlook":       {func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Installation.Path = "" }, ReasonNoOutlook},
		"new Outlook":      {func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Installation.NewInUse = true }, ReasonNewOutlook},
		"no such profile":  {func(t *Target, _ *surroundings, _ *desktop.Facts) { t.Profile = "Archive" }, ReasonNoProfile},
		"our account":      {account(`contoso\SVC`), ReasonNone},
		"our SID":          {account("S-1-5-21-1"), ReasonNone},
		"another SID":      {account("S-1-5-21-2"), ReasonOtherAccount},
		"another account":  {account(`CONTOSO\else`), ReasonOtherAccount},
		"a local account":  {account(`.\svc`), ReasonOtherAccount},
		"a principal name": {account("archive@contoso.com"), ReasonNone},
		"the agent's session 0": {func(_ *Target, _ *surroundings, f *desktop.Facts) {
			f.Session = desktop.Session{State: desktop.SessionOther}
		}, ReasonElevated},
		"LocalSystem":            {service(desktop.Service{Account: "LocalSystem"}), ReasonServiceAccount},
		"a managed account":      {service(desktop.Service{Account: `CONTOSO\svc$`}), ReasonServiceAccount},
		"the service's account":  {service(desktop.Service{Account: `CONTOSO\else`, Bitness: desktop.X64}), ReasonOtherAccount},
		"the service's bitness":  {service(desktop.Service{Account: `CONTOSO\svc`, Bitness: desktop.X86}), ReasonBitness},
		"a bitness not known":    {service(desktop.Service{Account: "svc@contoso.com"}), ReasonNone},
		"Outlook's not known":    {func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Installation.Bitness = "" }, ReasonNone},
		"a service not there":    {func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Services = nil }, ReasonNone},
		"a person's own program": {func(t *Target, _ *surroundings, f *desktop.Facts) { t.Service, f.Services = "", nil }, ReasonNone},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := sighted(tt.change)
			if w.Broken != tt.want || !w.Known || !w.Agent || w.Sessions != SessionsSome {
				t.Errorf("broken %q; %+v", w.Broken, w)
			}
			if well, _ := sighted(func(*Target, *surroundings, *desktop.Facts) {}); tt.want != ReasonNone && tt.want != ReasonPlatform && tt.want != ReasonElevated && w.Mark == well.Mark {
				t.Error("its repair would not be noticed")
			}
		})
	}
}

func TestSightOfOutlook(t *testing.T) {
	answers := desktop.View{Asked: true, Profile: "outlook", Mode: 700}
	classic := process1(desktop.ClassicOutlook, 3, false)
	tests := map[string]struct {
		processes []desktop.Process
		view      desktop.View
		want      Outlook
		mode      int
		isNew     bool
	}{
		"nothing":               {nil, desktop.View{}, OutlookAbsent, 0, false},
		"here":                  {[]desktop.Process{classic}, answers, OutlookHere, 700, false},
		"another profile":       {[]desktop.Process{classic}, desktop.View{Asked: true, Profile: "Other", Mode: 700}, OutlookOther, 700, false},
		"not asked":             {[]desktop.Process{classic}, desktop.View{}, OutlookDeaf, 0, false},
		"busy":                  {[]desktop.Process{classic}, desktop.View{Asked: true, Failure: desktop.FailureBusy, Mode: 700}, OutlookDeaf, 0, false},
		"elevated":              {[]desktop.Process{process1(desktop.ClassicOutlook, 3, true)}, answers, OutlookDeaf, 700, false},
		"another session":       {[]desktop.Process{process1(desktop.ClassicOutlook, 4, false)}, desktop.View{}, OutlookElse, 0, false},
		"in both":               {[]desktop.Process{process1(desktop.ClassicOutlook, 4, false), classic}, answers, OutlookHere, 700, false},
		"in both, deaf here":    {[]desktop.Process{classic, process1(desktop.ClassicOutlook, 4, false)}, desktop.View{}, OutlookDeaf, 0, false},
		"new Outlook":           {[]desktop.Process{process1(desktop.NewOutlook, 3, false)}, desktop.View{}, OutlookAbsent, 0, true},
		"new Outlook elsewhere": {[]desktop.Process{process1(desktop.NewOutlook, 4, false)}, desktop.View{}, OutlookAbsent, 0, false},
		"both kinds":            {[]desktop.Process{classic, process1(desktop.NewOutlook, 3, false)}, answers, OutlookHere, 700, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := sighted(func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Processes, f.View = tt.processes, tt.view })
			if w.Outlook != tt.want || w.Mode != tt.mode || w.New != tt.isNew {
				t.Errorf("%s, mode %d, new %v", w.Outlook, w.Mode, w.New)
			}
		})
	}
}

func TestSightOfTheSession(t *testing.T) {
	w, _ := sighted(func(_ *Target, e *surroundings, f *desktop.Facts) {
		e.obstacle, e.reached = ReasonClock, noon
		f.CacheOn, f.Asking, f.Ended = noon.Add(-hour), desktop.AskingFirst, []desktop.Ended{{PID: 8}}
	})
	if !w.InUse || w.Locked || w.Logon != "77" || !w.LogonOn.Equal(noon.Add(-hour)) || !w.On.Equal(noon.Add(-second)) || !w.AgentOn.Equal(noon.Add(-hour)) ||
		w.Obstacle != ReasonClock || !w.ReachOn.Equal(noon) || !w.CacheOn.Equal(noon.Add(-hour)) || w.Asking != desktop.AskingFirst || len(w.Ended) != 1 {
		t.Errorf("%+v", w)
	}
	for name, change := range map[string]func(*desktop.Session){
		"locked":       func(s *desktop.Session) { s.Locked = true },
		"disconnected": func(s *desktop.Session) { s.State = desktop.SessionDisconnected },
		"nobody there": func(s *desktop.Session) { s.LastInputOn = noon.Add(-inUse) },
		"never used":   func(s *desktop.Session) { s.LastInputOn = time.Time{} },
	} {
		if w, _ := sighted(func(_ *Target, _ *surroundings, f *desktop.Facts) { change(&f.Session) }); w.InUse {
			t.Errorf("%s, and in use", name)
		}
	}
	if w, _ := sighted(func(_ *Target, _ *surroundings, f *desktop.Facts) { f.Session.LogonID = "" }); !strings.Contains(w.Logon, "3") {
		t.Errorf("the session without a logon's ID is %q", w.Logon)
	}
}

// What is not known yet is no ground to judge by.
func TestSightOfNothing(t *testing.T) {
	target := Target{Profile: "Outlook", Service: "Archive"}
	if w := sightOf(target, surroundings{sessions: SessionsSome}, nil); w.Known || w.Agent || w.Sessions != SessionsSome || w.Outlook != OutlookUnknown {
		t.Errorf("%+v", w)
	}
	if w := sightOf(target, surroundings{known: true, sessions: SessionsNone}, nil); !w.Known || w.Sessions != SessionsNone {
		t.Errorf("%+v", w)
	}
	agent := &seenAgent{report: Report{Facts: desktop.Facts{Installation: desktop.Installation{Path: "p"}, Profiles: desktop.Profiles{Names: []string{"Outlook"}}}}}
	if w := sightOf(target, surroundings{known: true}, agent); w.Known {
		t.Error("the service was not looked for, and is judged")
	}
	if w := sightOf(target, surroundings{platform: ReasonPlatform}, agent); !w.Known || w.Broken != ReasonPlatform {
		t.Errorf("%+v", w)
	}
	target.Account = `X\y`
	if w := sightOf(target, surroundings{ours: identity{name: `A\b`}}, nil); !w.Known || w.Broken != ReasonOtherAccount {
		t.Errorf("%+v", w)
	}
}
