package main

import (
	"archive/zip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// unpacked are the files of a bundle.
func unpacked(t *testing.T, file string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(data)
	}
	return all
}

// A bundle has all that support needs, no secret, and no name of a person: an
// account has the hash that it has in the log.
func TestDoctorBundle(t *testing.T) {
	w := newWorld(t, worldOptions{
		sandbox: sandbox.Config{Canary: true},
		yaml:    "accounts: {secretalias: {username: " + bob + "}}\nproxy_url: \"\"\nmapi: {archive: {profile: Outlook, account: 'CONTOSO\\wilma'}}\n",
		env:     map[string]string{"BROKER_NOTIFY_WEBHOOK_URL": ""},
	})
	w.ready()
	w.token("graph")
	logs := w.path("state/logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(logs, "broker.log"), strings.Repeat("an old line\n", bundleLog+5)+
		"alice@contoso.example of CONTOSO\\wilma sent "+w.key+" and eyJhbGciOiJub25lIn0.e30.CANARY for secretalias\nthe last line\n")
	file := filepath.Join(t.TempDir(), "support.zip")
	code, out, errs := w.run("doctor", "--bundle", file)
	if !strings.Contains(errs, "only you can read") || !strings.Contains(errs, "config.json") || !strings.Contains(out, "ok") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	if err := ownerfile.Audit(file); err != nil {
		t.Error(err)
	}
	all := unpacked(t, file)
	for name := range contents {
		text, ok := all[name]
		if !ok || text == "" {
			t.Errorf("%s is not in it", name)
		}
		for _, secret := range []string{canaryText, "alice@", "bob@", "wilma", "secretalias", w.key, w.admin, "eyJ"} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				t.Errorf("%s holds %s:\n%s", name, secret, text)
			}
		}
	}
	if len(all) != len(contents) {
		t.Errorf("%d files", len(all))
	}
	log := all["broker.log"]
	if !strings.HasSuffix(log, "the last line\n") || strings.Count(log, "\n") > bundleLog {
		t.Errorf("the log: %d lines", strings.Count(log, "\n"))
	}
	var status httpapi.Status
	if err := json.Unmarshal([]byte(all["status.json"]), &status); err != nil || len(status.Accounts) == 0 || !strings.HasPrefix(status.Accounts[0].Username, "account-") || !strings.Contains(log, status.Accounts[0].Username) {
		t.Errorf("%v: %+v", err, status.Accounts)
	}
	var settings checked
	if err := json.Unmarshal([]byte(all["config.json"]), &settings); err != nil || !settings.OK || len(settings.Settings) < 10 {
		t.Errorf("%v: %s", err, all["config.json"])
	}
	var counts auditSummary
	if err := json.Unmarshal([]byte(all["audit.json"]), &counts); err != nil || counts.Events["consumer.added"] != 1 {
		t.Errorf("%v: %s", err, all["audit.json"])
	}
	// It is not overwritten by accident.
	if code, _, errs := w.run("doctor", "--bundle", file); code != exitUsage || !strings.Contains(errs, "--force") {
		t.Errorf("code %d: %s", code, errs)
	}
	if code, _, errs := w.run("doctor", "--bundle", file, "--force", "--check", "config"); code != exitDone || !strings.Contains(errs, "wrote ") {
		t.Errorf("code %d: %s", code, errs)
	}
	if all := unpacked(t, file); strings.Contains(all["doctor.txt"], nameLoginHost) || !strings.Contains(all["doctor.txt"], nameConfig) {
		t.Errorf("only config was asked for: %s", all["doctor.txt"])
	}
	if code, _, _ := w.run("doctor", "--bundle", filepath.Join(t.TempDir(), "none", "x.zip"), "--check", "config"); code != exitUsage {
		t.Errorf("written into no directory: code %d", code)
	}
}

// A broken configuration and no broker are when a bundle is needed most.
func TestDoctorBundleOfNothing(t *testing.T) {
	sb, err := sandbox.Start(t.Context(), sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := settle(t, worldOptions{}, sb)
	w.write("conf/broker.yaml", "listn: x\n")
	file := filepath.Join(t.TempDir(), "support.zip")
	if code, _, errs := w.run("doctor", "--bundle", file); code != exitFailed || !strings.Contains(errs, "wrote ") {
		t.Errorf("code %d: %s", code, errs)
	}
	all := unpacked(t, file)
	if len(all) != 4 || !strings.Contains(all["doctor.txt"], "unknown key") || !strings.Contains(all["config.json"], `"ok": false`) {
		t.Errorf("%v", all)
	}
}

// The end of a log is whole lines, of any length of file.
func TestLogTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.log")
	if got := logTail(file); got != nil {
		t.Errorf("of no file: %q", got)
	}
	if got := logTail(t.TempDir()); got != nil {
		t.Errorf("of a directory: %q", got)
	}
	write(t, file, "one\ntwo")
	if got := string(logTail(file)); got != "one\ntwo" {
		t.Errorf("%q", got)
	}
	write(t, file, strings.Repeat("x", bundleTail)+"y\nlast\n")
	if got := string(logTail(file)); got != "last\n" {
		t.Errorf("%d bytes", len(got))
	}
}

// The home directory has the name of a person in it.
func TestBundleHasNoHome(t *testing.T) {
	c := &cleaner{text: func(s string) string { return s }, home: homeIn(`C:\Users\Jane`)}
	got := string(c.clean([]byte("C:\\Users\\Jane\\broker.yaml\nc:\\users\\JANE\\x\n\"C:\\\\Users\\\\jane\\\\x\"\n")))
	if want := "~\\broker.yaml\n~\\x\n\"~\\\\x\"\n"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if homeIn("/") != nil {
		t.Error("the root is nobody's home")
	}
}
