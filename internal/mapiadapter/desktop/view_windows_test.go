package desktop

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ole/go-ole"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop/outlooktest"
)

// played is a stand-in that runs.
type played struct {
	process *os.Process
	log     string
}

// calls are the members that were called, in order.
func (p played) calls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// end ends the stand-in as a crash would.
func (p played) end() {
	_ = p.process.Kill()
	_, _ = p.process.Wait()
}

// playCOM runs a stand-in and waits until it stands in the running object table.
func playCOM(t *testing.T, c outlooktest.COM) played {
	t.Helper()
	c.Log = filepath.Join(t.TempDir(), "calls.txt")
	command := exec.Command(outlooktest.Install(t, outlooktest.Knobs{COM: &c}))
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := played{command.Process, c.Log}
	t.Cleanup(p.end)
	eventually(t, "the stand-in is registered", func() bool { return present(t) })
	return p
}

// eventually waits for something outside this process.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if happened() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}

// present reports whether an Outlook stands in the running object table. Being
// turned away is a sign of it too.
func present(t *testing.T) bool {
	t.Helper()
	o := quick()
	o.budget = 2 * o.again // one try
	_, err := take(t.Context(), o, func(turn *turn) (struct{}, error) {
		found, err := ole.GetActiveObject(&turn.class, ole.IID_IUnknown)
		if err == nil {
			found.Release()
		}
		return struct{}{}, err
	})
	return err == nil || isFailure(err, FailureBusy)
}

func isFailure(err error, word string) bool {
	var failed *CallError
	return errors.As(err, &failed) && failed.Failure == word
}

// quick is an outlook for tests: with a budget that Wine keeps on a slow machine.
func quick() *outlook {
	o := newOutlook()
	o.budget = 5 * time.Second
	o.again = 50 * time.Millisecond
	return o
}

func TestView(t *testing.T) {
	p := playCOM(t, outlooktest.COM{Profile: "Öffice Standard", Mode: 700})
	got := newOutlook().view(t.Context())
	if want := (View{Asked: true, Profile: "Öffice Standard", Mode: 700}); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
	// Nothing else is touched: not Account, not Quit, not Logon.
	if got, want := p.calls(t), []string{"Session", "CurrentProfileName", "ExchangeConnectionMode"}; !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
}

func TestViewSeesTheModeChange(t *testing.T) {
	playCOM(t, outlooktest.COM{Profile: "Outlook", Mode: 300, LaterMode: 800, ModeAfter: 3 * time.Second})
	o := quick()
	if first := o.view(t.Context()); first.Mode != 300 {
		t.Errorf("mode is %d at first, want 300: %+v", first.Mode, first)
	}
	eventually(t, "mode 800", func() bool { return o.view(t.Context()).Mode == 800 })
}

func TestViewWaitsForABusyOutlook(t *testing.T) {
	for name, later := range map[string]bool{"rejected": false, "retry later": true} {
		t.Run(name, func(t *testing.T) {
			p := playCOM(t, outlooktest.COM{Profile: "Outlook", Mode: 500, RejectFor: 2 * time.Second, RetryLater: later})
			before := len(p.calls(t))
			o := quick()
			o.budget = 20 * time.Second
			if got, want := o.view(t.Context()), (View{Asked: true, Profile: "Outlook", Mode: 500}); got != want {
				t.Errorf("view is %+v, want %+v", got, want)
			}
			if calls := p.calls(t)[before:]; len(calls) < 5 || calls[0] != outlooktest.Rejected {
				t.Errorf("called %q, want a few rejections first", calls)
			}
		})
	}
}

func TestViewOfAnOutlookThatIsAlwaysBusy(t *testing.T) {
	p := playCOM(t, outlooktest.COM{Profile: "Outlook", Mode: 500, RejectFor: -1})
	o := quick()
	o.budget, o.again = 2*time.Second, 200*time.Millisecond
	begun := time.Now()
	if got, want := o.view(t.Context()), (View{Asked: true, Failure: FailureBusy}); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
	if took := time.Since(begun); took > o.budget {
		t.Errorf("took %v, want at most the budget of %v", took, o.budget)
	}
	if err := o.sendAndReceive(t.Context(), "Outlook"); !isFailure(err, FailureBusy) {
		t.Errorf("send and receive: %v, want busy", err)
	}
	if calls := slices.Compact(p.calls(t)); !slices.Equal(calls, []string{outlooktest.Rejected}) {
		t.Errorf("called %q, want rejections only", calls)
	}
}

