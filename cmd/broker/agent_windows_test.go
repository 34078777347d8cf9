package main

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/windows/registry"
)

func TestAgentInstall(t *testing.T) {
	var out bytes.Buffer
	o := &options{env: environment{stdout: &out}, config: "b.yaml"}
	run := func(args ...string) {
		t.Helper()
		cmd := newAgent(o)
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := uninstallAgent(false); err != nil {
		t.Fatal(err)
	}
	run("install")
	t.Cleanup(func() { _, _ = uninstallAgent(false) })
	key, err := registry.OpenKey(registry.CURRENT_USER, runKey, registry.QUERY_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = key.Close() }()
	command, _, err := key.GetStringValue(runName)
	if err != nil || !strings.Contains(command, "agent --background --config ") || !strings.Contains(command, `\b.yaml`) || !strings.Contains(out.String(), command) {
		t.Errorf("%q %v\n%s", command, err, out.String())
	}
	run("uninstall")
	if _, _, err := key.GetStringValue(runName); err == nil {
		t.Error("the entry is still there")
	}
	run("uninstall")
	if !strings.Contains(out.String(), "nothing was changed") {
		t.Error(out.String())
	}
}
