//go:build !windows

package credstore

import (
	"os/exec"
	"syscall"
)

// killedByTest tells a victim that was killed from one that gave up.
func killedByTest(exit *exec.ExitError) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
