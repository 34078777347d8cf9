package desktop

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// seen is what one look is about, in a line: the Outlooks by product and
// session, the view, what is asked, and how long after the beginning the last
// token cache was written.
func seen(t *testing.T, s *Scripted, begin time.Time) string {
	t.Helper()
	f, err := s.Look(t.Context(), Want{})
	if err != nil {
		return err.Error()
	}
	var words []string
	for _, p := range f.Processes {
		word := fmt.Sprintf("%s/%d", p.Product, p.SessionID)
		if p.Elevated {
			word += "/elevated"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	switch v := f.View; {
	case v.Failure != "":
		words = append(words, v.Failure)
	case v.Asked:
		words = append(words, v.Profile, fmt.Sprint(v.Mode))
	}
	if f.Asking != "" {
		words = append(words, "asks "+string(f.Asking))
	}
	if !f.CacheOn.IsZero() {
		words = append(words, "cache "+f.CacheOn.Sub(begin).String())
	}
	for _, e := range f.Ended {
		words = append(words, fmt.Sprintf("ended %x %v", e.ExitCode, e.On.Sub(begin)))
	}
	return strings.Join(words, ", ")
}

// moment is what is done to the world at a time, and what is seen then.
type moment struct {
	at   time.Duration
	do   func(t *testing.T, s *Scripted)
	want string
}

func start(t *testing.T, s *Scripted) {
	t.Helper()
	p, err := s.Start(t.Context(), "Outlook")
	if err != nil || p.PID == 0 || p.PID%4 != 0 || p.Product != ClassicOutlook || p.SessionID != 1 || p.StartedOn.IsZero() {
		t.Fatalf("start: %+v, %v", p, err)
	}
}

func send(t *testing.T, s *Scripted) {
	t.Helper()
	if err := s.SendAndReceive(t.Context(), "outlook"); err != nil {
		t.Fatal(err)
	}
}

func TestScripted(t *testing.T) {
	const second, minute = time.Second, time.Minute
	after := func(does Doing) Script { return Script{Start: StartScript{Does: does, After: 20 * second}} }
	for name, tt := range map[string]struct {
		script  Script
		moments []moment
	}{
		"nothing happens": {Script{}, []moment{{0, nil, ""}, {minute, nil, ""}}},
		"it connects": {after(Connects), []moment{
			{0, start, "classic/1, absent"},
			{2 * second, nil, "classic/1, Outlook, 100"},
			{20*second - 1, nil, "classic/1, Outlook, 100"},
			{20 * second, nil, "classic/1, Outlook, 500, cache 20s"},
			{minute, nil, "classic/1, Outlook, 500, cache 20s"},
		}},
		"it connects at once": {Script{}, []moment{{0, start, "classic/1, Outlook, 500, cache 0s"}}},
		"nobody looked meanwhile": {after(Connects), []moment{
			{0, start, "classic/1, absent"},
			{minute, nil, "classic/1, Outlook, 500, cache 20s"},
		}},
		"it hangs": {after(Hangs), []moment{
			{0, start, "classic/1, absent"}, {2 * second, nil, "classic/1, busy"}, {60 * minute, nil, "classic/1, busy"},
		}},
		"it crashes at once": {Script{Start: StartScript{Does: Crashes}}, []moment{
			{0, start, "ended c0000005 0s"},
			{minute, start, "ended c0000005 0s, ended c0000005 1m0s"},
			{2 * minute, func(t *testing.T, s *Scripted) {
				s.OnStart(StartScript{Does: Hangs})
				start(t, s)
			}, "classic/1, busy, ended c0000005 0s, ended c0000005 1m0s"},
		}},
		"it crashes later": {Script{Start: StartScript{Does: Crashes, After: 20 * second, ExitCode: 3}}, []moment{
			{0, start, "classic/1, absent"}, {19 * second, nil, "classic/1, Outlook, 100"}, {minute, nil, "ended 3 20s"},
		}},
		"it stays offline": {after(StaysOffline), []moment{
			{0, start, "classic/1, absent"},
			{minute, nil, "classic/1, Outlook, 300"},
			{2 * minute, send, "classic/1, Outlook, 300"},
			{3 * minute, nil, "classic/1, Outlook, 300"},
		}},
		"it asks for a sign-in": {after(AsksSignIn), []moment{
			{0, start, "classic/1, absent"},
			{19 * second, nil, "classic/1, Outlook, 100"},
			{20 * second, nil, "classic/1, Outlook, 300, asks sign_in"},
			{minute, func(_ *testing.T, s *Scripted) { s.AnswerWindow() }, "classic/1, Outlook, 100"},
			{80 * second, nil, "classic/1, Outlook, 500, cache 1m20s"},
		}},
		"it asks other things": {after(AsksFirst), []moment{
			{0, start, "classic/1, absent"},
			{20 * second, nil, "classic/1, busy, asks first_run"},
			{minute, func(_ *testing.T, s *Scripted) { s.AnswerWindow() }, "classic/1, Outlook, 100"},
			{2 * minute, nil, "classic/1, Outlook, 500, cache 1m20s"},
		}},
		"it asks for the profile": {
			Script{Profiles: Profiles{Names: []string{"Outlook", "Other"}, Asks: true}},
			[]moment{{0, start, "classic/1, busy, asks profile"}},
		},
		"a dialog": {Script{Start: StartScript{Does: AsksDialog}}, []moment{{0, start, "classic/1, busy, asks dialog"}}},
		"a sign-in is needed": {Script{SignInNeeded: true}, []moment{
			{0, start, "classic/1, Outlook, 300, asks sign_in"},
			{minute, func(_ *testing.T, s *Scripted) { s.SignInNeeded(false) }, "classic/1, Outlook, 500, cache 1m0s"},
			{2 * minute, func(_ *testing.T, s *Scripted) { s.SignInNeeded(true) }, "classic/1, Outlook, 300, asks sign_in, cache 1m0s"},
			{3 * minute, send, "classic/1, Outlook, 300, asks sign_in, cache 1m0s"},
		}},
		"it hands over": {after(HandsOver), []moment{
			{0, start, "classic/1, absent"},
			{499 * time.Millisecond, nil, "classic/1, absent"},
			{second, nil, "new/1, ended 0 500ms"},
			{minute, func(_ *testing.T, s *Scripted) { s.SetNewOutlook(false) }, "ended 0 500ms"},
		}},
		"each start is a step towards new Outlook": {Script{Installation: Installation{Migrating: true}}, []moment{
			{0, start, "classic/1, Outlook, 500, cache 0s"},
			{second, func(_ *testing.T, s *Scripted) { s.CloseByPerson() }, "cache 0s, ended 0 1s"},
			{minute, func(_ *testing.T, s *Scripted) { s.RunOutlook("Outlook"); s.CloseByPerson() }, "cache 1m0s, ended 0 1s"},
			{2 * minute, start, "classic/1, absent, cache 1m0s, ended 0 1s"},
			{3 * minute, nil, "new/1, cache 1m0s, ended 0 1s, ended 0 2m0.5s"},
			{4 * minute, refused(RefusedNewOutlook, 0), "new/1, cache 1m0s, ended 0 1s, ended 0 2m0.5s"},
		}},
		"a person closes it": {Script{Start: StartScript{After: 20 * second, ClosedAfter: minute}}, []moment{
			{0, start, "classic/1, absent"},
			{59 * second, nil, "classic/1, Outlook, 500, cache 20s"},
			{2 * minute, nil, "cache 20s, ended 0 1m0s"},
		}},
		"a person closes it before it has connected": {Script{Start: StartScript{After: 20 * second, ClosedAfter: 10 * second}}, []moment{
			{0, start, "classic/1, absent"}, {minute, nil, "ended 0 10s"},
		}},
		"a person closes it while it hands over": {Script{Start: StartScript{Does: HandsOver, ClosedAfter: minute}}, []moment{
			{0, start, "classic/1, absent"}, {2 * minute, nil, "new/1, ended 0 500ms"},
		}},
		"it renews": {Script{Send: SendScript{After: 5 * second}}, []moment{
			{0, start, "classic/1, Outlook, 500, cache 0s"},
			{minute, send, "classic/1, Outlook, 500, cache 0s"},
			{minute + second, send, "classic/1, Outlook, 500, cache 0s"},
			{minute + 5*second, nil, "classic/1, Outlook, 500, cache 1m5s"},
			{2 * minute, nil, "classic/1, Outlook, 500, cache 1m6s"},
			{3 * minute, func(_ *testing.T, s *Scripted) { s.Renew() }, "classic/1, Outlook, 500, cache 3m0s"},
		}},
		"it has nothing to renew": {Script{Send: SendScript{Does: SendsNothing}}, []moment{
			{0, start, "classic/1, Outlook, 500, cache 0s"}, {minute, send, "classic/1, Outlook, 500, cache 0s"},
		}},
		"it is closed before it has renewed": {Script{Send: SendScript{After: 5 * second}, Start: StartScript{ClosedAfter: minute}}, []moment{
			{0, start, "classic/1, Outlook, 500, cache 0s"},
			{58 * second, send, "classic/1, Outlook, 500, cache 0s"},
			{2 * minute, nil, "cache 0s, ended 0 1m0s"},
		}},
		"a person has it open": {Script{Running: "Other"}, []moment{
			{0, nil, "classic/1, Other, 500, cache 0s"},
			{second, refused(RefusedRunning, 1), "classic/1, Other, 500, cache 0s"},
			{2 * second, notSent(RefusedProfile), "classic/1, Other, 500, cache 0s"},
			{3 * second, func(_ *testing.T, s *Scripted) { s.RunOutlook("Outlook") }, "classic/1, Other, 500, cache 0s"},
			{4 * second, func(_ *testing.T, s *Scripted) { s.Change(func(c *Script) { c.Running = "Outlook" }) }, "classic/1, Outlook, 500, cache 4s"},
			{5 * second, func(_ *testing.T, s *Scripted) { s.Change(func(c *Script) { c.Running = "" }) }, "cache 4s"},
		}},
		"as administrator": {Script{}, []moment{
			{0, func(_ *testing.T, s *Scripted) { s.RunElevated("Outlook") }, "classic/1/elevated, absent, cache 0s"},
			{second, notSent(FailureAbsent), "classic/1/elevated, absent, cache 0s"},
		}},
		"in another session": {Script{Elsewhere: "Outlook"}, []moment{
			{0, refused(RefusedRunning, 1), "classic/2"},
			{second, notSent(RefusedNotRunning), "classic/2"},
			{2 * second, func(t *testing.T, s *Scripted) {
				s.Change(func(c *Script) { c.Elsewhere = "" })
				start(t, s)
			}, "classic/1, Outlook, 500, cache 2s"},
		}},
		"nobody logs on": {Script{Seat: SeatNobody, Running: "Outlook"}, []moment{
			{0, nil, errNobody.Error()},
			{second, func(t *testing.T, s *Scripted) {
				s.RunElevated("Outlook")
				if _, err := s.Start(t.Context(), "Outlook"); !errors.Is(err, errNobody) {
					t.Error(err)
				}
				if err := s.SendAndReceive(t.Context(), "Outlook"); !errors.Is(err, errNobody) {
					t.Error(err)
				}
				if _, err := s.Notice(t.Context(), Notice{}); !errors.Is(err, errNobody) {
					t.Error(err)
				}
			}, errNobody.Error()},
			{minute, func(_ *testing.T, s *Scripted) { s.SetSession(SeatLocked) }, ""},
		}},
		"a logoff ends it": {Script{}, []moment{
			{0, start, "classic/1, Outlook, 500, cache 0s"},
			{minute, func(_ *testing.T, s *Scripted) { s.SetSession(SeatNobody) }, errNobody.Error()},
			{2 * minute, func(_ *testing.T, s *Scripted) { s.SetSession(SeatActive) }, "cache 0s, ended 0 1m0s"},
		}},
		"a service": {Script{Running: "Outlook", Seat: SeatService}, []moment{
			{0, refused(RefusedService, 1), "classic/1, cache 0s"}, {second, notSent(RefusedNotRunning), "classic/1, cache 0s"},
		}},
		"no Outlook":      {Script{NoOutlook: true}, []moment{{0, refused(RefusedNoOutlook, 0), ""}}},
		"new Outlook":     {Script{Installation: Installation{NewInUse: true}}, []moment{{0, refused(RefusedNewOutlook, 0), ""}}},
		"no profile":      {Script{Profiles: Profiles{Names: []string{}}}, []moment{{0, refused(RefusedNoProfile, 1), ""}}},
		"another profile": {Script{Profiles: Profiles{Names: []string{"Other"}}}, []moment{{0, refused(RefusedNoProfile, 1), ""}}},
		"it does not start": {Script{Start: StartScript{Does: Fails}}, []moment{{0, func(t *testing.T, s *Scripted) {
			if _, err := s.Start(t.Context(), "Outlook"); !errors.Is(err, errStartFailed) || s.Starts() != 0 {
				t.Errorf("%v, %d starts", err, s.Starts())
			}
		}, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				s := NewScripted(tt.script, nil)
				for _, m := range tt.moments {
					time.Sleep(m.at - time.Since(begin))
					if m.do != nil {
						m.do(t, s)
					}
					if got := seen(t, s, begin); got != m.want {
						t.Errorf("after %v:\n got %s\nwant %s", m.at, got, m.want)
					}
				}
			})
		})
	}
}

// refused wants Start refused, and so many violations noted.
func refused(reason string, violations int) func(*testing.T, *Scripted) {
	return func(t *testing.T, s *Scripted) {
		t.Helper()
		starts := s.Starts()
		_, err := s.Start(t.Context(), "Outlook")
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok || refusal.Reason != reason || s.Starts() != starts {
			t.Errorf("got %v, want a refusal %q", err, reason)
		}
		noted := s.Violations()
		if len(noted) != violations || (violations > 0 && (noted[0].Reason != reason || noted[0].Detail != refusal.Detail || noted[0].On.IsZero())) {
			t.Errorf("noted %+v", noted)
		}
	}
}

// notSent wants SendAndReceive to refuse, or to fail, for the reason.
func notSent(reason string) func(*testing.T, *Scripted) {
	return func(t *testing.T, s *Scripted) {
		t.Helper()
		err := s.SendAndReceive(t.Context(), "Outlook")
		got := ""
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			got = refusal.Reason
		}
		if failed, ok := errors.AsType[*CallError](err); ok {
			got = failed.Failure
		}
		if got != reason || s.Sends() != 0 || len(s.Violations()) > 1 {
			t.Errorf("got %v, want %q", err, reason)
		}
	}
}

