package main

import (
	"errors"
	"net/url"
	"os/exec"
)

var errNoBrowser = errors.New("no browser can be opened from here")

// openBrowser opens a web page in the default browser, without a shell in
// between, and does not wait for it.
func openBrowser(link string, getenv func(string) string) error {
	u, err := url.Parse(link)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return errNoBrowser
	}
	cmd, err := browserCommand(u.String(), getenv)
	if err != nil {
		return err
	}
	return start(cmd)
}

// start starts a program of the desktop and lets it go.
func start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return errNoBrowser
	}
	go func() { _ = cmd.Wait() }() // so that it leaves no zombie; how it ends is its own affair
	return nil
}
