package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// policyKey is a key with values and, by name, the keys below it.
func policyKey(values map[string]any, keys ...any) PolicyKey {
	k := PolicyKey{Values: values, Keys: map[string]PolicyKey{}}
	for i := 0; i < len(keys); i += 2 {
		k.Keys[keys[i].(string)] = keys[i+1].(PolicyKey)
	}
	return k
}

type values = map[string]any

// governed is a Windows machine with that policy.
func (h home) governed(policy PolicyKey, environ ...string) Options {
	o := h.options(environ...)
	o.GOOS = "windows"
	o.Policy = func() (PolicyKey, error) { return policy, nil }
	return o
}

func TestPolicyPrecedence(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal + "listen: 127.0.0.1:2\ntelemetry: {log_level: warn}\n" +
		"accounts: {ops: {username: ops@contoso.com}}\ndialects: {azd: true}\n"})
	o := h.governed(policyKey(values{
		"Listen": "127.0.0.1:1", "Store": "file", "tenant": "contoso.com", "dialects.azd": uint64(0), "dialects.sidecar": "false",
		"pipe": `\\.\pipe\m365`, "pipe_users": []string{`CONTOSO\svc-crm`, `CONTOSO\mail programs`}, "": "",
		"telemetry.log_format": "json",
	},
		"Accounts", policyKey(nil,
			"Ops", policyKey(values{"username": "other@contoso.com", "client_id": appID}),
			"archive", policyKey(values{"Username": "archive@contoso.com"})),
		"MAPI", policyKey(nil, "archive", policyKey(values{"profile": "Outlook", "probe": uint64(1)})),
		"resources", policyKey(nil, "crm", policyKey(values{"scopes": []string{"api://crm/a", "api://crm/b"}})),
		"mandatory", policyKey(values{"telemetry.log_level": "debug", "notify.command": []string{}, "client_id": guid},
			"accounts", policyKey(nil, "ops", policyKey(values{"tenant": "fabrikam.com"}))),
	), "BROKER_TELEMETRY_LOG_LEVEL=info", "BROKER_STORE=memory")
	o.Flags = []Override{{"--set", "telemetry.log_level", "error"}, {"--set", "accounts.ops.client_id", guid}}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range l.Explain() {
		got[s.Key] = s.Value + " from " + h.plain(s.Source)
	}
	const policy = `HKLM\SOFTWARE\Policies\M365TokenBroker`
	want := map[string]string{
		"listen":                    "127.0.0.1:2 from broker.yaml:3",
		"store":                     "memory from BROKER_STORE",
		"dialects.azd":              "true from broker.yaml:6",
		"dialects.sidecar":          "false from " + policy + " (policy)",
		"dialects.managed_identity": "true from default",
		"pipe_users":                `[CONTOSO\svc-crm, CONTOSO\mail programs] from ` + policy + " (policy)",
		"telemetry.log_format":      "json from " + policy + " (policy)",
		"telemetry.log_level":       "debug from " + policy + `\mandatory (mandatory policy)`,
		"client_id":                 guid + " from " + policy + `\mandatory (mandatory policy)`,
		"accounts.ops.username":     "ops@contoso.com from broker.yaml:5",
		"accounts.ops.client_id":    guid + " from --set",
		"accounts.ops.tenant":       "fabrikam.com from " + policy + `\mandatory\accounts\ops (mandatory policy)`,
		"accounts.archive.username": "archive@contoso.com from " + policy + `\Accounts\archive (policy)`,
		"mapi.archive.profile":      "Outlook from " + policy + `\MAPI\archive (policy)`,
		"mapi.archive.probe":        "true from " + policy + `\MAPI\archive (policy)`,
		"mapi.archive.notice":       "true from default",
		"resources.crm.scopes":      "[api://crm/a, api://crm/b] from " + policy + `\resources\crm (policy)`,
	}
	for k, w := range want {
		if got[k] != w {
			t.Errorf("%s = %q, want %q", k, got[k], w)
		}
	}
	var warnings []string
	for _, w := range l.Warnings {
		warnings = append(warnings, h.plain(w))
	}
	ignored := func(place, setting string) string {
		return place + ": " + setting + ": is ignored, because " + policy + `\mandatory\` + setting + " sets it for this machine; remove it here, or have the policy changed"
	}
	if diff := cmp.Diff([]string{
		ignored("broker.yaml:2", "client_id"), ignored("broker.yaml:4", "telemetry.log_level"),
		ignored("BROKER_TELEMETRY_LOG_LEVEL", "telemetry.log_level"), ignored("--set", "telemetry.log_level"),
	}, warnings); diff != "" {
		t.Error(diff)
	}
}

// TestPolicyIsEnough: a machine needs no file where the policy says all.
func TestPolicyIsEnough(t *testing.T) {
	h := newHome(t, nil)
	o := h.governed(policyKey(values{"tenant": guid, "client_id": appID}), h.userEnv()...)
	o.ConfigPath = ""
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
}

func TestPolicyProblems(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	const root = `HKLM\SOFTWARE\Policies\M365TokenBroker\`
	for _, c := range []struct {
		policy PolicyKey
		want   string
	}{
		{policyKey(values{"listen": "0.0.0.0:1"}), `listen: 0.0.0.0 would listen on every network interface; ` + listenRule},
		{policyKey(values{"tennant": "x"}), `tennant: is no setting of the broker; did you mean "tenant"?`},
		{policyKey(values{"log_level": "x"}), `log_level: is no setting of the broker; did you mean "telemetry.log_level"?`},
		{policyKey(values{"zzzzzz": "x"}), "zzzzzz: is no setting of the broker; value names are the settings that `broker config check` shows, such as telemetry.log_level"},
		{policyKey(values{"": "x"}), ": is no setting of the broker; value names are the settings that `broker config check` shows, such as telemetry.log_level"},
		{policyKey(values{"accounts.ops.username": "x@y.com"}), `accounts.ops.username: is no value of the policy; entries of accounts are keys: make accounts\NAME, with values such as username`},
		{policyKey(values{"store": "vault"}), `store: "vault" is not one of auto, wincred, secret-service, file or memory`},
		{policyKey(values{"store": uint64(1)}), `store: is a number, but must be text (REG_SZ)`},
		{policyKey(values{"store": []string{"auto"}}), `store: is a list, but must be text (REG_SZ)`},
		{policyKey(values{"tenant": PolicyType("REG_BINARY")}), `tenant: is a REG_BINARY, but must be text (REG_SZ)`},
		{policyKey(values{"dialects.azd": uint64(2)}), `dialects.azd: is 2, but must be 1 (true) or 0 (false)`},
		{policyKey(values{"dialects.azd": "no"}), `dialects.azd: must be true or false`},
		{policyKey(values{"dialects.azd": []string{}}), `dialects.azd: is a list, but must be 1 or 0 (REG_DWORD), or the text true or false (REG_SZ)`},
		{policyKey(values{"pipe_users": "a"}), `pipe_users: is text, but must be a list (REG_MULTI_SZ, one line for each)`},
		{policyKey(values{"pipe_users": uint64(1)}), `pipe_users: is a number, but must be a list (REG_MULTI_SZ)`},
		{policyKey(values{"notify.command": []string{`C:\x.exe`, " y"}}), `notify.command: notify.command[1]: begins or ends with a space; remove it`},
		{policyKey(values{"ca_file": `corporate.pem`}), `ca_file: "corporate.pem" is a relative path, which means nothing in a policy; write it in full`},
		{policyKey(values{"proxy_url": "http://u:hunter2@proxy:8080"}), `proxy_url: holds a user name or password, and every user of this machine can read its policy; set such an address in broker.yaml or the environment instead`},
		{policyKey(nil, "Telemetry", policyKey(nil)), `Telemetry: is no key of the policy; write its settings as values of HKLM\SOFTWARE\Policies\M365TokenBroker, with the section's name and a dot before them, such as telemetry.log_level`},
		{policyKey(nil, "Mandatry", policyKey(nil)), `Mandatry: is no key of the policy; did you mean "Mandatory"?`},
		{policyKey(nil, "listen", policyKey(nil)), `listen: is no key of the policy; there can be Mandatory, accounts, resources, consumers or mapi`},
		{policyKey(nil, "Mandatory", policyKey(nil, "Mandatory", policyKey(nil))), `Mandatory\Mandatory: is no key of the policy; there can be accounts, resources, consumers or mapi`},
		{policyKey(nil, "Mandatory", policyKey(values{"cloud": "moon"})), `Mandatory\cloud: "moon" is not one of global, gcchigh, dod or china`},
		{policyKey(nil, "Accounts", policyKey(values{"ops": "x"})), `Accounts\ops: is no value of the policy; entries of accounts are keys below this one, such as accounts\NAME`},
		{policyKey(nil, "Accounts", policyKey(nil, "a b", policyKey(nil))), `Accounts\a b: cannot be a name; ` + nameRule},
		{policyKey(nil, "Accounts", policyKey(nil, "ops", policyKey(values{"user_name": "x"}))), `Accounts\ops\user_name: accounts.ops.user_name: unknown key; did you mean "username"?`},
		{policyKey(nil, "Accounts", policyKey(nil, "ops", policyKey(nil, "x", policyKey(nil)))), `Accounts\ops\x: is no key of the policy; an entry has values only`},
	} {
		_, err := Load(h.governed(c.policy))
		if err == nil || err.Error() != root+c.want {
			t.Errorf("got  %v\nwant %s", err, root+c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Error("the text holds a password")
		}
	}
}

