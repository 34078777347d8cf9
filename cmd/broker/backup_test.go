package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

const testPassphrase = "correct horse battery staple"

// another is a second machine with the same sandbox, where nobody signed in.
func another(t *testing.T, w *world, yaml string) *world {
	t.Helper()
	return settle(t, worldOptions{yaml: yaml}, w.sb)
}

// secretFile writes a file that only its owner may read.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := ownerfile.WriteOwned(path, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return path
}

// must runs a command that must end with this code, and gives what it printed.
func (w *world) must(code int, args ...string) (stdout, stderr string) {
	w.t.Helper()
	got, stdout, stderr := w.run(args...)
	if got != code {
		w.t.Fatalf("broker %s: code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout, stderr
}

// tree is every file below a directory, by its path.
func tree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// same fails where a directory is not what it was.
func same(t *testing.T, what, dir string, before map[string][]byte) {
	t.Helper()
	after := tree(t, dir)
	for path := range after {
		if _, ok := before[path]; !ok {
			t.Errorf("%s: %s is new", what, path)
		}
	}
	for path, text := range before {
		if !bytes.Equal(text, after[path]) {
			t.Errorf("%s: %s was changed", what, path)
		}
	}
}

// The whole journey: a broker signs two persons in and exports them while it runs;
// another machine imports them, serves tokens without a sign-in, and both go on.
func TestABackupMovesTheSignIns(t *testing.T) {
	t.Parallel()
	a := newWorld(t, worldOptions{sandbox: sandbox.Config{Canary: true}})
	a.ready()
	a.signIn(bob)
	pass, file := secretFile(t, testPassphrase+"\r\nnot this line\n"), filepath.Join(t.TempDir(), "broker.age")
	stdout, _ := a.must(exitDone, "export", file, "--passphrase-file", pass)
	if !strings.Contains(stdout, "the sign-in of "+alice+", "+bob) || !strings.Contains(stdout, "conf.d/app.yaml") {
		t.Error(stdout)
	}
	if err := ownerfile.Audit(file); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !bytes.HasPrefix(text, []byte("age-encryption.org/v1\n-> scrypt ")) {
		t.Errorf("%v: %.40s", err, text)
	}
	s := &searched{t: t, bytes: map[string]int{}}
	s.look("the export", string(text), true)

	b := another(t, a, "")
	stdout, _ = b.must(exitDone, "import", file, "--passphrase-file", pass, "--dry-run")
	if !strings.Contains(stdout, "would be new") || !strings.Contains(stdout, "Nothing was changed.") {
		t.Error(stdout)
	}
	var done imported
	stdout, _ = b.must(exitDone, "import", file, "--passphrase-file", pass, "--output", "json")
	if err := json.Unmarshal([]byte(stdout), &done); err != nil {
		t.Fatal(err)
	}
	if len(done.Accounts) != 2 || len(done.Checks) != 2 || !done.Checks[0].OK || !done.Checks[1].OK || done.Resource != "graph" {
		t.Errorf("%+v", done)
	}
	b.start()
	for _, w := range []*world{b, a} {
		if stdout, _ := w.must(exitDone, "token", "--resource", "ews", "--account", bob); !strings.HasPrefix(stdout, "eyJ") {
			t.Error(stdout)
		}
	}
	stdout, _ = b.must(exitDone, "import", file, "--passphrase-file", pass) // once more, with a broker running
	if strings.Count(stdout, "kept")+strings.Count(stdout, "unchanged") != 2 || strings.Contains(stdout, "tokens are served") {
		t.Error(stdout)
	}
	if n := a.sb.Stats().SignIns; n != 2 {
		t.Errorf("%d sign-ins", n)
	}
	for name, w := range map[string]*world{"A": a, "B": b} {
		w.stop()
		s.look("the log of "+name, w.log.String(), true)
		s.files(w)
		if events := w.read("state/audit/audit.jsonl"); !strings.Contains(events, map[string]string{"A": `"event":"account.exported"`, "B": `"event":"account.imported"`}[name]) {
			t.Errorf("%s: no line in the audit log:\n%s", name, events)
		}
	}
	if !strings.Contains(a.log.String(), "sign-ins were exported") {
		t.Error("the log does not warn of the export")
	}
	s.looked("the export", "the log of A", "the log of B")
}

// A wrong passphrase and a damaged file lose nothing of what is there, broker or
// not.
func TestABadBackupLosesNothing(t *testing.T) {
	t.Parallel()
	a := newWorld(t, worldOptions{})
	a.ready()
	pass, dir := secretFile(t, testPassphrase), t.TempDir()
	file := filepath.Join(dir, "broker.age")
	a.must(exitDone, "export", file, "--passphrase-file", pass)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b := another(t, a, "")
	b.start()
	b.signIn(bob)
	bad := func(what, key string, content []byte, want string) {
		t.Helper()
		broken := filepath.Join(dir, "broken.age")
		if err := os.WriteFile(broken, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr := b.must(exitFailed, "import", broken, "--passphrase-file", key, "--replace")
		if !strings.Contains(stderr, want) || strings.Contains(stderr, "(invalid-request)") {
			t.Errorf("%s: %s", what, stderr)
		}
	}
	wrong := secretFile(t, testPassphrase+"!")
	for _, running := range []bool{true, false} {
		if !running {
			b.stop()
		}
		store, conf := tree(t, b.path("state/secrets")), tree(t, b.path("conf"))
		bad("a wrong passphrase", wrong, text, "The passphrase is not right")
		bad("no export", pass, []byte("hello"), "no export of a broker")
		bad("an empty file", pass, nil, "is empty")
		for at := 0; at < len(text); at += 1 + len(text)/12 {
			broken := bytes.Clone(text)
			broken[at] ^= 1
			bad("a damaged byte", pass, broken, "Nothing was changed")
			if at > 0 {
				bad("a file that was cut off", pass, text[:at], "Nothing was changed")
			}
		}
		same(t, "after bad files", b.path("state/secrets"), store)
		same(t, "after bad files", b.path("conf"), conf)
	}
	b.must(exitDone, "token", "--resource", "graph", "--account", bob)
	b.must(exitDone, "import", file, "--passphrase-file", pass)
	b.must(exitDone, "token", "--resource", "graph", "--account", alice)
	b.must(exitDone, "token", "--resource", "graph", "--account", bob)
}

// A machine where nothing is yet gets the configuration too, and the programs'
// keys go on working there.
func TestABackupBringsTheConfiguration(t *testing.T) {
	t.Parallel()
	a := newWorld(t, worldOptions{})
	a.ready()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "broker.age")
	a.must(exitDone, "export", file, "--recipient", id.Recipient().String())
	key := secretFile(t, "# created today\n"+id.String()+"\n")

	b := another(t, a, "")
	b.withoutSettings()
	stdout, _ := b.must(exitDone, "import", file, "--identity", key, "--dry-run")
	if !strings.Contains(stdout, "Would write the configuration: broker.yaml, conf.d/app.yaml") || len(tree(t, b.path("conf"))) != 1 {
		t.Error(stdout)
	}
	stdout, _ = b.must(exitDone, "import", file, "--identity", key)
	if !strings.Contains(stdout, "Wrote the configuration") || !strings.Contains(stdout, alice+": tokens are served.") {
		t.Error(stdout)
	}
	b.start()
	b.key = a.key
	b.token("graph")
	if _, stderr := b.must(exitUsage, "import", file, "--identity", key, "--replace-config"); !strings.Contains(stderr, "stop it first") {
		t.Error(stderr)
	}
	b.stop()
	b.write("conf/conf.d/more.yaml", "telemetry: {log_level: error}\n")
	b.must(exitDone, "import", file, "--identity", key, "--replace-config", "--no-check")
	if got := b.read("conf/conf.d/more.yaml.bak"); !strings.Contains(got, "error") || b.read("conf/broker.yaml") != a.read("conf/broker.yaml") {
		t.Error("the configuration was not replaced")
	}
}

// Where no broker can be made of the configuration that was just written, the
// person learns that it was.
func TestABackupWithoutABroker(t *testing.T) {
	t.Parallel()
	a := newWorld(t, worldOptions{})
	a.ready()
	pass, file := secretFile(t, testPassphrase), filepath.Join(t.TempDir(), "broker.age")
	a.must(exitDone, "export", file, "--passphrase-file", pass)
	b := another(t, a, "")
	b.withoutSettings()
	if err := os.RemoveAll(b.path("state")); err != nil {
		t.Fatal(err)
	}
	b.write("state", "a file, and no directory")
	if _, stderr := b.must(exitFailed, "import", file, "--passphrase-file", pass); !strings.Contains(stderr, "The configuration was written") {
		t.Error(stderr)
	}
	if err := os.Remove(b.path("state")); err != nil {
		t.Fatal(err)
	}
	b.must(exitDone, "import", file, "--passphrase-file", pass)
	if err := os.Remove(b.path("conf/broker.yaml")); err != nil { // as if it had been cut short: that file comes last
		t.Fatal(err)
	}
	stdout, _ := b.must(exitDone, "import", file, "--passphrase-file", pass)
	if !strings.Contains(stdout, "Wrote the configuration: "+b.path("conf/broker.yaml")) {
		t.Error(stdout)
	}
}

// withoutSettings removes the configuration, but for the certificate that it names.
func (w *world) withoutSettings() {
	w.t.Helper()
	for name := range tree(w.t, w.path("conf")) {
		if filepath.Base(name) == "ca.pem" {
			continue
		}
		if err := os.Remove(name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// What an import cannot do is said account by account, and the exit code tells.
func TestAnImportThatCannotDoAll(t *testing.T) {
	t.Parallel()
	a := newWorld(t, worldOptions{yaml: "accounts: {ops: {username: " + bob + "}}\n"})
	a.ready()
	v := a.begin(`{"account":"ops","flow":"browser"}`)
	if err := a.sb.Browse(t.Context(), v.VerificationURI, bob); err != nil {
		t.Fatal(err)
	}
	a.follow(v.ID)
	pass, file := secretFile(t, testPassphrase), filepath.Join(t.TempDir(), "broker.age")
	stdout, _ := a.must(exitDone, "export", file, "--passphrase-file", pass, "--account", "ops", "--account", bob)
	if !strings.Contains(stdout, "the sign-in of ops\n") {
		t.Errorf("one account under two names: %s", stdout)
	}
	a.must(exitDone, "export", file, "--passphrase-file", pass, "--no-config", "--force")

	b := another(t, a, "accounts: {ops: {username: carol@contoso.example}}\n")
	stdout, _ = b.must(exitFailed, "import", file, "--passphrase-file", pass)
	if !strings.Contains(stdout, "ops: Account ops is carol@contoso.example in the configuration here") || !strings.Contains(stdout, alice+": tokens are served.") {
		t.Error(stdout)
	}

	if err := a.sb.Revoke(alice); err != nil {
		t.Fatal(err)
	}
	c := another(t, a, "")
	stdout, _ = c.must(exitSignIn, "import", file, "--passphrase-file", pass)
	if !strings.Contains(stdout, alice+": imported, but no token could be had") || !strings.Contains(stdout, "sign-in-required") || !strings.Contains(stdout, bob+": tokens are served.") {
		t.Error(stdout)
	}

	d := another(t, a, "store: memory\n") // of a command alone, it holds nothing
	if _, stderr := d.must(exitSignIn, "export", filepath.Join(t.TempDir(), "x"), "--passphrase-file", pass); !strings.Contains(stderr, "nothing to export; run: broker login") {
		t.Error(stderr)
	}
	if code := (imported{}).verdict(); code != nil {
		t.Error(code)
	}
	if !slices.ContainsFunc([]httpapi.ImportedAccount{{Result: httpapi.ImportedAccountResultUpdated}}, tookEffect) {
		t.Error("an update takes no effect")
	}
}
