package processors

import (
	"time"

	"golang.org/x/sys/windows"
)

// spent is the processor time of this process, all threads together
// (GetProcessTimes).
func spent() (time.Duration, error) {
	var made, ended, kernel, user windows.Filetime
	err := windows.GetProcessTimes(windows.CurrentProcess(), &made, &ended, &kernel, &user)
	return length(kernel) + length(user), err
}

// length is that of a Filetime which is no point in time; it counts in 100 ns.
func length(f windows.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
