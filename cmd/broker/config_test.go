package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
)

// governed loads settings on a machine with a policy, which only Windows has.
func governed(t *testing.T, policy config.PolicyKey) (*config.Loaded, error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.yaml")
	text := "tenant: contoso.com\nclient_id: 66666666-7777-8888-9999-000000000000\ntelemetry: {log_level: debug}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Options{
		ConfigPath: file, StateDir: dir, Policy: func() (config.PolicyKey, error) { return policy, nil },
		Flags: []config.Override{{Flag: "--set", Key: "audit.file", Value: "false"}},
	})
}

// What policy sets is shown with its place, and what it overrules is a warning.
func TestConfigCheckShowsPolicy(t *testing.T) {
	loaded, err := governed(t, config.PolicyKey{
		Values: map[string]any{"store": "file", "telemetry.log_level": "error"},
		Keys: map[string]config.PolicyKey{"Mandatory": {Values: map[string]any{
			"telemetry.log_level": "warn", "audit.file": uint64(1),
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	o := &options{env: environment{stdout: &out, stderr: &errs}}
	if err := showConfig(o, loaded, nil, "text"); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if name, rest, ok := strings.Cut(line, " "); ok {
			lines[name] = strings.Join(strings.Fields(rest), " ")
		}
	}
	for name, want := range map[string]string{
		"store":               `file HKLM\SOFTWARE\Policies\M365TokenBroker (policy)`,
		"telemetry.log_level": `warn HKLM\SOFTWARE\Policies\M365TokenBroker\Mandatory (mandatory policy)`,
		"audit.file":          `true HKLM\SOFTWARE\Policies\M365TokenBroker\Mandatory (mandatory policy)`,
		"listen":              "127.0.0.1:8477 default",
	} {
		if lines[name] != want {
			t.Errorf("%s: %q, want %q", name, lines[name], want)
		}
	}
	for _, want := range []string{
		`broker.yaml:3: telemetry.log_level: is ignored, because HKLM\SOFTWARE\Policies\M365TokenBroker\Mandatory\telemetry.log_level sets it for this machine`,
		`warning: --set: audit.file: is ignored, because HKLM\SOFTWARE\Policies\M365TokenBroker\Mandatory\audit.file sets it for this machine`,
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("no %q in\n%s", want, errs.String())
		}
	}

	out.Reset()
	if err := showConfig(o, loaded, nil, outputJSON); err != nil {
		t.Fatal(err)
	}
	var c checked
	if err := json.Unmarshal([]byte(out.String()), &c); err != nil {
		t.Fatal(err)
	}
	if !c.OK || len(c.Warnings) != 2 {
		t.Errorf("ok %v, warnings %q", c.OK, c.Warnings)
	}
	for _, s := range c.Settings {
		if s.Key == "audit.file" && s.Source != `HKLM\SOFTWARE\Policies\M365TokenBroker\Mandatory (mandatory policy)` {
			t.Errorf("%+v", s)
		}
	}
}

// A bad policy is a problem like a bad file, and none of the flags.
func TestConfigCheckBadPolicy(t *testing.T) {
	loaded, err := governed(t, config.PolicyKey{Values: map[string]any{"log_level": "warn"}})
	var out, errs strings.Builder
	err = showConfig(&options{env: environment{stdout: &out, stderr: &errs}}, loaded, err, "text")
	if exitCode(err) != exitFailed {
		t.Errorf("exit code %d", exitCode(err))
	}
	want := "HKLM\\SOFTWARE\\Policies\\M365TokenBroker\\log_level: is no setting of the broker; did you mean \"telemetry.log_level\"?\n"
	if errs.String() != want {
		t.Errorf("got %s", errs.String())
	}
}
