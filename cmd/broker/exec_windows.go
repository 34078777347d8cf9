package main

import (
	"os"
	"syscall"
)

// passedSignals are what Go makes of the console's events: Ctrl-C, Ctrl-Break,
// and the closing of the window, the session or the system.
func passedSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// sharedWithCommand is always true: the console tells every process in it.
func sharedWithCommand(os.Signal) bool { return true }

// endCode is the command's exit code; Windows ends nothing by signals.
func endCode(s *os.ProcessState) int { return s.ExitCode() }

// endsUs reports whether Windows ends this process whatever it does, a few
// seconds after it was told so: the console, the session or the system closes
// (HandlerRoutine, "Timeouts"; Go tells it as SIGTERM). The command may be one
// that goes on.
func endsUs(sig os.Signal) bool { return sig == syscall.SIGTERM }
