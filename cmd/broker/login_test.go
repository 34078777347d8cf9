package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeBroker answers for a sign-in: GET waits until the state changes or the
// poll's 30 s are over, DELETE cancels.
type fakeBroker struct {
	change  chan httpapi.SignIn // the end of the sign-in
	current httpapi.SignIn
	hasty   bool // GET does not wait
	gets    int
}

func (f *fakeBroker) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.Method == http.MethodDelete:
		if f.current.State == httpapi.SignInStatePending {
			f.current.State = httpapi.SignInStateCancelled
		}
	case req.Method == http.MethodGet && !f.hasty:
		f.gets++
		select {
		case f.current = <-f.change:
		case <-time.After(pollSeconds * time.Second):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	default:
		f.gets++
	}
	body, err := json.Marshal(f.current)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
}

func (f *fakeBroker) api() *api {
	return &api{http: &http.Client{Transport: f}, base: "http://broker.test", key: token.NewSecret("bra_x")}
}

func pendingSignIn() httpapi.SignIn {
	return httpapi.SignIn{
		ID: "id1", State: httpapi.SignInStatePending, Flow: httpapi.FlowDevice, UserCode: "FJ5T2KZ8M",
		VerificationURI: "https://login.microsoft.com/device", ExpiresOn: time.Now().Add(15 * time.Minute).Unix(),
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeBroker{current: pendingSignIn(), change: make(chan httpapi.SignIn, 1)}
		time.AfterFunc(70*time.Second, func() {
			f.change <- httpapi.SignIn{ID: "id1", State: httpapi.SignInStateSucceeded, Account: "ops"}
		})
		var out bytes.Buffer
		p := &screenPrompt{plainPrompt: plainPrompt{out: &out}, screen: screen{width: 80, height: 60, blocks: true}, qr: true}
		s, err := follow(t.Context(), f.api(), f.current, p)
		if err != nil || s.State != httpapi.SignInStateSucceeded || outcome(s) != nil {
			t.Fatalf("got %+v, %v", s, err)
		}
		if f.gets != 3 {
			t.Errorf("%d looks in 70 s, want 3", f.gets)
		}
		for _, want := range []string{
			"https://login.microsoft.com/device\n", "FJ5T2KZ8M\n", "█▀▀▀▀    ▀█▀", "██ ▄▄▄▄▄ ██",
			"\r  Waiting for you, 14:59 left. Ctrl-C cancels.", "broker login --flow browser", "53003",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the screen lacks %q:\n%s", want, out.String())
			}
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Error("the screen has an escape code")
		}
		if n := strings.Count(out.String(), "login.microsoft.com"); n != 1 {
			t.Errorf("the link was shown %d times", n)
		}
	})
}

// A broker that does not hold the answer is asked once a second, not in a
// tight loop.
func TestFollowDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeBroker{current: pendingSignIn(), hasty: true}
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		_, err := follow(ctx, f.api(), f.current, &jsonPrompt{out: io.Discard})
		if token.KindOf(err) != token.KindCancelled {
			t.Fatalf("got %v", err)
		}
		if f.gets > 12 {
			t.Errorf("%d looks in 10 s", f.gets)
		}
	})
}

// An interruption cancels the sign-in; one that had just succeeded stays.
func TestFollowInterrupted(t *testing.T) {
	for _, state := range []httpapi.SignInState{httpapi.SignInStatePending, httpapi.SignInStateSucceeded} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeBroker{current: pendingSignIn(), change: make(chan httpapi.SignIn)}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(5*time.Second, func() {
				f.current.State = state
				cancel()
			})
			s, err := follow(ctx, f.api(), pendingSignIn(), &jsonPrompt{out: io.Discard})
			if state == httpapi.SignInStateSucceeded {
				if err != nil || outcome(s) != nil {
					t.Errorf("a sign-in that succeeded: %+v, %v", s, err)
				}
				return
			}
			if f.current.State != httpapi.SignInStateCancelled || token.KindOf(err) != token.KindCancelled {
				t.Errorf("the broker's state is %s, error %v", f.current.State, err)
			}
		})
	}
}

// replacing answers for an account whose sign-in is pending; old is what the
// cancelled one then is.
type replacing struct {
	old   httpapi.SignIn
	calls []string
}

func (r *replacing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.calls = append(r.calls, req.Method)
	out := pendingSignIn()
	switch {
	case req.Method == http.MethodDelete:
		out = r.old
	case len(r.calls) > 1:
		out.ID, out.Flow = "id2", httpapi.FlowBrowser
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
}

// A flow that was asked for replaces a pending sign-in with another one.
func TestStartReplacesAnotherFlow(t *testing.T) {
	for _, c := range []struct {
		name  string
		flow  string
		given bool
		old   httpapi.SignInState
		calls string
		id    string
	}{
		{"another flow was asked for", "browser", true, httpapi.SignInStateCancelled, "POST DELETE POST", "id2"},
		{"the person finished it meanwhile", "browser", true, httpapi.SignInStateSucceeded, "POST DELETE", "id1"},
		{"the same flow", "device", true, httpapi.SignInStateCancelled, "POST", "id1"},
		{"no flow was asked for", "browser", false, httpapi.SignInStateCancelled, "POST", "id1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &replacing{old: httpapi.SignIn{ID: "id1", Flow: httpapi.FlowDevice, State: c.old}}
			a := &api{http: &http.Client{Transport: r}, base: "http://broker.test", key: token.NewSecret("bra_x")}
			var out bytes.Buffer
			l := login{flow: c.flow, flowGiven: c.given}
			s, err := l.start(t.Context(), a, &plainPrompt{out: &out})
			if got := strings.Join(r.calls, " "); err != nil || s.ID != c.id || got != c.calls {
				t.Errorf("%s, then %q, %v; want %s, then %q", got, s.ID, err, c.calls, c.id)
			}
			said := out.String() == "A sign-in with a device code was pending; it is cancelled, and this one takes its place.\n"
			if said != (c.id == "id2") {
				t.Errorf("said %q", out.String())
			}
		})
	}
}

