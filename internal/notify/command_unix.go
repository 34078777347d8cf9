//go:build !windows

package notify

import (
	"context"
	"os/exec"
	"syscall"
)

// startTree starts the command in a process group of its own, which is killed as a
// whole when the command's context ends. Call end when it was waited for.
func startTree(_ context.Context, cmd *exec.Cmd) (end func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return func() {}, cmd.Start()
}
