package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// maxCrash bounds what is read of a crash.
const maxCrash = 1 << 20

// KeepCrashes has the Go runtime write what it says at a crash of this process
// into the file path, too, in a directory that is its owner's alone. It returns
// what an earlier process left there, fit for a log, and forgets it; "" is
// nothing.
func KeepCrashes(path string) (earlier string, err error) {
	if raw, err := ownerfile.Read(path, maxCrash); err == nil {
		earlier = cleanCrash(string(raw))
	}
	var f *os.File
	if err = ownerfile.MakeDir(filepath.Dir(path)); err == nil {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // the caller's own directory
	}
	if err == nil {
		err = errors.Join(debug.SetCrashOutput(f, debug.CrashOptions{}), f.Close()) // it has its own handle
	}
	if err != nil {
		return earlier, fmt.Errorf("keep what the runtime says at a crash: %w", err)
	}
	return earlier, nil
}

// cleanCrash keeps what the runtime itself says, and the stacks without the
// values of arguments. The text of a panic, registers and arguments can hold
// parts of a secret.
func cleanCrash(raw string) string {
	var kept []string
	stacks := false
	for line := range strings.SplitSeq(withoutArguments(strings.ReplaceAll(raw, "\r", "")), "\n") {
		switch {
		case strings.HasPrefix(line, "goroutine "):
			stacks = true
		case stacks && (line == "" || strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "created by ") || strings.HasSuffix(line, "(...)")):
		case strings.HasPrefix(line, "panic: runtime error: "), strings.HasPrefix(line, "fatal error: "):
		case strings.HasPrefix(line, "panic: "):
			line = "panic: (its text is left out)"
		default:
			continue
		}
		kept = append(kept, line)
	}
	return strings.TrimSpace(strings.Join(kept, "\n"))
}
