//go:build !windows

package main

import (
	"os/exec"
	"runtime"
)

// browserCommand needs a desktop: without one, xdg-open may start a browser in
// the terminal.
func browserCommand(link string, getenv func(string) string) (*exec.Cmd, error) {
	opener := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		opener = "open"
	case getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "":
		return nil, errNoBrowser
	}
	path, err := exec.LookPath(opener)
	if err != nil {
		return nil, errNoBrowser
	}
	return exec.Command(path, link), nil //nolint:gosec,noctx // it outlives this command: the desktop's own opener, and a link that was checked
}
