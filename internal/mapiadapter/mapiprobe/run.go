package mapiprobe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// How long a probe may take. It gives up by itself first, as it alone knows at
// which step; where even that does not work, it is ended.
const (
	OwnLimit = 50 * time.Second
	Limit    = 60 * time.Second
)

// Mode is how the consumer opens the mailbox. The probe does the same: what
// works in one mode can fail in the other.
type Mode string

// The modes of an Exchange mailbox.
const (
	Cached Mode = "cached" // with the profile's local copy
	Online Mode = "online" // on the server (MDB_ONLINE)
)

// Arguments is the command line of a probe, for Run.
func Arguments(profile string, mode Mode) []string {
	return []string{"mapi", "probe", "--profile=" + profile, "--mode=" + string(mode), "--output=json"}
}

// Own is the bitness of this process.
func Own() desktop.Bitness {
	switch runtime.GOARCH {
	case "386":
		return desktop.X86
	case "arm64":
		return desktop.ARM64
	default:
		return desktop.X64
	}
}

// Executable is the program to probe with: the broker itself (its path) where it
// has Outlook's bitness, else the one beside it that has, for example
// broker-x86.exe. An unknown bitness is taken for our own; the probe says so
// where that is wrong.
func Executable(broker string, outlook desktop.Bitness) string {
	if outlook == "" || outlook == Own() {
		return broker
	}
	return filepath.Join(filepath.Dir(broker), "broker-"+string(outlook)+".exe")
}

// Probe opens the profile with the program of Outlook's bitness: the broker
// itself (its path), or, where that finds MAPI to have another one, the broker
// of that bitness beside it. Where there is none, the Result says which program
// is missing. For the rest see Run.
func Probe(ctx context.Context, broker, profile string, mode Mode) (Result, error) {
	return runner{limit: Limit, start: startOnLeash}.probe(ctx, broker, profile, mode)
}

func (r runner) probe(ctx context.Context, broker, profile string, mode Mode) (Result, error) {
	found, err := r.run(ctx, broker, Arguments(profile, mode))
	if err != nil || found.HResult != HResultBitness || found.MAPI == "" || found.MAPI == found.Bitness {
		return found, err
	}
	other := Executable(broker, found.MAPI)
	if other == broker || !exists(other) {
		return found, nil
	}
	return r.run(ctx, other, Arguments(profile, mode))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Run runs exe with args as a probe (see Arguments) in a process of its own, in
// the caller's session, and returns what it found. The process never outlives
// Limit, ctx, or the caller; nothing else is ever ended, not even what it may
// have started. A probe that has to be ended is a Result of ClassBusy without a
// step. An error says that no probe took place: the program is missing, crashed,
// or said nothing; on systems other than Windows it is a *desktop.Refusal.
//
// MAPI lets one logon in at a time: do not run two for the same account.
func Run(ctx context.Context, exe string, args ...string) (Result, error) {
	return runner{limit: Limit, start: startOnLeash}.run(ctx, exe, args)
}

// runner is Run with its limit and its way to start a process.
type runner struct {
	limit time.Duration
	// start starts the process so that it ends with the caller. release frees
	// what that took; it may be called once the process has ended.
	start func(cmd *exec.Cmd) (release func(), err error)
}

// maxOutput is far more than a probe has to say, in bytes.
const maxOutput = 16 << 10

func (r runner) run(ctx context.Context, exe string, args []string) (Result, error) {
	began := time.Now()
	limited, stop := context.WithTimeout(ctx, r.limit)
	defer stop()
	var out limitedBuffer
	cmd := exec.CommandContext(limited, exe, args...) //nolint:gosec // the broker's own program, with arguments of Arguments
	cmd.Stdout = &out
	// What the probe has started may hold its output open for longer.
	cmd.WaitDelay = time.Second
	release, err := r.start(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("the probe could not be started: %w", err)
	}
	defer release()
	err = cmd.Wait()
	var found Result
	if json.Unmarshal(out.Bytes(), &found) == nil {
		return found, nil
	}
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case limited.Err() != nil:
		found = NewResult("", HResultNoAnswer)
		found.Took = time.Since(began)
		return found, nil
	}
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return Result{}, fmt.Errorf("the probe found nothing out and ended with exit code %#x", uint32(ended.ExitCode()))
	}
	return Result{}, errors.New("the probe ended without a result")
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if keep := maxOutput - b.Len(); keep > 0 {
		b.Buffer.Write(p[:min(keep, len(p))])
	}
	return len(p), nil
}