// Each of what must never be done is refused and noted, and counts as nothing done.
func TestScriptedViolations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScripted(Script{Profiles: Profiles{Names: []string{"Outlook", "Two Words"}}}, nil)
		for _, tt := range []struct {
			profile   string
			arguments []string
			want      string // "": it is let through
		}{
			{"Outlook", []string{"/recycle", "/profile", "Other"}, ViolatedArguments},
			{"Outlook", []string{"/profile", "Outlook"}, ViolatedArguments},
			{"Outlook", []string{"/recycle", "/profile", "Outlook", "/cleanprofile"}, ViolatedArguments},
			{"Outlook", nil, ViolatedArguments},
			{"", Arguments(""), RefusedNoProfile},
			{"Else", Arguments("Else"), RefusedNoProfile},
			{`Outlook" /safe "`, Arguments(`Outlook" /safe "`), RefusedNoProfile},
			{strings.Repeat("x", 65), Arguments(strings.Repeat("x", 65)), RefusedNoProfile},
			{"Two Words", Arguments("Two Words"), ""},
			{"Two Words", Arguments("Two Words"), RefusedRunning},
		} {
			before := len(s.Violations())
			_, err := s.run(t.Context(), tt.profile, tt.arguments)
			noted := s.Violations()[before:]
			if tt.want == "" {
				if err != nil || len(noted) != 0 {
					t.Errorf("%q: %v, %+v", tt.arguments, err, noted)
				}
				continue
			}
			refusal, ok := errors.AsType[*Refusal](err)
			if !ok || refusal.Reason != tt.want || len(noted) != 1 || noted[0].Reason != tt.want {
				t.Errorf("%q: %v, %+v; want %q", tt.arguments, err, noted, tt.want)
			}
		}
		if s.Starts() != 1 {
			t.Errorf("%d starts", s.Starts())
		}
	})
}

