package mapiprobe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// actAs makes this test program play a probe (TestMain).
const actAs = "MAPIPROBE_TEST_ACT_AS"

func TestMain(m *testing.M) {
	if part := os.Getenv(actAs); part != "" {
		act(part)
		return
	}
	os.Exit(m.Run())
}

// act plays a probe.
func act(part string) {
	found := NewResult(StepOpen, 0x8004011D)
	switch part {
	case "answer":
		text, _ := json.Marshal(found)
		fmt.Println(string(text))
		os.Exit(found.Class.ExitCode())
	case "arguments":
		fmt.Fprintln(os.Stderr, os.Args)
		if !slices.Equal(os.Args[1:], Arguments(`A "b" c`, Online)) {
			os.Exit(3)
		}
		act("answer")
	case "bitness": // MAPI is of another bitness, for which there may be another program
		if strings.Contains(filepath.Base(os.Args[0]), string(otherBitness())) {
			act("answer")
		}
		found = NewResult(StepLoad, HResultBitness)
		found.Bitness, found.MAPI = Own(), otherBitness()
		text, _ := json.Marshal(found)
		fmt.Println(string(text))
		os.Exit(found.Class.ExitCode())
	case "silence":
		os.Exit(7)
	case "noise":
		fmt.Println(strings.Repeat("x", 3*maxOutput))
	case "hang":
		time.Sleep(time.Hour)
	case "child": // has a child that holds its output open, then answers
		startChild()
		act("answer")
	case "parent": // has a child, then hangs
		startChild()
		act("hang")
	}
}

// startChild starts this program as a process that hangs, and notes its number.
func startChild() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), actAs+"=hang")
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		os.Exit(9)
	}
	if err := os.WriteFile(os.Getenv(noteIn), fmt.Append(nil, cmd.Process.Pid), 0o600); err != nil {
		os.Exit(9)
	}
}

// noteIn is the file for startChild.
const noteIn = "MAPIPROBE_TEST_NOTE_IN"

// plain starts a process without a leash, which every system can.
func plain(cmd *exec.Cmd) (func(), error) { return func() {}, cmd.Start() }

func runAs(t *testing.T, part string, r runner, args ...string) (Result, error) {
	t.Helper()
	t.Setenv(actAs, part)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return r.run(t.Context(), exe, args)
}

func TestRunReadsTheResult(t *testing.T) {
	found, err := runAs(t, "answer", runner{limit: time.Minute, start: plain})
	if err != nil || found.HResult != 0x8004011D || found.Step != StepOpen || found.Class != ClassAuth {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestRunPassesArguments(t *testing.T) {
	if _, err := runAs(t, "arguments", runner{limit: time.Minute, start: plain}, Arguments(`A "b" c`, Online)...); err != nil {
		t.Error(err)
	}
}

func TestRunWithoutResult(t *testing.T) {
	for part, want := range map[string]string{"silence": "exit code 0x7", "noise": "without a result"} {
		found, err := runAs(t, part, runner{limit: time.Minute, start: plain})
		if err == nil || !strings.Contains(err.Error(), want) || found != (Result{}) {
			t.Errorf("%s: %+v, %v", part, found, err)
		}
	}
}

func TestRunEndsWhatHangs(t *testing.T) {
	const limit = 300 * time.Millisecond
	found, err := runAs(t, "hang", runner{limit: limit, start: plain})
	if err != nil || found.HResult != HResultNoAnswer || found.Class != ClassBusy || found.Step != "" || found.Took < limit {
		t.Errorf("%+v, %v", found, err)
	}
}

// What a probe leaves running may hold its output open, and does not hold Run up.
func TestRunDoesNotWaitForChildren(t *testing.T) {
	note := filepath.Join(t.TempDir(), "child")
	t.Setenv(noteIn, note)
	found, err := runAs(t, "child", runner{limit: time.Minute, start: plain})
	if err != nil || found.Class != ClassAuth {
		t.Errorf("%+v, %v", found, err)
	}
	endChild(t, note)
}

// endChild ends the process that startChild noted, which must still run.
func endChild(t *testing.T, note string) {
	t.Helper()
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	child, err := os.FindProcess(pid)
	if err != nil {
		t.Fatalf("the probe's child is gone: %v", err)
	}
	if err := child.Kill(); err != nil {
		t.Errorf("the probe's child is gone: %v", err)
	}
	_, _ = child.Wait()
}

func TestRunObeysTheCaller(t *testing.T) {
	t.Setenv(actAs, "hang")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	started := func(cmd *exec.Cmd) (func(), error) {
		defer stop()
		return plain(cmd)
	}
	if _, err := (runner{limit: time.Minute, start: started}).run(ctx, exe, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRunElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		if _, err := Run(t.Context(), filepath.Join(t.TempDir(), "broker-x86.exe")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a missing program: %v", err)
		}
		return
	}
	_, err := Run(t.Context(), "broker", Arguments("Outlook", Cached)...)
	if refusal, ok := errors.AsType[*desktop.Refusal](err); !ok || refusal.Reason != desktop.RefusedPlatform {
		t.Errorf("got %v", err)
	}
}

// otherBitness is one that this program has not.
func otherBitness() desktop.Bitness {
	if Own() == desktop.X86 {
		return desktop.X64
	}
	return desktop.X86
}

// The broker of Outlook's bitness is found where there is one.
func TestProbeFindsTheOtherProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	broker := filepath.Join(dir, "broker.exe")
	write := func(name string) {
		if err := os.WriteFile(name, program, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(broker)
	t.Setenv(actAs, "bitness")
	r := runner{limit: time.Minute, start: plain}
	found, err := r.probe(t.Context(), broker, "Outlook", Cached)
	if err != nil || found.HResult != HResultBitness || !strings.Contains(found.Sentence(), "broker-"+string(otherBitness())+".exe") {
		t.Errorf("without the other one: %+v, %v", found, err)
	}
	write(Executable(broker, otherBitness()))
	if found, err = r.probe(t.Context(), broker, "Outlook", Cached); err != nil || found.Class != ClassAuth {
		t.Errorf("with the other one: %+v, %v", found, err)
	}
	t.Setenv(actAs, "answer")
	if found, err = r.probe(t.Context(), broker, "Outlook", Cached); err != nil || found.Class != ClassAuth {
		t.Errorf("where it is not needed: %+v, %v", found, err)
	}
}

func TestExecutable(t *testing.T) {
	dir := t.TempDir()
	broker := filepath.Join(dir, "broker.exe")
	other := otherBitness()
	for outlook, want := range map[desktop.Bitness]string{"": broker, Own(): broker, other: filepath.Join(dir, "broker-"+string(other)+".exe")} {
		if got := Executable(broker, outlook); got != want {
			t.Errorf("for %q: %s, want %s", outlook, got, want)
		}
	}
}
