package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// exitAborted is the exit code after a second signal: failed, in the table of
// exit codes of the commands.
const exitAborted = 1

// Signals returns a context that ends at the first interrupt, SIGTERM or SIGHUP
// (the terminal was closed; settings are watched and need no signal). At the
// second one it calls exit (os.Exit in the program) at once, for a person who
// does not want to wait. stop releases the signals.
//
// On Windows Ctrl-C and Ctrl-Break are os.Interrupt, and the end of the session
// arrives as SIGTERM; Windows then allows about 5 seconds.
func Signals(ctx context.Context, exit func(code int)) (_ context.Context, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(ctx)
	released := make(chan struct{})
	go watchSignals(signals, released, cancel, exit)
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		cancel(context.Canceled)
		close(released)
	})
}

// watchSignals ends the context at the first signal and the program at the
// second, until it is released.
func watchSignals(signals <-chan os.Signal, released <-chan struct{}, cancel context.CancelCauseFunc, exit func(int)) {
	for first := true; ; first = false {
		select {
		case s := <-signals:
			if !first {
				exit(exitAborted)
				return
			}
			cancel(fmt.Errorf("%w by %s", context.Canceled, s))
		case <-released:
			return
		}
	}
}
