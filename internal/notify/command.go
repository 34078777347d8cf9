package notify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// commandLimit is how long a command may take; then it is killed, with what it has
// started.
const commandLimit = 30 * time.Second

// invocation is one run of a command.
type invocation struct {
	argv  []string
	env   []string
	stdin []byte
}

// runner runs a command and returns its exit code, -1 where a signal ended it. It
// kills it with its children when ctx ends. The error is a *startError, or that of
// ctx.
type runner func(ctx context.Context, in invocation) (exitCode int, err error)

// startError says that a command did not start.
type startError struct{ cause error }

// Error is the cause without the path.
func (e *startError) Error() string { return e.cause.Error() }

// command hands events to a program.
type command struct {
	argv    []string
	run     runner
	environ []string // what it gets of ours
	machine string
}

// newCommand wants an absolute path: what a relative one means depends on where
// the broker was started, and on who may write there.
func (n *Notifier) newCommand(argv []string) (*command, error) {
	if !filepath.IsAbs(argv[0]) {
		return nil, wrong("The command's program is not an absolute path; write it in full.")
	}
	return &command{argv: slices.Clone(argv), run: n.tools.run, environ: passed(n.cfg.Environ, runtime.GOOS == "windows"), machine: n.cfg.Host}, nil
}

func (c *command) where() string { return filepath.Base(c.argv[0]) }

// deliver runs the program once. It has been told when it was started, so that
// only a start that fails is tried again.
func (c *command) deliver(ctx context.Context, e Event) *failure {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	code, err := c.run(ctx, invocation{argv: c.argv, env: append(slices.Clone(c.environ), e.environ()...), stdin: e.json(c.machine)})
	start, notStarted := errors.AsType[*startError](err)
	switch {
	case notStarted:
		return &failure{text: fmt.Sprintf("The command could not be started: %v.", start), retry: true}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{text: fmt.Sprintf("The command did not end within %v and was stopped.", commandLimit)}
	case err != nil:
		return &failure{text: "The command was stopped."}
	case code != 0:
		return &failure{text: fmt.Sprintf("The command ended with exit code %d.", code)}
	}
	return nil
}

// environ is the event for a script that does not read JSON.
func (e Event) environ() []string {
	var out []string
	for _, v := range [][2]string{
		{"ID", strconv.Itoa(e.ID)},
		{"SEVERITY", string(e.Severity)},
		{"SUBJECT", e.Subject},
		{"STATE", e.State},
		{"REASON", e.Reason},
		{"TEXT", e.Text},
		{"ACTION", e.Action},
	} {
		out = append(out, "BROKER_EVENT_"+v[0]+"="+strings.ReplaceAll(v[1], "\x00", ""))
	}
	return out
}

// passedNames are the variables without which programs do not find themselves.
// All others stay here: BROKER_… and OTEL_… can hold secrets.
var passedNames = []string{
	"PATH", "PATHEXT", "COMSPEC", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR",
	"HOME", "USERPROFILE", "TEMP", "TMP", "TMPDIR",
}

// passed picks those variables; Windows' names are without case.
func passed(environ []string, windows bool) []string {
	var out []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if windows {
			name = strings.ToUpper(name)
		}
		if slices.Contains(passedNames, name) {
			out = append(out, pair)
		}
	}
	return out
}

// reasonOf is why a program did not start, in the same words on every system where
// people meet it often.
func reasonOf(err error) error {
	switch e, ok := errors.AsType[*fs.PathError](err); {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return errors.New("the program does not exist")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the broker's user may not run it")
	case ok:
		return e.Err
	}
	return err
}
