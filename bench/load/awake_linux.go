package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// awake is a child process that lets no core fall asleep until its standard input
// ends: it computes nothing, on each of them, where nobody else wants to
// (SCHED_IDLE, sched(7)). A small call is four times a process that waits for
// another; where a core must wake up first, on a virtual machine above all, that
// takes longer than what is measured.
func awake() error {
	failed := make(chan error, runtime.NumCPU())
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // one to see the end
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0)
			failed <- err
			for err == nil {
				continue
			}
		}()
	}
	for range runtime.NumCPU() {
		if err := <-failed; err != nil {
			return errors.New("SCHED_IDLE: " + err.Error())
		}
	}
	fmt.Println("awake")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
