package config

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPrecedence(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml":      minimal + "listen: 127.0.0.1:1\nstore: file\ntelemetry: {log_level: warn}\naccounts: {ops: {username: ops@contoso.com}}\n",
		"conf.d/10-a.yaml": "listen: 127.0.0.1:2\nresources: {graph: {base_url: \"https://proxy.contoso.com/graph\"}}\n",
		"conf.d/20-b.yaml": "listen: 127.0.0.1:3\naccounts: {dev: {username: dev@contoso.com}}\n",
	})
	o := h.options("BROKER_LISTEN=127.0.0.1:4", "BROKER_DIALECTS_AZD=false", "BROKER_STORE=", "OTHER=x",
		"BROKER_CONFIG=ignored", "BROKER_STATE_DIR=ignored", "BROKER_KEY=brk_hunter2", "BROKER_URL=http://x")
	o.Flags = []Override{
		{"--listen", "listen", "127.0.0.1:5"}, {"--set", "resources.x.y.scopes", "https://a.com/r,https://a.com/s"}, {"--set", "telemetry.log_format", "json"},
	}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range l.Explain() {
		got[s.Key] = s.Value + " from " + h.plain(s.Source)
	}
	want := map[string]string{
		"listen":                   "127.0.0.1:5 from --listen",
		"cloud":                    "global from default",
		"tenant":                   guid + " from broker.yaml:1",
		"store":                    "file from broker.yaml:4",
		"authority":                " from default",
		"accounts.ops.username":    "ops@contoso.com from broker.yaml:6",
		"accounts.dev.username":    "dev@contoso.com from conf.d/20-b.yaml:2",
		"resources.graph.base_url": "https://proxy.contoso.com/graph from conf.d/10-a.yaml:2",
		"resources.graph.scopes":   "[https://graph.microsoft.com/.default] from built in for cloud global",
		"resources.x.y.scopes":     "[https://a.com/r, https://a.com/s] from --set",
		"dialects.azd":             "false from BROKER_DIALECTS_AZD",
		"telemetry.log_level":      "warn from broker.yaml:5",
		"telemetry.log_format":     "json from --set",
	}
	for k, w := range want {
		if got[k] != w {
			t.Errorf("%s = %q, want %q", k, got[k], w)
		}
	}
	if len(l.Files) != 3 {
		t.Errorf("files %q", l.Files)
	}
}

func TestExplainRedacts(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": "consumers: {c: {key_sha256: [" + digest("a") + "], rate: 5/s}}\n"})
	o := h.options("BROKER_PROXY_URL=http://user:hunter2@proxy.example.com:8080")
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range l.Explain() {
		if strings.Contains(s.Value, "hunter2") || strings.Contains(s.Value, digest("a")) {
			t.Errorf("%s shows a secret", s.Key)
		}
		got[s.Key] = s.Value
	}
	want := map[string]string{
		"proxy_url":               "http://[redacted]@proxy.example.com:8080",
		"consumers.c.key_sha256":  "[aaaaaaaa…]",
		"consumers.c.rate":        "5/s",
		"consumers.c.executable":  "",
		"consumers.c.metrics":     "false",
		"telemetry.log_format":    "auto",
		"resources.imap.base_url": "",
	}
	for k, w := range want {
		if v, ok := got[k]; !ok || v != w {
			t.Errorf("%s = %q, want %q", k, v, w)
		}
	}
}

