package consumer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakePeer is a process that is what the test says, and counts how often it was
// looked at.
type fakePeer struct {
	process peer.Process
	sum     string
	roots   []peer.Root // its ancestors and itself

	processErr, sumErr, confirmErr error
	looks                          int
}

func (f *fakePeer) Process(context.Context) (peer.Process, error) {
	f.looks++
	return f.process, f.processErr
}
func (f *fakePeer) Confirm(context.Context) error          { return f.confirmErr }
func (f *fakePeer) SHA256(context.Context) (string, error) { return f.sum, f.sumErr }
func (f *fakePeer) DescendsFrom(_ context.Context, r peer.Root) (bool, error) {
	return slices.Contains(f.roots, r), f.processErr
}

func hours(t *testing.T, text string) config.Hours {
	t.Helper()
	var h config.Hours
	if err := h.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return h
}

// Every property, right, wrong and not known.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sync")
	sum, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	right := func() *fakePeer {
		return &fakePeer{process: peer.Process{PID: 7, Image: program, User: "1000"}, sum: sum}
	}
	change := func(f func(*fakePeer)) *fakePeer {
		p := right()
		f(p)
		return p
	}
	all := Spec{Executable: program, SHA256: sum, User: "svc", UserID: "1000"}
	fault := errors.New("no table")
	tests := []struct {
		name string
		spec Spec
		peer Peer
		want string // part of the sentence; empty: let through
	}{
		{"untied, nobody", Spec{}, nil, ""},
		{"untied, not known", Spec{}, &fakePeer{processErr: peer.ErrUnknown}, ""},
		{"all right", all, right(), ""},
		{"no connection", all, nil, notKnown},
		{"not known", all, change(func(p *fakePeer) { p.processErr = peer.ErrUnknown }), notKnown},
		{"a fault of the system", all, change(func(p *fakePeer) { p.processErr = fault }), notKnown},

		{"program", Spec{Executable: program}, right(), ""},
		{"another program", all, change(func(p *fakePeer) { p.process.Image = filepath.Join(dir, "evil") }), otherProgram},
		{"its name elsewhere", all, change(func(p *fakePeer) { p.process.Image = filepath.Join(dir, "x", "sync") }), otherProgram},
		{"longer name", all, change(func(p *fakePeer) { p.process.Image += "x" }), otherProgram},
		{"replaced since it started", all, change(func(p *fakePeer) { p.process.Image += " (deleted)" }), otherProgram},
		{"program not to be seen", all, change(func(p *fakePeer) { p.process.Image = "" }), notKnown},
		{"only the user is known, and asked for", Spec{User: "svc", UserID: "1000"}, change(func(p *fakePeer) { p.process.Image, p.process.PID = "", 0 }), ""},

		{"file", Spec{SHA256: sum}, right(), ""},
		{"file in upper case", Spec{SHA256: strings.ToUpper(sum)}, right(), ""},
		{"another file", all, change(func(p *fakePeer) { p.sum = other }), otherFile},
		{"file not to be read", all, change(func(p *fakePeer) { p.sum, p.sumErr = "", fault }), notKnown},

		{"user", Spec{User: "svc", UserID: "1000"}, right(), ""},
		{"another user", all, change(func(p *fakePeer) { p.process.User = "1001" }), otherUser},
		{"user not to be seen", all, change(func(p *fakePeer) { p.process.User = "" }), notKnown},
		{"an account that is not there", Spec{User: "nobody-such"}, right(), noSuchUser},
		{"an account that is not there, user not to be seen", Spec{User: "nobody-such"}, change(func(p *fakePeer) { p.process.User = "" }), noSuchUser},

		{"another process by now", all, change(func(p *fakePeer) { p.confirmErr = peer.ErrUnknown }), changed},
		{"another process by now, user only", Spec{User: "svc", UserID: "1000"}, change(func(p *fakePeer) { p.confirmErr = peer.ErrUnknown }), changed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Name = "crm"
			u := &usage{}
			err := newIdentity(tt.spec, u).Check(t.Context(), tt.peer)
			if tt.want == "" {
				if err != nil || u.refusals.Load() != 0 {
					t.Fatalf("%v, %d refusals", err, u.refusals.Load())
				}
				return
			}
			e := wantKind(t, err, token.KindWrongProcess)
			if e.Detail != `Consumer "crm" `+tt.want+"." {
				t.Errorf("sentence %q", e.Detail)
			}
			if strings.Contains(e.Detail, dir) || strings.Contains(e.Detail, sum) || strings.Contains(e.Detail, "svc") || strings.Contains(e.Detail, "1000") {
				t.Errorf("the sentence tells a thief of the key what is right: %q", e.Detail)
			}
			if u.refusals.Load() != 1 || !strings.HasPrefix(u.refusal.Load().reason, e.Detail) {
				t.Errorf("counted %d, %+v", u.refusals.Load(), u.refusal.Load())
			}
		})
	}
}

