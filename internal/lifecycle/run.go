// Package lifecycle starts and stops the broker as a process: it runs tasks
// together (Group), holds the one lock of a state directory (Lock), makes that
// directory and the admin key in it owner-only, turns signals into a context,
// and notices when the computer slept or its clock was set (WatchClock).
//
// A console program stops by the context of Signals. Another host, a service
// manager for example, hands Group.Run a context of its own; nothing else
// differs.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"
)

// DefaultStopTimeout is how long tasks may take to stop.
const DefaultStopTimeout = 10 * time.Second

// Task is one part of the program that runs until its context ends or its work
// is done.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
}

// Group runs tasks together.
type Group struct {
	Log         *slog.Logger
	StopTimeout time.Duration // zero means DefaultStopTimeout
}

// StuckError says which tasks did not stop in time. The log has the stack of
// every goroutine.
type StuckError struct {
	Tasks []string
	After time.Duration
}

// Error names the tasks.
func (e *StuckError) Error() string {
	return fmt.Sprintf("%s did not stop within %v; the log has the stacks", strings.Join(e.Tasks, ", "), e.After)
}

// finished is how one task ended.
type finished struct {
	name string
	err  error
}

// Run starts every task and waits for all of them. The first error cancels the
// context of the others; so does the end of ctx. A task that returns nil is
// done and stops nobody. Run returns what went wrong, first error first:
// context.Canceled after the stop is not an error. A panic inside a task (not
// in goroutines it starts) becomes an error, its stack goes to the log.
//
// Once stopping has begun, tasks have StopTimeout. After that a watchdog writes
// all stacks to the log and Run returns with a *StuckError among its errors;
// the program should exit then.
func (g *Group) Run(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan finished, len(tasks)) // room for all: a late task must not hang
	running := make([]string, 0, len(tasks))
	for _, task := range tasks {
		running = append(running, task.Name)
		go func() { results <- finished{task.Name, g.guard(ctx, task)} }()
	}

	var errs []error
	stopping := ctx.Done()
	var watchdog <-chan time.Time
	for len(running) > 0 {
		select {
		case one := <-results:
			i := slices.Index(running, one.name)
			running = slices.Delete(running, i, i+1)
			if one.err == nil || (ctx.Err() != nil && errors.Is(one.err, context.Canceled)) {
				continue
			}
			errs = append(errs, fmt.Errorf("%s: %w", one.name, one.err))
			cancel()
		case <-stopping:
			stopping = nil
			timer := time.NewTimer(g.stopTimeout())
			defer timer.Stop()
			watchdog = timer.C
		case <-watchdog:
			g.logStacks(ctx, running)
			return errors.Join(append(errs, &StuckError{Tasks: running, After: g.stopTimeout()})...)
		}
	}
	return errors.Join(errs...)
}

func (g *Group) stopTimeout() time.Duration {
	if g.StopTimeout > 0 {
		return g.StopTimeout
	}
	return DefaultStopTimeout
}

// guard runs a task of the group; see Guard.
func (g *Group) guard(ctx context.Context, task Task) error {
	return Guard(ctx, g.Log, task.Name, func() error { return task.Run(ctx) })
}

// Guard runs a function and turns a panic in it into an error. The log gets the
// stack without the values of arguments, and of the panic only what the Go
// runtime says: both can hold secrets.
func Guard(ctx context.Context, log *slog.Logger, what string, run func() error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		about := fmt.Sprintf("a value of type %T", v)
		if re, ok := v.(runtime.Error); ok {
			about = re.Error()
		}
		log.ErrorContext(ctx, "a task panicked", slog.String("task", what), slog.String("panic", about),
			slog.String("stack", strings.Join(stacks(false), "\n")))
		err = errors.New("panicked; the log has the stack")
	}()
	return run()
}

// logStacks writes one line per goroutine.
func (g *Group) logStacks(ctx context.Context, running []string) {
	g.Log.ErrorContext(ctx, "stopping takes too long; the stacks of all goroutines follow",
		slog.Any("tasks", running), slog.Duration("after", g.stopTimeout()))
	for _, stack := range stacks(true) {
		g.Log.ErrorContext(ctx, "goroutine", slog.String("stack", stack))
	}
}

// maxStacks bounds the memory for all stacks.
const maxStacks = 8 << 20

// stacks returns the stack of the calling goroutine, or of all.
func stacks(all bool) []string {
	size := 64 << 10
	for {
		buf := make([]byte, size)
		n := runtime.Stack(buf, all)
		if n < size || size >= maxStacks {
			return strings.Split(withoutArguments(string(buf[:n])), "\n\n")
		}
		size *= 2
	}
}

// withoutArguments removes the values in parentheses after function names.
// Mostly they are pointers, but an array passed by value is printed word for
// word, and that may be a key.
func withoutArguments(trace string) string {
	lines := strings.Split(trace, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "\t") || !strings.HasSuffix(line, ")") {
			continue // a file and line, or "goroutine 7 [select]:"
		}
		if open := strings.LastIndexByte(line, '('); open >= 0 {
			lines[i] = line[:open] + "(...)"
		}
	}
	return strings.Join(lines, "\n")
}
