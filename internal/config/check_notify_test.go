package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNotify: every key, from file and environment; what may be secret is not shown.
func TestNotify(t *testing.T) {
	program := "/opt/hooks/tell"
	if runtime.GOOS == "windows" {
		program = `C:\Hooks\tell.exe`
	}
	h := newHome(t, map[string]string{
		"conf.d/notify.yaml":    "notify:\n  command: ['" + program + "', --team, 'the mail people']\n  webhook_secret_file: webhook.secret\n",
		"conf.d/webhook.secret": strings.Repeat("s", 16) + "\n",
		"broker.yaml":           "notify: {event_log: false}\n",
	})
	l := h.load("BROKER_NOTIFY_WEBHOOK=https://me:hunter2@hooks.example.com/hunter2?sig=hunter2")
	n := l.Config.Notify
	if n.EventLog || n.Webhook.Reveal() != "https://me:hunter2@hooks.example.com/hunter2?sig=hunter2" ||
		n.WebhookSecretFile != h.path("conf.d/webhook.secret") || !slices.Equal(n.Command, []string{program, "--team", "the mail people"}) {
		t.Errorf("%+v", n)
	}
	got := map[string]string{}
	for _, s := range l.Explain() {
		if strings.Contains(s.Value, "hunter2") {
			t.Errorf("%s shows a secret", s.Key)
		}
		got[s.Key] = s.Value + " from " + h.plain(s.Source)
	}
	for key, want := range map[string]string{
		"notify.webhook":   "https://[redacted]@hooks.example.com from BROKER_NOTIFY_WEBHOOK",
		"notify.command":   "[" + program + ", --team, the mail people] from conf.d/notify.yaml:2",
		"notify.event_log": "false from broker.yaml:1",
	} {
		if got[key] != want {
			t.Errorf("%s = %s, want %s", key, got[key], want)
		}
	}
	if !newHome(t, map[string]string{"broker.yaml": ""}).load().Config.Notify.EventLog {
		t.Error("the event log is on where nothing is said")
	}
}

// TestNotifyAccepted are addresses that look odd and are right.
func TestNotifyAccepted(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:9/x", "http://[::1]/", "http://LOCALHOST/", "https://h", "https://u:p@h:8443/a?b#c"} {
		newHome(t, map[string]string{"broker.yaml": "notify: {webhook: '" + url + "'}\n"}).load()
	}
}

// TestNotifyWarnings: nobody would be told, or by somebody else's program.
func TestNotifyWarnings(t *testing.T) {
	h := newHome(t, map[string]string{"tell": "#!/bin/sh\n", "webhook.secret": strings.Repeat("s", 16)})
	warnings := func(command string) []string {
		t.Helper()
		h.write("broker.yaml", "notify:\n  command: ['"+command+"']\n")
		var all []string
		for _, w := range h.load().Warnings {
			all = append(all, strings.ReplaceAll(h.plain(w), h.dir, "DIR"))
		}
		return all
	}
	for command, want := range map[string]string{
		h.path("none"): "none cannot be run (it does not exist), so that nobody would be told; correct the path, or put the program there",
		h.dir:          "DIR is a directory, so that nobody would be told; name the program in it",
		h.path("tell"): "",
	} {
		var all []string
		if want != "" {
			all = []string{"broker.yaml:2: notify.command[0]: " + want}
		}
		if diff := cmp.Diff(all, warnings(command)); diff != "" {
			t.Error(diff)
		}
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(h.path("tell"), 0o777); err != nil {
			t.Fatal(err)
		}
		want := []string{"broker.yaml:2: notify.command[0]: tell can be changed by every user of this machine, and runs with your rights; take write permission away from others"}
		if diff := cmp.Diff(want, warnings(h.path("tell"))); diff != "" {
			t.Error(diff)
		}
	}
	h.write("broker.yaml", "notify: {webhook_secret_file: '"+filepath.ToSlash(h.path("webhook.secret"))+"'}\n")
	if got := h.load().Warnings; len(got) != 1 || h.plain(got[0]) != "broker.yaml:1: notify.webhook_secret_file: is not used, because notify.webhook is not set" {
		t.Errorf("%q", got)
	}
}

// TestNotifySecretOfAll: a secret that others can read is refused, with the remedy.
func TestNotifySecretOfAll(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // files have the access list of their directory there
	}
	h := newHome(t, map[string]string{"s": strings.Repeat("s", 16), "broker.yaml": "notify: {webhook: \"https://h\", webhook_secret_file: s}\n"})
	if err := os.Chmod(h.path("s"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(h.options())
	want := "broker.yaml:1: notify.webhook_secret_file: s can be reached by other users (mode 0644); run: chmod 600 's'"
	if err == nil || h.plain(err.Error()) != want {
		t.Errorf("got %v", err)
	}
}

// TestNotifyOnWindows: its paths, asked on any system.
func TestNotifyOnWindows(t *testing.T) {
	for command, good := range map[string]bool{`C:\Hooks\tell.exe`: true, `c:/hooks/tell.exe`: true, `\\server\share\tell.exe`: true, `/opt/hooks/tell`: false, `tell.exe`: false, `\Hooks\tell.exe`: false} {
		h := newHome(t, map[string]string{"b.yaml": "notify: {command: ['" + command + "']}\n"})
		if _, err := Load(Options{GOOS: "windows", StateDir: h.dir, ConfigPath: h.path("b.yaml")}); (err == nil) != good {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestNotifyIsLive(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": "notify: {webhook: \"https://h/one\"}\n"})
	before := h.load()
	h.write("broker.yaml", "notify: {webhook: \"https://h/two\", event_log: false}\nmapi: {a: {profile: x, notice: false}}\n")
	after, err := before.Reload()
	if err != nil {
		t.Fatal(err)
	}
	changes := Diff(before, after)
	for _, c := range changes {
		if c.Restart || strings.Contains(c.Old+c.New, "one") {
			t.Errorf("%+v", c)
		}
	}
	if len(changes) < 3 {
		t.Errorf("%v", changes)
	}
}
