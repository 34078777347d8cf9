package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// The entry that Windows starts at logon ("Run and RunOnce Registry Keys",
// Microsoft Learn).
const (
	runKey  = `Software\Microsoft\Windows\CurrentVersion\Run`
	runName = "M365TokenBrokerAgent"
)

func runHive(all bool) registry.Key {
	if all {
		return registry.LOCAL_MACHINE
	}
	return registry.CURRENT_USER
}

// installAgent writes the entry, and gives the command line in it.
func installAgent(o *options, all bool) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	for _, path := range []*string{&o.config, &o.stateDir} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil { // at logon, the directory is another one
			return "", fmt.Errorf("find %s: %w", *path, err)
		}
	}
	command := agentCommand(self, o, windows.ComposeCommandLine)
	key, _, err := registry.CreateKey(runHive(all), runKey, registry.SET_VALUE)
	if err != nil {
		return "", fmt.Errorf("open the registry's Run key (--all-users needs an administrator): %w", err)
	}
	defer func() { _ = key.Close() }()
	if err := key.SetStringValue(runName, command); err != nil {
		return "", fmt.Errorf("write the registry's Run key: %w", err)
	}
	return command, nil
}

// uninstallAgent removes the entry, and reports whether there was one.
func uninstallAgent(all bool) (bool, error) {
	key, err := registry.OpenKey(runHive(all), runKey, registry.SET_VALUE)
	if errors.Is(err, registry.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the registry's Run key (--all-users needs an administrator): %w", err)
	}
	defer func() { _ = key.Close() }()
	switch err := key.DeleteValue(runName); {
	case errors.Is(err, registry.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("change the registry's Run key: %w", err)
	}
	return true, nil
}

// startDetached starts this program again without a console window, and does not
// wait for it.
func startDetached(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, args...) //nolint:gosec,noctx // this very program; it outlives this process
	cmd.SysProcAttr = &syscall.SysProcAttr{HideWindow: true, CreationFlags: windows.CREATE_NO_WINDOW | windows.CREATE_NEW_PROCESS_GROUP}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	return cmd.Process.Release()
}
