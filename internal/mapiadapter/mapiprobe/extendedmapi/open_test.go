package extendedmapi

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// scripted is a MAPI that answers each call with the HRESULT that the test set,
// hangs where the test says so, and notes its calls.
type scripted struct {
	answers map[string]uint32
	hangs   map[string]chan struct{}
	calls   []string
	flags   map[string]uint32
	profile string
}

func (s *scripted) say(call string) uint32 {
	s.calls = append(s.calls, call)
	if c := s.hangs[call]; c != nil {
		<-c
	}
	return s.answers[call]
}

func (s *scripted) load() (subsystem, desktop.Bitness, uint32) {
	return s, mapiprobe.Own(), s.say("load")
}
func (s *scripted) initialize() uint32 { return s.say("initialize") }
func (s *scripted) uninitialize()      { s.say("uninitialize") }
func (s *scripted) logoff()            { s.say("logoff") }
func (s *scripted) release()           { s.say("release") }

func (s *scripted) logon(profile string) (session, uint32) {
	s.profile = profile
	return s, s.say("logon")
}

func (s *scripted) defaultStore() ([]byte, uint32) { return []byte("entry"), s.say("stores") }

func (s *scripted) openStore(entry []byte, flags uint32) (store, uint32) {
	if string(entry) != "entry" {
		return s, hresultBadEntry
	}
	s.note("open", flags)
	return s, s.say("open")
}

func (s *scripted) read(flags uint32) uint32 {
	s.note("read", flags)
	return s.say("read")
}

const hresultBadEntry uint32 = 0x80040107

func (s *scripted) note(call string, flags uint32) {
	if s.flags == nil {
		s.flags = map[string]uint32{}
	}
	s.flags[call] = flags
}

var outlook = Request{Profile: "Outlook", Mode: mapiprobe.Cached, Limit: time.Minute}

// wholeAttempt is every call of an attempt that succeeds.
const wholeAttempt = "load initialize logon stores open read release logoff uninitialize"

// Each step that fails is told, and what was opened before it is closed.
func TestEachStep(t *testing.T) {
	for step, want := range map[mapiprobe.Step]string{
		mapiprobe.StepLoad:       "load",
		mapiprobe.StepInitialize: "load initialize",
		mapiprobe.StepLogon:      "load initialize logon uninitialize",
		mapiprobe.StepStores:     "load initialize logon stores logoff uninitialize",
		mapiprobe.StepOpen:       "load initialize logon stores open logoff uninitialize",
		mapiprobe.StepRead:       wholeAttempt,
	} {
		s := &scripted{answers: map[string]uint32{string(step): 0x8004011D}}
		found, err := open(t.Context(), outlook, s.load)
		if err != nil || found.Step != step || found.HResult != 0x8004011D || found.Class != mapiprobe.ClassAuth || found.MAPI != mapiprobe.Own() || found.Bitness != mapiprobe.Own() {
			t.Errorf("%s: %+v, %v", step, found, err)
		}
		if got := strings.Join(s.calls, " "); got != want {
			t.Errorf("%s: calls\n%s, want\n%s", step, got, want)
		}
	}
}

// A success with a warning goes on.
func TestSuccess(t *testing.T) {
	s := &scripted{answers: map[string]uint32{"logon": 0x00040380, "open": 0x00040380}}
	found, err := open(t.Context(), outlook, s.load)
	if err != nil || found.Class != mapiprobe.ClassOK || found.Step != mapiprobe.StepRead || found.HResult != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if got := strings.Join(s.calls, " "); got != wholeAttempt || s.profile != "Outlook" {
		t.Errorf("profile %q, calls %s", s.profile, got)
	}
}