func TestOutcome(t *testing.T) {
	for state, want := range map[httpapi.SignInState]int{
		httpapi.SignInStateSucceeded: exitDone,
		httpapi.SignInStateDeclined:  exitSignIn,
		httpapi.SignInStateExpired:   exitSignIn,
		httpapi.SignInStateCancelled: exitFailed,
		httpapi.SignInStateFailed:    exitFailed,
	} {
		if got := exitCode(outcome(httpapi.SignIn{State: state, Message: "so"})); got != want {
			t.Errorf("%s: exit code %d, want %d", state, got, want)
		}
	}
	blocked := httpapi.SignIn{State: httpapi.SignInStateFailed, Problem: httpapi.Problem{Code: httpapi.ProblemCodePolicyBlocked, Detail: "No."}}
	if got := exitCode(outcome(blocked)); got != exitDenied {
		t.Errorf("policy-blocked: exit code %d", got)
	}
}

func TestJSONFailure(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
		code int
	}{
		{token.NewError(token.KindDeclined, "", "You said no."), `{"state":"failed","code":"sign-in-declined","detail":"You said no."}`, exitSignIn},
		{errors.New("disk on fire"), `{"state":"failed","code":"internal","detail":"disk on fire"}`, exitFailed},
	} {
		var out bytes.Buffer
		l := login{o: &options{env: environment{stdout: &out}}}
		if got := exitCode(l.failed(c.err)); got != c.code {
			t.Errorf("exit code %d, want %d", got, c.code)
		}
		if got := strings.TrimSpace(out.String()); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// What comes from outside cannot steer the terminal.
func TestPromptIsClean(t *testing.T) {
	var out bytes.Buffer
	p := &plainPrompt{out: &out}
	s := pendingSignIn()
	s.UserCode, s.VerificationURI = "A\x1b[2JB", "https://evil\r\n.example/\x07"
	s.Problem.Detail = "Entra is away.\x1b]0;x\x07"
	p.pending(s)
	p.succeeded(httpapi.SignIn{Account: "a\u202eb"})
	if strings.ContainsAny(out.String(), "\x1b\r\x07\u202e") {
		t.Errorf("control characters in %q", out.String())
	}
}

// The browser flow opens the page once, and gives the link where it cannot.
func TestBrowserPrompt(t *testing.T) {
	s := pendingSignIn()
	s.UserCode, s.VerificationURI = "", "https://login.microsoftonline.com/x"
	for _, opens := range []bool{true, false} {
		var out bytes.Buffer
		opened := 0
		p := &screenPrompt{screen: screen{width: 80, height: 24}}
		p.plainPrompt = plainPrompt{out: &out, open: func(string) bool { opened++; return opens }}
		p.pending(s)
		p.pending(s)
		if opened != 1 || !strings.Contains(out.String(), "  https://login.microsoftonline.com/x\n") {
			t.Errorf("opened %d times:\n%s", opened, out.String())
		}
	}
}

func TestOpenBrowserRefuses(t *testing.T) {
	for _, link := range []string{"", "file:///etc/passwd", "javascript:alert(1)", "-version", "https://", "calc.exe"} {
		if err := openBrowser(link, func(string) string { return "" }); err == nil {
			t.Errorf("%q was opened", link)
		}
	}
}

// Narrow screens and terminals without block elements get the spaced code.
func TestSmallScreens(t *testing.T) {
	if got := bigCode("ABC", screen{width: 20, blocks: true}); got != "A B C" {
		t.Errorf("narrow: %q", got)
	}
	if got := bigCode("abc", screen{width: 80}); got != "A B C" {
		t.Errorf("no blocks: %q", got)
	}
	if got := bigCode("Ä1", screen{width: 80, blocks: true}); got != "Ä 1" {
		t.Errorf("unknown letter: %q", got)
	}
	for _, s := range []screen{{width: 40, height: 60, blocks: true}, {width: 80, height: 20, blocks: true}, {width: 80, height: 60}} {
		if got := qrCode("https://login.microsoft.com/device", s); got != "" {
			t.Errorf("%+v shows a QR code", s)
		}
	}
	for c, glyph := range glyphs {
		if rows := strings.Split(glyph, " "); len(rows) != glyphRows || len(glyph) != glyphRows*(glyphWidth+1)-1 {
			t.Errorf("the glyph of %c is not %d by %d", c, glyphWidth, glyphRows)
		}
	}
}