// TestOneHome: an account, a consumer and a MAPI target are defined in one file.
func TestOneHome(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml":   "accounts:\n  ops: {}\nmapi:\n  a: {profile: x}\n",
		"conf.d/a.yaml": "accounts: {ops: {}}\nconsumers:\n  crm: {key_sha256: []}\nmapi: {a: {profile: y}}\n",
		"conf.d/b.yaml": "consumers: {crm: {key_sha256: []}}\n",
	})
	_, err := Load(h.options())
	want := "conf.d/a.yaml:1: accounts.ops: is already defined in broker.yaml:2; keep one of the two\n" +
		"conf.d/a.yaml:4: mapi.a: is already defined in broker.yaml:4; keep one of the two\n" +
		"conf.d/b.yaml:1: consumers.crm: is already defined in conf.d/a.yaml:3; keep one of the two"
	if err == nil || h.plain(err.Error()) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestConfigFileMissing(t *testing.T) {
	h := newHome(t, nil)
	_, err := Load(h.options())
	want := "broker.yaml: does not exist; write it with `broker init --config broker.yaml`, or name another file"
	if err == nil || h.plain(err.Error()) != want {
		t.Errorf("named: got %v", err)
	}
	l, err := Load(Options{Environ: h.userEnv()})
	if err != nil {
		t.Fatalf("default place: %v", err)
	}
	file := l.Places.ConfigFile
	want = file + ": tenant: is not set; run `broker init`, which asks for it and writes this file (or set BROKER_TENANT)\n" +
		file + ": client_id: is not set; run `broker init`, which asks for it and writes this file (or set BROKER_CLIENT_ID)"
	if err := l.Ready(); err == nil || err.Error() != want {
		t.Errorf("Ready: got %v", err)
	}
	l, err = Load(Options{Environ: h.userEnv("BROKER_TENANT=contoso.com", "BROKER_CLIENT_ID="+appID)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("the environment gives the rest: %v", err)
	}
}

func TestConfigFileUnreadable(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml/x": ""})
	if _, err := Load(h.options()); err == nil || h.plain(err.Error()) != "broker.yaml: cannot be read: it is a directory" {
		t.Errorf("got %v", err)
	}
}

// TestWindowsEnvironment: names are without case there.
func TestWindowsEnvironment(t *testing.T) {
	h := newHome(t, map[string]string{"b.yaml": minimal})
	l, err := Load(Options{GOOS: "windows", StateDir: h.dir, Environ: []string{"Broker_Config=" + h.path("b.yaml"), "broker_store=wincred"}})
	if err != nil {
		t.Fatal(err)
	}
	if l.Config.Store != StoreWincred {
		t.Errorf("store %q", l.Config.Store)
	}
	_, err = Load(Options{GOOS: "windows", StateDir: h.dir, ConfigPath: h.path("b.yaml"), Environ: []string{"BROKER_STORE=secret-service"}})
	want := `BROKER_STORE: store: "secret-service" is the keyring of Linux desktops, and this is windows; use "auto"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml":  "authority: https://h\ntenant: mytokens\nconsumers:\n  a: {key_sha256: [], resources: [graph]}\n  b: {key_sha256: [" + digest("b") + "], accounts: [o@x.com], executable: /opt/b}\n",
		"conf.d/x.yml": "",
	})
	if runtime.GOOS != "windows" {
		if err := os.Chmod(h.path("broker.yaml"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got := h.load().Warnings
	for i := range got {
		got[i] = h.plain(got[i])
	}
	want := []string{
		"conf.d/x.yml: is not read; drop-ins end in .yaml, so rename it",
		"broker.yaml: can be changed by every user of this machine; it decides where tokens go, so take write permission away from others",
		`broker.yaml:2: tenant: holds the word "token", which the Microsoft library replaces in addresses; should sign-in by device code fail, use the tenant's ID`,
		"broker.yaml:4: consumers.a: is locked out, because key_sha256 is empty",
		"broker.yaml:4: consumers.a: has resources but no accounts, so that it can get no token; add accounts: [NAME]",
		"broker.yaml:5: consumers.b: has accounts but no resources, so that it can get no token; add resources: [graph]",
	}
	if runtime.GOOS == "windows" {
		want = append(want[:1], want[2:]...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTrust: a machine-wide file of somebody else's is not obeyed.
func TestTrust(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() != 0 {
		t.Skip("needs root, to give a file away")
	}
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	if err := os.Chown(h.path("broker.yaml"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	l := h.load()
	want := []string{"broker.yaml: belongs to user 12345; it decides where tokens go, so it should belong to you or to an administrator"}
	if len(l.Warnings) != 1 || h.plain(l.Warnings[0]) != want[0] {
		t.Errorf("warnings %q", l.Warnings)
	}
	r := &reader{bad: map[key]bool{}}
	r.trust(Source{Kind: FromFile, Name: h.path("broker.yaml")}, true)
	if len(r.problems) != 1 {
		t.Errorf("a planted machine-wide file is obeyed")
	}
}

func TestDiff(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml":   minimal + "proxy_url: http://u:one@p\naccounts: {ops: {username: ops@contoso.com}}\n",
		"conf.d/a.yaml": "consumers: {a: {key_sha256: [], rate: 5/s}}\n",
	})
	before := h.load()
	began := time.Now()
	h.write("broker.yaml", minimal+"proxy_url: http://u:two@p\nlisten: 127.0.0.1:1\naccounts: {ops: {username: oz@contoso.com}}\ntelemetry: {log_level: debug}\n")
	h.write("conf.d/a.yaml", "consumers: {a: {key_sha256: [], rate: 6/s}}\n")
	after, err := before.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if before.ReadOn.After(began) || after.ReadOn.Before(began) {
		t.Errorf("read on %v and %v, with a change between at %v", before.ReadOn, after.ReadOn, began)
	}
	want := []Change{
		{"accounts.ops.username", "ops@contoso.com", "oz@contoso.com", false},
		{"consumers.a.rate", "5/s", "6/s", false},
		{"listen", "127.0.0.1:8477", "127.0.0.1:1", true},
		{"proxy_url", "http://[redacted]@p", "http://[redacted]@p", true},
		{"telemetry.log_level", "info", "debug", false},
	}
	if diff := cmp.Diff(want, Diff(before, after)); diff != "" {
		t.Error(diff)
	}
	h.write("broker.yaml", minimal+"cloud: china\n")
	moved, err := after.Reload()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Diff(after, moved) {
		if want := strings.HasPrefix(c.Key, "resources.") || NeedsRestart(c.Key); c.Restart != want {
			t.Errorf("%s: restart %v with another cloud", c.Key, c.Restart)
		}
	}
	if got := Diff(after, after); len(got) != 0 {
		t.Errorf("nothing changed, but %v", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(contractExample))
	for _, s := range []string{
		minimal, "", "a: [", "? a\n: b", "<<: {a: b}", "- - - a", "consumers: {a: {key_sha256: [x]}}", "tenant: *a", "x: &a [*a]",
		"tenant: |\n  a\n  b", "%YAML 1.2\n---\nstore: file\n...", "accounts: {1.5: {}, null: {}, true: {}}", "resources: {x: {scopes: [a/b, !x c]}}",
		"\xef\xbb\xbfstore: file", "listen: \"[::1%lo]:1\"", "consumers: {a: {rate: 99999999999999999999/s}}", "{\"listen\": \"127.0.0.1:0\"}",
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	path := dir + "/broker.yaml"
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		o := Options{ConfigPath: path, StateDir: dir, GOOS: "linux", replace: map[string][]byte{path: data}, alone: true}
		l, err := Load(o)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Problems) == 0 {
				t.Fatalf("a defect of ours: %v", err)
			}
			return
		}
		// What was accepted is valid: it can be explained and compared, and is
		// its own reload.
		l.Explain()
		again, err := l.Reload()
		if err != nil || len(Diff(l, again)) != 0 {
			t.Fatalf("reload: %v", err)
		}
	})
}