// The session is what Windows says of it; a new logon has a new ID.
func TestScriptedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScripted(Script{}, nil)
		logons := map[string]bool{}
		for _, tt := range []struct {
			seat Seat
			want Session // without the logon
		}{
			{SeatActive, Session{ID: 1, State: SessionActive}},
			{SeatLocked, Session{ID: 1, State: SessionActive, Locked: true}},
			{SeatDisconnected, Session{ID: 1, State: SessionDisconnected}},
			{SeatService, Session{State: SessionOther}},
			{SeatNobody, Session{}},
			{SeatActive, Session{ID: 1, State: SessionActive}},
		} {
			time.Sleep(time.Minute)
			s.SetSession(tt.seat)
			all, err := s.Sessions(t.Context(), s.script.SID)
			f, lookErr := s.Look(t.Context(), Want{})
			if err != nil || (len(all) == 1) != (tt.want.ID == 1) || (lookErr != nil) != (tt.seat == SeatNobody) {
				t.Errorf("%s: %+v, %v, %v", tt.seat, all, err, lookErr)
			}
			got := f.Session
			if len(all) == 1 && all[0] != got {
				t.Errorf("%s: %+v and %+v", tt.seat, all[0], got)
			}
			if got.ID == 1 {
				logons[got.LogonID] = true
			}
			got.LogonID, got.LogonOn, got.LastInputOn = "", time.Time{}, time.Time{}
			if got != tt.want {
				t.Errorf("%s: %+v, want %+v", tt.seat, got, tt.want)
			}
		}
		f, _ := s.Look(t.Context(), Want{})
		if len(logons) != 2 || !f.Session.LogonOn.Equal(time.Now()) || !f.Session.LastInputOn.Equal(time.Now()) {
			t.Errorf("%v, %+v", logons, f.Session)
		}
		time.Sleep(time.Minute)
		s.Change(func(c *Script) { c.InUse = true })
		if f, _ = s.Look(t.Context(), Want{}); !f.Session.LastInputOn.Equal(time.Now()) {
			t.Errorf("in use, and the last input was %v ago", time.Since(f.Session.LastInputOn))
		}
		if all, err := s.Sessions(t.Context(), "S-1-5-18"); err != nil || len(all) != 0 {
			t.Errorf("of another account: %+v, %v", all, err)
		}
	})
}