// Neither the administrator nor the Outlook agent is ever tied.
func TestTheBrokersOwnKeysAreNotTied(t *testing.T) {
	for _, id := range []*Identity{AdminIdentity(), AgentIdentity()} {
		if err := id.Check(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestHoursOfAConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands at 2000-01-01 00:00 UTC, a Saturday
		id := NewIdentity(Spec{Name: "crm", Hours: hours(t, "mon-fri 07:00-19:00")})
		e := wantKind(t, id.Check(t.Context(), nil), token.KindDenied)
		if strings.Contains(e.Detail, "07:00") || !strings.Contains(e.Detail, "hours") {
			t.Errorf("sentence %q", e.Detail)
		}
		monday := time.Date(2000, 1, 3, 12, 0, 0, 0, time.Local)
		time.Sleep(time.Until(monday))
		if err := id.Check(t.Context(), nil); err != nil {
			t.Error(err)
		}
		// A decision about the process is kept, the time is not.
		p := &fakePeer{process: peer.Process{Image: "/opt/crm/sync"}}
		c := NewConnection(p)
		id = NewIdentity(Spec{Name: "crm", Hours: hours(t, "mon-fri 07:00-19:00"), Executable: "/opt/crm/sync"})
		if err := id.Check(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Hour)
		wantKind(t, id.Check(t.Context(), c), token.KindDenied)
		if p.looks != 1 {
			t.Errorf("looked %d times", p.looks)
		}
	})
}

// One look per connection, until the policy is another one.
func TestWhatWasDecidedIsKept(t *testing.T) {
	r, key, _ := newRegistry(t, nil)
	spec := crmSpec(token.NewSecret(key))
	spec.Executable = "/opt/crm/sync"
	check := func(c Peer) error {
		t.Helper()
		id, err := r.Authenticate(key)
		if err != nil {
			t.Fatal(err)
		}
		return id.Check(t.Context(), c)
	}
	replace := func() {
		t.Helper()
		if err := r.Replace([]Spec{spec}); err != nil {
			t.Fatal(err)
		}
	}
	replace()
	p := &fakePeer{process: peer.Process{PID: 7, Image: "/opt/crm/sync"}}
	c := NewConnection(p)
	for range 5 {
		if err := check(c); err != nil {
			t.Fatal(err)
		}
		replace() // the same again: a reload, or another consumer's change
	}
	if p.looks != 1 {
		t.Errorf("the process was looked at %d times on one connection", p.looks)
	}
	if err := check(NewConnection(p)); err != nil || p.looks != 2 {
		t.Errorf("a second connection: %v, %d looks", err, p.looks)
	}
	spec.Executable = "/opt/crm/sync2"
	replace()
	for range 3 {
		wantKind(t, check(c), token.KindWrongProcess)
	}
	if p.looks != 3 {
		t.Errorf("after a change of policy: %d looks, want 3", p.looks)
	}
	v := r.List()[0]
	if v.LastProgram != "/opt/crm/sync" || v.Refusals != 3 || !strings.Contains(v.LastRefusal, "The caller was /opt/crm/sync.") {
		t.Errorf("view %+v", v)
	}
	spec.Executable = ""
	replace()
	if err := check(c); err != nil {
		t.Errorf("no longer tied: %v", err)
	}
	// What cannot be seen now may be seen at the next request.
	spec.Executable = "/opt/crm/sync"
	replace()
	p.processErr = peer.ErrUnknown
	wantKind(t, check(c), token.KindWrongProcess)
	p.processErr, p.confirmErr = nil, peer.ErrUnknown
	wantKind(t, check(c), token.KindWrongProcess)
	p.confirmErr = nil
	if err := check(c); err != nil {
		t.Error(err)
	}
}