func TestFlags(t *testing.T) {
	const write, bestAccess, deferred, logonUI uint32 = 0x4, 0x10, 0x8, 0x1
	for mode, want := range map[mapiprobe.Mode]uint32{mapiprobe.Cached: 0xA1, mapiprobe.Online: 0x1A1} {
		s := &scripted{}
		req := outlook
		req.Mode = mode
		if _, err := open(t.Context(), req, s.load); err != nil {
			t.Fatal(err)
		}
		if got := s.flags["open"]; got != want || got&(write|bestAccess|deferred) != 0 {
			t.Errorf("%s: the store is opened with %#x, want %#x", mode, got, want)
		}
		if got := s.flags["read"]; (got == 0x200) != (mode == mapiprobe.Cached) || got&(0x1|bestAccess|deferred) != 0 {
			t.Errorf("%s: the folder is opened with %#x", mode, got)
		}
	}
	if user, service := logonFlags(false), logonFlags(true); user != 0x80108032 || service != user|0x10000 || user&logonUI != 0 {
		t.Errorf("logon with %#x and %#x", user, service)
	}
	if user, service := initializeFlags(false), initializeFlags(true); user != 1 || service != 0x10001 {
		t.Errorf("initialization with %#x and %#x", user, service)
	}
}

// MAPI can hang anywhere. The result names the step; what was known before MAPI
// hung at closing stays known.
func TestHang(t *testing.T) {
	for call, want := range map[string]mapiprobe.Result{
		"load":         mapiprobe.NewResult(mapiprobe.StepLoad, mapiprobe.HResultNoAnswer),
		"logon":        mapiprobe.NewResult(mapiprobe.StepLogon, mapiprobe.HResultNoAnswer),
		"open":         mapiprobe.NewResult(mapiprobe.StepOpen, mapiprobe.HResultNoAnswer),
		"read":         mapiprobe.NewResult(mapiprobe.StepRead, mapiprobe.HResultNoAnswer),
		"logoff":       mapiprobe.NewResult(mapiprobe.StepRead, 0x80040115),
		"uninitialize": mapiprobe.NewResult(mapiprobe.StepRead, 0x80040115),
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{answers: map[string]uint32{"read": 0x80040115}, hangs: map[string]chan struct{}{call: make(chan struct{})}}
			began := time.Now()
			found, err := open(t.Context(), outlook, s.load)
			if err != nil || found.Step != want.Step || found.HResult != want.HResult || found.Class != want.Class || found.Took != outlook.Limit || time.Since(began) != outlook.Limit {
				t.Errorf("%s: %+v, %v", call, found, err)
			}
			if call != "load" && found.MAPI != mapiprobe.Own() {
				t.Errorf("%s: MAPI's bitness is lost", call)
			}
			close(s.hangs[call])
		})
	}
}

func TestInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{hangs: map[string]chan struct{}{"logon": make(chan struct{})}}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if found, err := open(ctx, outlook, s.load); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", found, err)
		}
		close(s.hangs["logon"])
	})
}

func TestRequests(t *testing.T) {
	for name, req := range map[string]Request{
		"no profile":   {Mode: mapiprobe.Cached},
		"long":         {Profile: strings.Repeat("x", 65), Mode: mapiprobe.Cached},
		"long, UTF-16": {Profile: strings.Repeat("😀", 33), Mode: mapiprobe.Cached},
		"zero":         {Profile: "a\x00b", Mode: mapiprobe.Cached},
		"line":         {Profile: "a\nb", Mode: mapiprobe.Cached},
		"not UTF-8":    {Profile: "a\xff", Mode: mapiprobe.Cached},
		"no mode":      {Profile: "a"},
		"another mode": {Profile: "a", Mode: "offline"},
	} {
		if _, err := Open(t.Context(), req); err == nil {
			t.Errorf("%s was taken", name)
		} else if _, refused := errors.AsType[*desktop.Refusal](err); refused {
			t.Errorf("%s is called a matter of the system", name)
		}
	}
	for _, profile := range []string{"Outlook", strings.Repeat("x", 64), "Büro – 東京", `a "b" \`} {
		if err := check(Request{Profile: profile, Mode: mapiprobe.Online}); err != nil {
			t.Errorf("%q: %v", profile, err)
		}
	}
}

func TestElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mapi_windows_test.go
	}
	_, err := Open(t.Context(), outlook)
	if refusal, ok := errors.AsType[*desktop.Refusal](err); !ok || refusal.Reason != desktop.RefusedPlatform {
		t.Errorf("got %v", err)
	}
	if _, _, hr := load(); hr != mapiprobe.HResultNoMAPI {
		t.Errorf("got %s", mapiprobe.FormatHResult(hr))
	}
}
