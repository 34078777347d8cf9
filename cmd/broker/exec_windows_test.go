package main

import (
	"os"
	"syscall"
	"testing"
)

// Windows ends us when the console closes; the key is revoked before that. Ctrl-C
// is for the command to decide.
func TestTheKeyEndsWithTheConsole(t *testing.T) {
	closed := make(chan struct{}, 2)
	s := &signals{caught: make(chan os.Signal), ended: make(chan struct{}), closing: func() { closed <- struct{}{} }}
	defer s.stop()
	s.passTo(&os.Process{})
	s.caught <- os.Interrupt
	s.caught <- syscall.SIGTERM
	<-closed
	if len(closed) != 0 {
		t.Error("Ctrl-C revoked the key")
	}
}
