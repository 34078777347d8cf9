//go:build !windows

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// passedSignals are those that people and service managers send to a program.
func passedSignals() []os.Signal {
	return []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT,
	}
}

// sharedWithCommand reports whether the terminal has told the command already:
// it stays in our process group, so that Ctrl-C, Ctrl-\ and a new window size
// reach both. A second SIGINT would end programs that ask before they quit.
func sharedWithCommand(sig os.Signal) bool {
	switch sig {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH:
		return inForeground()
	}
	return false
}

// inForeground reports whether our process group has the terminal (POSIX, 11.1
// "Interface Characteristics").
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// endCode is the command's exit code, or 128 plus the signal that ended it.
func endCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignalled + int(status.Signal())
	}
	return s.ExitCode()
}

// endsUs is never true: no signal that can be caught ends us against our will.
func endsUs(os.Signal) bool { return false }
