package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a service could not start with, or what would not be used, is refused
// before there is one.
func TestServiceInstallRefuses(t *testing.T) {
	w := newServiceWorld(t)
	w.configure("")
	empty := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(empty, []byte("\r\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want(2, []string{"install", "--account", `.\svc`, "--password-file", empty}, "the first line of "+empty+" is empty")
	w.want(2, []string{"install", "--password-file", empty}, serviceAccount+" has no password", "--account")
	w.want(1, []string{"install", "--listen", "0.0.0.0:80"}, "listen on this machine only")
	w.want(1, []string{"install", "--listen", "nonsense"}, "listen")
	w.want(2, []string{"start", "--wait", "-1s"}, "--wait -1s is out of range")
	w.want(2, []string{"stop", "--wait", "0"}, "--wait 0s is out of range")
	if w.manager.spec != nil || len(w.did) > 0 {
		t.Errorf("it is installed all the same: %+v %q", w.manager.spec, w.did)
	}
	w.want(0, []string{"install", "--listen", "127.0.0.1:9000"}, "is installed")
	if got := w.manager.facts.Command; !strings.Contains(got, "--set listen=127.0.0.1:9000") {
		t.Errorf("the command is %s", got)
	}
	w.want(0, []string{"install"}, "Its command is now broker.exe service run\n", "it was broker.exe service run --set listen=127.0.0.1:9000")
	if out, _ := w.run("install"); strings.Contains(out, "Its command") {
		t.Error(out)
	}
}

// The settings of the person who installs the service are not the service's.
func TestServiceHasNoPersonsSettings(t *testing.T) {
	dir := t.TempDir()
	getenv := func(name string) string { return map[string]string{"ProgramData": dir, "HOME": dir}[name] }
	own := filepath.Join(dir, ".config", "m365-token-broker", "broker.yaml")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("bogus: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &services{o: &options{env: environment{getenv: getenv, environ: []string{"ProgramData=" + dir, "HOME=" + dir, "AppData=" + filepath.Join(dir, ".config")}}}}
	if _, err := s.settings(); err != nil {
		t.Error(err)
	}
	s.o.config = own
	if _, err := s.settings(); err == nil {
		t.Error("what is named is not read")
	}
}