// TestPolicyProblemsInOrder: they are told in the order in which settings are read.
func TestPolicyProblemsInOrder(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": "store: x1\n"})
	_, err := Load(h.governed(policyKey(values{"store": "x0"}, "Mandatory", policyKey(values{"store": "x3"})), "BROKER_STORE=x2"))
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Problems) != 4 {
		t.Fatalf("got %v", err)
	}
	for i, kind := range []SourceKind{FromPolicy, FromFile, FromEnv, FromMandatory} {
		if got := e.Problems[i].Where.Kind; got != kind {
			t.Errorf("problem %d is of %s, want %s", i, got, kind)
		}
	}
}

// TestPolicyLimitsEntry: what is wrong with an entry of a file is that file's fault,
// though the policy sets a part of it.
func TestPolicyLimitsEntry(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal + "consumers:\n  crm: {}\n"})
	_, err := Load(h.governed(policyKey(nil, "Mandatory", policyKey(nil, "Consumers", policyKey(nil, "crm", policyKey(values{"rate": "5/s"}))))))
	if err == nil || !strings.HasPrefix(h.plain(err.Error()), "broker.yaml:4: consumers.crm: has no key_sha256") {
		t.Errorf("got %v", err)
	}
}

// TestPolicyPage: what docs/policy.md has people type makes a good policy.
func TestPolicyPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	root := policyKey(values{})
	lines := 0
	command := regexp.MustCompile(`(?m)^reg add HKLM\\SOFTWARE\\Policies\\M365TokenBroker(\S*) /v (\S+) /t (\S+) /d (\S+) /f\r?$`)
	for _, m := range command.FindAllStringSubmatch(string(page), -1) {
		lines++
		k := root
		for _, name := range strings.Split(m[1], `\`)[1:] {
			if _, ok := k.Keys[name]; !ok {
				k.Keys[name] = policyKey(values{})
			}
			k = k.Keys[name]
		}
		switch m[3] {
		case "REG_SZ":
			k.Values[m[2]] = m[4]
		case "REG_MULTI_SZ":
			k.Values[m[2]] = strings.Split(m[4], `\0`)
		case "REG_DWORD":
			k.Values[m[2]] = uint64(m[4][0] - '0')
		}
	}
	if all := strings.Count(string(page), "\nreg add "); lines == 0 || lines != all {
		t.Errorf("%d of %d commands are understood here", lines, all)
	}
	// The page limits a consumer that a file defines.
	h := newHome(t, map[string]string{"broker.yaml": "consumers: {crm: {key_sha256: [" + digest("a") + "]}}\n"})
	l, err := Load(h.governed(root))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
	if got := l.Config.Consumers["crm"].Rate.String(); got != "50/s" || len(l.Config.PipeUsers) != 2 || l.Config.Dialects.AZD {
		t.Errorf("rate %s, pipe users %q, azd %v", got, l.Config.PipeUsers, l.Config.Dialects.AZD)
	}
}

func TestPolicyUnreadable(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	o := h.options()
	o.Policy = func() (PolicyKey, error) { return PolicyKey{}, fs.ErrPermission }
	_, err := Load(o)
	want := `HKLM\SOFTWARE\Policies\M365TokenBroker: cannot be read: the broker's user has no permission; let the broker's user read this key`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestPolicyMayHoldSecret: what looks like a token in an address is worth a look.
func TestPolicyMayHoldSecret(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	for url, want := range map[string]int{
		"https://hooks.example.com/broker":                       0,
		"https://hooks.example.com/broker?sig=hunter2":           1,
		"https://hooks.example.com/T0/hunter2hunter2hunter2hun2": 1,
	} {
		l, err := Load(h.governed(policyKey(values{"notify.webhook": url})))
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Warnings) != want || strings.Contains(strings.Join(l.Warnings, ""), "hunter2") {
			t.Errorf("%s: warnings %q, want %d", url, l.Warnings, want)
		}
	}
}

// TestPolicyConsumer: a consumer of the policy is not the broker's to change; one
// that the policy only limits is.
func TestPolicyConsumer(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	l, err := Load(h.governed(policyKey(nil,
		"Consumers", policyKey(nil, "crm", policyKey(values{"key_sha256": []string{digest("a")}})),
		"Mandatory", policyKey(nil, "Consumers", policyKey(nil, "crm", policyKey(values{"rate": "5/s"}), "erp", policyKey(values{"rate": "5/s", "key_sha256": []string{digest("b")}}))),
	)))
	if err != nil {
		t.Fatal(err)
	}
	if l.Config.Consumers["crm"].Rate.String() != "5/s" {
		t.Errorf("crm is %+v", l.Config.Consumers["crm"])
	}
	const want = `Consumer crm is defined by the policy of this machine, in HKLM\SOFTWARE\Policies\M365TokenBroker\Consumers\crm\key_sha256; have it changed there.`
	if _, err := l.SaveConsumer("crm", Consumer{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("save: %v", err)
	}
	if err := l.RemoveConsumer("erp"); err == nil || !strings.Contains(err.Error(), `Mandatory\Consumers\erp`) {
		t.Errorf("remove: %v", err)
	}
	if _, err := l.SaveConsumer("dms", Consumer{KeySHA256: []string{digest("c")}}); err != nil {
		t.Errorf("another one: %v", err)
	}
}

// TestInitHeedsNoPolicy: what `broker init` writes is good by itself.
func TestInitHeedsNoPolicy(t *testing.T) {
	root, err := Options{alone: true, Policy: func() (PolicyKey, error) { panic("asked") }}.readPolicy()
	if err != nil || len(root.Values) > 0 {
		t.Errorf("got %v, %v", root, err)
	}
}

func TestWatchPolicy(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	readings := make(chan PolicyKey)
	level := func(s string) PolicyKey { return policyKey(values{"telemetry.log_level": s}) }
	last := level("info")
	o := h.governed(last)
	o.Policy = func() (PolicyKey, error) {
		select {
		case last = <-readings:
		default:
		}
		return last, nil
	}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	w := watchingOf(t, l)
	w.every, w.settle = 1, 1
	w.run()
	readings <- level("debug")
	if got := next(t, w.applied, "a new policy"); got[0].String() != `telemetry.log_level: "info" -> "debug"` {
		t.Errorf("changes %v", got)
	}
	readings <- policyKey(values{"telemetry.log_levl": "x"})
	if err := next(t, w.refused, "a refusal"); !strings.Contains(err.Error(), `did you mean "telemetry.log_level"?`) {
		t.Errorf("refused with %v", err)
	}
	if got := w.Current().Config.Telemetry.LogLevel; got != "debug" {
		t.Errorf("the old policy is not in force: %s", got)
	}
	readings <- level("warn")
	if err := next(t, w.refused, "the end of the refusal"); err != nil {
		t.Errorf("told again: %v", err)
	}
}

// TestPolicyStep: while Windows writes the policy anew, half of it is not obeyed.
func TestPolicyStep(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	var now PolicyKey
	var fault error
	o := h.governed(now)
	o.Policy = func() (PolicyKey, error) { return now, fault }
	now = policyKey(values{"telemetry.log_level": "debug", "telemetry.log_format": "json"})
	whole := now
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	w := watchingOf(t, l)
	for i, step := range []struct {
		now  PolicyKey
		err  error
		soon bool
	}{
		{now: whole},
		{now: PolicyKey{}, soon: true}, // being written
		{now: policyKey(values{"telemetry.log_level": "debug"}), soon: true},
		{now: whole}, // as before
		{err: fs.ErrPermission},
		{now: PolicyKey{}, soon: true},
		{now: PolicyKey{}}, // taken away for good
	} {
		now, fault = step.now, step.err
		if wait := w.policyStep(t.Context()); (wait == policySettle) != step.soon {
			t.Errorf("step %d: next look in %s", i, wait)
		}
	}
	if len(w.applied) != 1 {
		t.Errorf("%d changes, want 1", len(w.applied))
	}
}

// TestFilesChangeWhilePolicyIsWritten: what half of a policy says is not obeyed
// either when something else is the reason to read the settings again.
func TestFilesChangeWhilePolicyIsWritten(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	now := policyKey(nil, "Mandatory", policyKey(values{"telemetry.log_level": "debug"}))
	var fault error
	o := h.governed(now)
	o.Policy = func() (PolicyKey, error) { return now, fault }
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	w := watchingOf(t, l)
	take := func(level LogLevel) {
		t.Helper()
		if err := w.take(t.Context()); err != nil || w.Current().Config.Telemetry.LogLevel != level {
			t.Errorf("%v; the level is %s, want %s", err, w.Current().Config.Telemetry.LogLevel, level)
		}
	}
	now = PolicyKey{} // being written
	h.write("conf.d/ops.yaml", "accounts: {ops: {}}\n")
	take("debug")
	fault = fs.ErrPermission
	h.write("conf.d/dev.yaml", "accounts: {dev: {}}\n")
	take("debug")
	fault = nil // taken away for good
	for range 2 {
		w.policyStep(t.Context())
	}
	take("info")
	now = policyKey(values{"tennant": "x"})
	for range 2 {
		w.policyStep(t.Context())
	}
	h.write("conf.d/test.yaml", "accounts: {test: {}}\n")
	if err := w.take(t.Context()); err == nil {
		t.Error("a change of a file is taken for the end of a wrong policy")
	}
	now = PolicyKey{} // as it was
	for range 2 {
		w.policyStep(t.Context())
	}
	take("info")
	if first, second := <-w.refused, <-w.refused; first == nil || second != nil {
		t.Errorf("refused: %v, then %v", first, second)
	}
}

// TestSchema: what templates are made from is what the parser knows.
func TestSchema(t *testing.T) {
	all := Schema()
	find := func(k string) Known {
		i := slices.IndexFunc(all, func(x Known) bool { return x.Key == k })
		if i < 0 {
			t.Fatalf("no %s", k)
		}
		return all[i]
	}
	for _, want := range []Known{
		{Key: "listen", Form: KnownText, Default: DefaultListen, Example: DefaultListen, Restart: true},
		{Key: "cloud", Form: KnownText, Values: []string{"global", "gcchigh", "dod", "china"}, Default: "global", Restart: true},
		{Key: "proxy_url", Form: KnownText, Example: "http://proxy.example.com:8080", Secret: true, Restart: true},
		{Key: "audit.event_log", Form: KnownSwitch, Default: "false", Example: "true"},
		{Key: "notify.command", Form: KnownList, Example: "[/opt/hooks/tell, --team, mail]"},
	} {
		got := find(want.Key)
		if len(got.Values) == 0 {
			got.Values = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzPolicy: whatever stands in the registry is refused or can be shown.
func FuzzPolicy(f *testing.F) {
	f.Add("listen", "127.0.0.1:1", uint64(0), "ops", "username")
	f.Add("pipe_users", "a\nb", uint64(1), "A b", "scopes")
	f.Add("telemetry.log_level", "\x00", uint64(2), "", "")
	dir := f.TempDir()
	path := filepath.Join(dir, "broker.yaml")
	f.Fuzz(func(t *testing.T, name, text string, number uint64, entry, inner string) {
		if len(name)+len(text)+len(entry)+len(inner) > 1000 {
			return // the registry's names have 255 characters
		}
		for _, value := range []any{text, number, strings.Split(text, "\n"), PolicyType("REG_BINARY"), nil} {
			part := policyKey(values{name: value}, "Accounts", policyKey(nil, entry, policyKey(values{inner: value})),
				"Resources", policyKey(nil, entry, policyKey(values{inner: value})), name, policyKey(nil))
			for _, root := range []PolicyKey{part, policyKey(nil, "Mandatory", part)} {
				o := Options{
					ConfigPath: path, StateDir: dir, GOOS: "windows", replace: map[string][]byte{path: []byte(minimal)},
					Policy: func() (PolicyKey, error) { return root, nil },
				}
				l, err := Load(o)
				if err == nil {
					l.Explain()
				} else if e, ok := errors.AsType[*Error](err); !ok || len(e.Problems) == 0 {
					t.Fatalf("a defect of ours: %v", err)
				}
			}
		}
	})
}
