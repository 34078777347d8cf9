//go:build !windows

package processors

import (
	"syscall"
	"time"
)

// spent is the processor time of this process, all threads together (getrusage(2)).
func spent() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