// A caller that gave up is not a wrong process.
func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u := &usage{}
	id := newIdentity(Spec{Name: "crm", Executable: "/opt/crm/sync"}, u)
	wantKind(t, id.Check(ctx, &fakePeer{processErr: ctx.Err()}), token.KindCancelled)
	if u.refusals.Load() != 0 {
		t.Error("it counts as refused")
	}
}

func TestSameProgram(t *testing.T) {
	for _, tt := range []struct {
		configured, image string
		windows, want     bool
	}{
		{"/opt/crm/sync", "/opt/crm/sync", false, true},
		{"/opt/crm/../crm//sync", "/opt/crm/sync", false, true},
		{"/opt/crm/sync", "/opt/crm/Sync", false, false},
		{"/opt/crm/sync", "/opt/crm/sync ", false, false},
		{`C:\Crm\sync.exe`, `C:\Crm\sync.exe`, true, true},
		{`C:/Crm/sync.exe`, `c:\CRM\SYNC.EXE`, true, true},
		{`C:\Crm\sync.exe`, `\\?\C:\Crm\sync.exe`, true, true},
		{`\\server\share\x.exe`, `\\SERVER\share\x.exe`, true, true},
		{`C:\Crm\sync.exe`, `C:\Crm2\sync.exe`, true, false},
		{`C:\Crm\sync.exe`, `D:\Crm\sync.exe`, true, false},
		// Unicode folds these two to s and k; NTFS keeps them apart.
		{`C:\Tools\sync.exe`, "C:\\Tool\u017f\\sync.exe", true, false},
		{`C:\Kit\sync.exe`, "C:\\\u212ait\\sync.exe", true, false},
		{`C:\Crm\sync.exe`, "", true, false},
	} {
		if got := sameProgram(tt.configured, tt.image, tt.windows); got != tt.want {
			t.Errorf("%q and %q: %t", tt.configured, tt.image, got)
		}
	}
}

// A link in the configuration leads to the program; one that somebody put in the
// place of his own program leads nowhere.
func TestProgramsBehindLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making a link needs a privilege on Windows")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program, link := filepath.Join(dir, "python3.12"), filepath.Join(dir, "python3")
	if err := os.WriteFile(program, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	if !sameProgram(link, program, false) {
		t.Error("the link of the configuration is not followed")
	}
	if sameProgram(program, link, false) {
		t.Error("a link in the caller's path is followed")
	}
}

// What a consumer is not tied to costs nothing, and a kept decision hardly more.
func TestCheckAllocatesNothing(t *testing.T) {
	c := NewConnection(&fakePeer{process: peer.Process{Image: "/opt/crm/sync"}})
	key := token.Key{Account: "ops", Resource: "graph"}
	for name, id := range map[string]*Identity{
		"untied": NewIdentity(Spec{Name: "crm"}),
		"tied":   NewIdentity(Spec{Name: "crm", Executable: "/opt/crm/sync"}),
		"hours":  NewIdentity(Spec{Name: "crm", Hours: hours(t, "00:00-24:00")}),
	} {
		n := testing.AllocsPerRun(100, func() {
			if err := id.Check(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			id.Served(key)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