// The zero Script is an ordinary desktop, and each fact can be another.
func TestScriptedFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := NewScripted(Script{}, nil).Look(t.Context(), Want{Services: []string{"a"}})
		want := Facts{
			SeenOn: time.Now(), Host: "DESKTOP", Account: `DESKTOP\robot`, SID: f.SID,
			Session: Session{ID: 1, State: SessionActive, LogonID: "10000", LogonOn: time.Now().Add(-time.Hour), LastInputOn: time.Now().Add(-time.Hour)},
			Installation: Installation{
				Path: `C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE`, Bitness: X64, Version: "16.0.17932.20222",
			},
			Profiles: Profiles{Names: []string{"Outlook"}, Default: "Outlook"}, Services: map[string]Service{},
		}
		if err != nil || !reflect.DeepEqual(f, want) || !strings.HasPrefix(f.SID, "S-1-5-21-") {
			t.Errorf("got  %+v, %v\nwant %+v", f, err, want)
		}
		script := Script{
			Host: "H", Account: `A\b`, SID: "S-1-5-21-1", Services: map[string]Service{"a": {Account: "LocalSystem", Bitness: X86}, "b": {}},
			Installation: Installation{Path: "p", Bitness: ARM64, Version: "1", Migrating: true},
			Profiles:     Profiles{Names: []string{"P", "Q"}, Default: "Q", Asks: true},
		}
		f, err = NewScripted(script, nil).Look(t.Context(), Want{Services: []string{"a", "c"}})
		if err != nil || f.Host != "H" || f.Account != `A\b` || f.SID != "S-1-5-21-1" || f.Installation != script.Installation ||
			!reflect.DeepEqual(f.Profiles, script.Profiles) || !reflect.DeepEqual(f.Services, map[string]Service{"a": script.Services["a"]}) {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

// A clock of the test's own works too, without a bubble.
func TestScriptedClock(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := NewScripted(Script{Start: StartScript{After: time.Hour}}, func() time.Time { return now })
	begin := now
	start(t, s)
	now = now.Add(time.Hour)
	if got := seen(t, s, begin); got != "classic/1, Outlook, 500, cache 1h0m0s" {
		t.Error(got)
	}
}

func TestScriptedNotice(t *testing.T) {
	const second, minute = time.Second, time.Minute
	for name, tt := range map[string]struct {
		script Script
		notice Notice
		cancel time.Duration
		want   Answer
		took   time.Duration
	}{
		"nobody answers":           {Script{}, Notice{Ask: true, Wait: minute}, 0, AnswerNone, minute},
		"nobody waits":             {Script{Notice: NoticeScript{AnswerOK, second}}, Notice{Ask: true}, 0, AnswerNone, 0},
		"ok":                       {Script{Notice: NoticeScript{AnswerOK, second}}, Notice{Ask: true, Wait: minute}, 0, AnswerOK, second},
		"not now":                  {Script{Notice: NoticeScript{AnswerNotNow, second}}, Notice{Ask: true, Wait: minute}, 0, AnswerNotNow, second},
		"there is no not now":      {Script{Notice: NoticeScript{AnswerNotNow, second}}, Notice{Wait: minute}, 0, AnswerOK, second},
		"too late":                 {Script{Notice: NoticeScript{AnswerOK, 2 * minute}}, Notice{Ask: true, Wait: minute}, 0, AnswerNone, minute},
		"locked":                   {Script{Seat: SeatLocked, Notice: NoticeScript{AnswerOK, second}}, Notice{Ask: true, Wait: minute}, 0, AnswerNone, minute},
		"disconnected":             {Script{Seat: SeatDisconnected, Notice: NoticeScript{AnswerOK, second}}, Notice{Wait: minute}, 0, AnswerNone, minute},
		"the caller does not wait": {Script{}, Notice{Wait: minute}, second, AnswerNone, second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, begin := NewScripted(tt.script, nil), time.Now()
				ctx, cancel := t.Context(), func() {}
				if tt.cancel > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.cancel)
				}
				defer cancel()
				got, err := s.Notice(ctx, tt.notice)
				if got != tt.want || (err != nil) != (tt.cancel > 0) || time.Since(begin) != tt.took {
					t.Errorf("%s, %v after %v", got, err, time.Since(begin))
				}
				if shown := s.Notices(); len(shown) != 1 || shown[0] != tt.notice {
					t.Errorf("shown: %+v", shown)
				}
			})
		})
	}
}

// A caller that has gone gets nothing, and nothing is done for it.
func TestScriptedEndedContext(t *testing.T) {
	s := NewScripted(Script{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, look := s.Look(ctx, Want{})
	_, started := s.Start(ctx, "Outlook")
	_, shown := s.Notice(ctx, Notice{})
	_, all := s.Sessions(ctx, "")
	for _, err := range []error{look, started, shown, all, s.SendAndReceive(ctx, "Outlook")} {
		if !errors.Is(err, ctx.Err()) {
			t.Errorf("got %v", err)
		}
	}
	if s.Starts() != 0 || len(s.Notices()) != 0 {
		t.Error("something was done")
	}
}
