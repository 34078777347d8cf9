package main

import (
	"bytes"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// runMapiProbe runs the command alone, as its parent is not needed.
func runMapiProbe(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, bad bytes.Buffer
	o := &options{env: environment{stdout: &out, stderr: &bad}}
	cmd := newMapiProbe(o)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetFlagErrorFunc(newRoot(o.env).FlagErrorFunc())
	cmd.SetArgs(append([]string{}, args...)) // none is not nil, which means the test program's own
	err := cmd.ExecuteContext(t.Context())
	report(&bad, err)
	return exitCode(err), out.String(), bad.String()
}

func TestMapiProbeUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"no profile":   nil,
		"another mode": {"--profile", "Outlook", "--mode", "offline"},
		"a flag":       {"--profile", "Outlook", "--password", "x"},
	} {
		if code, out, bad := runMapiProbe(t, args...); code != exitUsage || out != "" || !strings.Contains(bad, "--help") {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, bad)
		}
	}
	if code, _, bad := runMapiProbe(t, "--profile", strings.Repeat("x", 65)); code != exitFailed || !strings.Contains(bad, "64") {
		t.Errorf("a long name: exit code %d, %q", code, bad)
	}
}

// What mapiprobe.Run starts is this command.
func TestMapiProbeArguments(t *testing.T) {
	for _, profile := range []string{"Outlook", "--mode=x", "a b", "-"} {
		args := mapiprobe.Arguments(profile, mapiprobe.Online)
		if args[0] != "mapi" || args[1] != newMapiProbe(&options{}).Name() {
			t.Fatalf("%q is another command", args[:2])
		}
		cmd := newMapiProbe(&options{})
		if err := cmd.ParseFlags(args[2:]); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		for flag, want := range map[string]string{"profile": profile, "mode": "online", "output": outputJSON} {
			if got := cmd.Flag(flag).Value.String(); got != want {
				t.Errorf("%q: --%s is %q", args, flag, got)
			}
		}
	}
}

func TestMapiProbeElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // mapi_probe_windows_test.go
	}
	if code, out, bad := runMapiProbe(t, "--profile", "Outlook"); code != exitFailed || out != "" || !strings.Contains(bad, "Windows") {
		t.Errorf("exit code %d, %q, %q", code, out, bad)
	}
}

// Each exit code stands in --help with its class, and is none of the contract's.
func TestMapiProbeExitCodes(t *testing.T) {
	help := newMapiProbe(&options{}).Long
	for _, class := range []mapiprobe.Class{
		mapiprobe.ClassOK, mapiprobe.ClassAuth, mapiprobe.ClassLogon, mapiprobe.ClassNetwork, mapiprobe.ClassBusy,
		mapiprobe.ClassConfiguration, mapiprobe.ClassInstallation, mapiprobe.ClassOther,
	} {
		code := class.ExitCode()
		if class != mapiprobe.ClassOK && code < 10 {
			t.Errorf("%s ends with %d, which is the contract's", class, code)
		}
		found := false
		for line := range strings.Lines(help) {
			words := strings.Fields(line)
			found = found || len(words) > 2 && words[0] == strconv.Itoa(code) && words[1] == string(class)
		}
		if !found {
			t.Errorf("--help does not say that %d is %s", code, class)
		}
	}
}

func TestMapiProbeLine(t *testing.T) {
	r := mapiprobe.NewResult(mapiprobe.StepOpen, 0x8004FFFF)
	r.Took, r.Bitness = 3*time.Second, "x64"
	if got, want := probeLine(r), "unknown (0x8004FFFF) at step open after 3 s, x64"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