// An Outlook that hangs takes a thread for each question, up to the limit, and
// holds up nothing else.
func TestViewOfAnOutlookThatHangs(t *testing.T) {
	p := playCOM(t, outlooktest.COM{Profile: "Outlook", Hang: "ExchangeConnectionMode"})
	o := quick()
	o.budget = 500 * time.Millisecond
	want := View{Asked: true, Failure: FailureNoAnswer}
	for range cap(o.turns) {
		if got := o.view(t.Context()); got != want {
			t.Errorf("view is %+v, want %+v", got, want)
		}
	}
	if left := len(o.turns); left != cap(o.turns) {
		t.Fatalf("%d threads are given up, want %d", left, cap(o.turns))
	}
	begun := time.Now()
	if got := o.view(t.Context()); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
	if err := o.sendAndReceive(t.Context(), "Outlook"); !isFailure(err, FailureNoAnswer) {
		t.Errorf("send and receive: %v, want no answer", err)
	}
	if took := time.Since(begun); took > o.budget/2 {
		t.Errorf("took %v with no thread left, want to be refused at once", took)
	}

	// Its threads come back once it is gone, and the next Outlook is asked.
	p.end()
	eventually(t, "the threads are back", func() bool { return len(o.turns) == 0 })
	playCOM(t, outlooktest.COM{Profile: "Outlook", Mode: 600})
	o.budget = 5 * time.Second
	if got, want := o.view(t.Context()), (View{Asked: true, Profile: "Outlook", Mode: 600}); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
}

func TestViewAfterAHangInOneCall(t *testing.T) {
	playCOM(t, outlooktest.COM{Profile: "Outlook", Hang: "SendAndReceive"})
	o := quick()
	o.budget = 500 * time.Millisecond
	if err := o.sendAndReceive(t.Context(), "Outlook"); !isFailure(err, FailureNoAnswer) {
		t.Errorf("send and receive: %v, want no answer", err)
	}
	if len(o.turns) != 1 {
		t.Errorf("%d threads are given up, want 1", len(o.turns))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := o.view(ctx); got.Failure != FailureNoAnswer {
		t.Errorf("view of a cancelled caller is %+v, want no answer", got)
	}
}

func TestViewOfAnOutlookThatDies(t *testing.T) {
	playCOM(t, outlooktest.COM{Profile: "Outlook", Die: "CurrentProfileName"})
	o := quick()
	if got, want := o.view(t.Context()), (View{Asked: true, Failure: FailureGone}); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
	eventually(t, "it is absent", func() bool { return o.view(t.Context()).Failure == FailureAbsent })
}

func TestViewWithoutOutlook(t *testing.T) {
	if got, want := quick().view(t.Context()), (View{Asked: true, Failure: FailureAbsent}); got != want {
		t.Errorf("view is %+v, want %+v", got, want)
	}
	if err := quick().sendAndReceive(t.Context(), "Outlook"); !isFailure(err, FailureAbsent) {
		t.Errorf("send and receive: %v, want absent", err)
	}
}

func TestSendAndReceive(t *testing.T) {
	p := playCOM(t, outlooktest.COM{Profile: "Outlook", Mode: 300})
	if err := quick().sendAndReceive(t.Context(), "OUTLOOK"); err != nil {
		t.Error(err)
	}
	if got, want := p.calls(t), []string{"Session", "CurrentProfileName", "SendAndReceive"}; !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
}

func TestSendAndReceiveOfAnotherProfile(t *testing.T) {
	p := playCOM(t, outlooktest.COM{Profile: "Private", Mode: 500})
	err := quick().sendAndReceive(t.Context(), "Outlook")
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Reason != RefusedProfile {
		t.Errorf("refused with %v, want %s", err, RefusedProfile)
	}
	if strings.Contains(err.Error(), "Private") {
		t.Errorf("%q names the profile", err)
	}
	if calls := p.calls(t); slices.Contains(calls, "SendAndReceive") {
		t.Errorf("called %q, want no SendAndReceive", calls)
	}
}

// What Outlook throws keeps the code that it was thrown with.
func TestSendAndReceiveThrows(t *testing.T) {
	p := playCOM(t, outlooktest.COM{Profile: "Outlook", Throw: "SendAndReceive"})
	err := quick().sendAndReceive(t.Context(), "Outlook")
	var failed *CallError
	if !errors.As(err, &failed) || failed.Failure != FailureOther || failed.HResult != 0x8004011D {
		t.Errorf("failed with %#v, want %s and 0x8004011d", err, FailureOther)
	}
	if got := p.calls(t); len(got) != 3 {
		t.Errorf("called %q, want each once", got)
	}
}
