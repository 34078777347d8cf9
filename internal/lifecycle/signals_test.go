package lifecycle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// waitForSignals is the other process of TestSignals.
func waitForSignals() int {
	ctx, stop := Signals(context.Background(), os.Exit)
	defer stop()
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	_, _ = io.Copy(io.Discard, os.Stdin) // "stops" until the second signal or the end of its input
	return 0
}

func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send os.Interrupt to a child; TestSignalLogic covers what follows")
	}
	for name, second := range map[string]bool{"one stops": false, "two end at once": true} {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), envAbort+"=1")
			stdin, _ := cmd.StdinPipe()
			stdout, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			_, _ = lines.ReadString('\n')
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if line, _ := lines.ReadString('\n'); !strings.Contains(line, "terminated") {
				t.Errorf("the cause is %q", line)
			}
			if second {
				_ = cmd.Process.Signal(os.Interrupt)
			} else {
				_ = stdin.Close()
			}
			err = cmd.Wait()
			if second != (err != nil) || (second && cmd.ProcessState.ExitCode() != exitAborted) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestSignalLogic(t *testing.T) {
	signals, released := make(chan os.Signal, 2), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	code := -1
	signals <- os.Interrupt
	signals <- os.Interrupt
	watchSignals(signals, released, cancel, func(c int) { code = c })
	if code != exitAborted || !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("code %d, cause %v", code, context.Cause(ctx))
	}
	close(released)
	watchSignals(signals, released, cancel, func(int) { t.Error("exit without a signal") })
	_, stop := Signals(t.Context(), func(int) {})
	stop()
	stop()
}
