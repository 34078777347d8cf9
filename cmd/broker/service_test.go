package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// scriptedManager is a service manager that a test plays. It has one service at
// most, and answers as Windows does.
type scriptedManager struct {
	spec   *lifecycle.ServiceSpec
	facts  lifecycle.ServiceFacts
	tuned  []lifecycle.ServiceSetting
	refuse map[lifecycle.ServiceSetting]uint32
	ends   *lifecycle.ServiceFacts // how a start goes wrong
	denied bool
	stuck  bool // it does not stop
}

func (m *scriptedManager) error(op string, code uint32) error {
	return &lifecycle.ManagerError{Op: op, Name: serviceName, Code: code, Err: errors.New("refused")}
}

func (m *scriptedManager) Look(string) (lifecycle.ServiceFacts, error) {
	if m.spec == nil {
		return lifecycle.ServiceFacts{}, m.error("look at the service", lifecycle.CodeNoService)
	}
	return m.facts, nil
}

func (m *scriptedManager) Put(spec lifecycle.ServiceSpec) (made bool, err error) {
	if m.denied {
		return false, m.error("install the service", lifecycle.CodeAccessDenied)
	}
	made = m.spec == nil
	if made {
		m.facts = lifecycle.ServiceFacts{State: lifecycle.ServiceStopped, Win32: win32NeverStarted}
	}
	if spec.Account != "" {
		m.facts.Account = spec.Account
	}
	m.facts.Start, m.facts.Command = spec.Start, strings.Join(append([]string{spec.Program}, spec.Args...), " ")
	m.spec = &spec
	return made, nil
}

func (m *scriptedManager) Tune(_ string, t lifecycle.ServiceTuning) error {
	if code := m.refuse[t.Setting]; code != 0 {
		return m.error("set "+string(t.Setting), code)
	}
	m.tuned = append(m.tuned, t.Setting)
	return nil
}

func (m *scriptedManager) Order(_ string, o lifecycle.ServiceOrder) error {
	op := string(o) + " the service"
	runs := m.facts.State == lifecycle.ServiceRunning
	switch {
	case m.spec == nil:
		return m.error(op, lifecycle.CodeNoService)
	case o == lifecycle.OrderStart && runs:
		return m.error(op, lifecycle.CodeRunning)
	case o == lifecycle.OrderStart && m.ends != nil:
		m.facts.State, m.facts.Win32, m.facts.Code = lifecycle.ServiceStopped, m.ends.Win32, m.ends.Code
	case o == lifecycle.OrderStart:
		m.facts.State, m.facts.PID, m.facts.Win32 = lifecycle.ServiceRunning, 4711, 0
	case o == lifecycle.OrderStop && m.stuck:
		return m.error(op, lifecycle.CodeAccessDenied)
	case o == lifecycle.OrderStop && !runs:
		return m.error(op, lifecycle.CodeNotActive)
	case o == lifecycle.OrderStop:
		m.facts.State, m.facts.PID = lifecycle.ServiceStopped, 0
	case o == lifecycle.OrderDelete:
		m.spec = nil
	}
	return nil
}

// serviceWorld is a machine for `broker service`.
type serviceWorld struct {
	t       *testing.T
	dir     string // %ProgramData%
	manager *scriptedManager
	tools   serviceTools
	did     []string
	out     bytes.Buffer
}

func newServiceWorld(t *testing.T) *serviceWorld {
	w := &serviceWorld{t: t, dir: t.TempDir(), manager: &scriptedManager{}}
	note := func(format string, args ...any) error {
		w.did = append(w.did, fmt.Sprintf(format, args...))
		return nil
	}
	w.tools = serviceTools{
		manager: w.manager, program: func() (string, error) { return "broker.exe", nil },
		sid: func(account string) (string, error) {
			if account == `.\nobody` {
				return "", errors.New("no such account")
			}
			return "SID(" + account + ")", nil
		},
		allowLogon: func(sid string) error { return note("logon %s", sid) },
		share: func(dir string, a ownerfile.Access) error {
			return note("share %s %v", dir[strings.LastIndexAny(dir, `/\`)+1:], a)
		},
		eventSource: func(install bool) error { return note("events %v", install) },
		agent:       func(_ *options, install bool) error { return note("agent %v", install) },
	}
	return w
}

// run runs one command line, and returns what it printed and its exit code.
func (w *serviceWorld) run(args ...string) (string, int) {
	w.t.Helper()
	w.out.Reset()
	w.did = nil
	environ := []string{"ProgramData=" + w.dir, "HOME=" + w.dir, "BROKER_CONFIG=" + filepath.Join(w.dir, "broker.yaml"), "BROKER_STATE_DIR=" + filepath.Join(w.dir, "state")}
	env := environment{environ: environ, stdin: strings.NewReader(""), stdout: &w.out, stderr: &w.out, getenv: func(name string) string {
		for _, pair := range environ {
			if v, ok := strings.CutPrefix(pair, name+"="); ok {
				return v
			}
		}
		return ""
	}}
	root := newRoot(env)
	o := &options{env: env}
	for _, cmd := range root.Commands() {
		if cmd.Name() == "service" {
			root.RemoveCommand(cmd)
		}
	}
	cmd := newServiceWith(&services{o: o, tools: w.tools, name: serviceName})
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"service"}, args...))
	err := root.ExecuteContext(context.Background())
	report(&w.out, err)
	return w.out.String(), exitCode(err)
}

// want runs a command and looks for texts in what it printed.
func (w *serviceWorld) want(code int, args []string, texts ...string) {
	w.t.Helper()
	out, got := w.run(args...)
	if got != code {
		w.t.Errorf("%v: exit code %d, want %d\n%s", args, got, code, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			w.t.Errorf("%v: no %q in\n%s", args, text, out)
		}
	}
}

func (w *serviceWorld) configure(text string) {
	w.t.Helper()
	const registration = "tenant: 11111111-2222-3333-4444-555555555555\nclient_id: 66666666-7777-8888-9999-000000000000\n"
	if err := os.WriteFile(filepath.Join(w.dir, "broker.yaml"), []byte(registration+text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestServiceStory(t *testing.T) {
	w := newServiceWorld(t)
	w.configure("")
	w.want(1, []string{"status"}, "is not installed; install it with: broker service install")
	w.want(1, []string{"start"}, "broker service install")
	w.want(1, []string{"configure"}, "broker service install")
	w.manager.refuse = map[lifecycle.ServiceSetting]uint32{lifecycle.SettingSID: lifecycle.CodeNotSupported}
	w.want(0, []string{"install"}, "is installed.", `account NT SERVICE\M365TokenBroker`, "done     recovery actions",
		"skipped  service SID: set service SID: this Windows does not know it", "broker service start")
	if got := fmt.Sprint(w.manager.tuned); got != "[description recovery actions recovery after a failure without a crash time to stop at a shutdown delayed start]" {
		t.Errorf("set: %s", got)
	}
	sid := `SID(NT SERVICE\M365TokenBroker)`
	want := []string{"share M365TokenBroker {[] [" + sid + "]}", "share conf.d {[" + sid + "] []}", "share state {[" + sid + "] []}", "events true"}
	if !slices.Equal(w.did, want) {
		t.Errorf("done: %q", w.did)
	}
	w.want(0, []string{"install", "--start", "manual"}, "was there; it is changed")
	w.want(1, []string{"status"}, "is stopped.", "has not been started since the machine was.", "manual")
	w.want(0, []string{"start"}, "The service runs (process 4711).")
	w.want(0, []string{"start"}, "runs already")
	w.want(0, []string{"status"}, "is running.")
	w.want(0, []string{"stop"}, "has stopped")
	w.want(0, []string{"stop"}, "does not run")
	w.want(2, []string{"uninstall", "--purge"}, "needs --yes")
	w.want(0, []string{"uninstall"}, "are still in")
	if !slices.Contains(w.did, "events false") || !slices.Contains(w.did, "agent false") {
		t.Errorf("done: %q", w.did)
	}
	w.want(1, []string{"uninstall"}, "not installed")
}

// With Outlook targets, the service must be an account that somebody can log on as.
func TestServiceForOutlook(t *testing.T) {
	w := newServiceWorld(t)
	w.configure("mapi:\n  archive: {profile: Outlook}\n")
	for _, account := range []string{"", "LocalSystem", `NT AUTHORITY\NetworkService`, `CONTOSO\gmsa$`} {
		w.want(2, []string{"install", "--account", account}, "Outlook targets are configured (archive)", "belong to the account of the mailbox", `--account DOMAIN\user`)
	}
	if w.manager.spec != nil {
		t.Fatal("it is installed all the same")
	}
	w.want(2, []string{"install", "--account", `CONTOSO\svc`}, "--password-file")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("\ufeffCANARY pass word \r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want(0, []string{"install", "--account", `CONTOSO\svc`, "--password-file", file}, "done     agent at logon")
	if got := w.manager.spec.Password.Reveal(); got != "CANARY pass word " {
		t.Errorf("the password is %q", got)
	}
	if strings.Contains(w.out.String()+fmt.Sprint(w.did, w.manager.facts), "CANARY") {
		t.Error("the password is shown")
	}
	if !slices.Contains(w.did, `logon SID(CONTOSO\svc)`) {
		t.Errorf("done: %q", w.did)
	}
	w.did, w.manager.tuned = nil, nil
	w.want(0, []string{"configure", "--start", "keep"}, "done     right to log on as a service")
	if !slices.Contains(w.did, `logon SID(CONTOSO\svc)`) || slices.Contains(w.manager.tuned, lifecycle.SettingDelayed) {
		t.Errorf("done: %q, set: %q", w.did, w.manager.tuned)
	}
	w.manager.facts.Account = "LocalSystem" // somebody changed it, or an installer did
	w.want(0, []string{"configure"}, "done     rights on", "warning: Outlook targets are configured (archive), and LocalSystem has no Outlook", `broker service install --account DOMAIN\user`)
	w.manager.facts.Account = `CONTOSO\svc`
	w.want(0, []string{"install"}, "was there") // the account and its password stay
	if w.manager.facts.Account != `CONTOSO\svc` || w.manager.spec.Account != "" {
		t.Errorf("%+v", w.manager.spec)
	}
}

func TestServiceInstallFails(t *testing.T) {
	w := newServiceWorld(t)
	w.configure("bogus: 1\n")
	w.want(1, []string{"install"}, "bogus")
	w.configure("")
	w.manager.denied = true
	w.want(1, []string{"install"}, "Run as administrator")
	w.manager.denied = false
	w.tools.share = func(string, ownerfile.Access) error {
		return &ownerfile.AccessError{Path: "state", Problem: "was put there by S-1-5-21-1", Command: "takeown"}
	}
	w.want(1, []string{"install"}, "FAILED   rights on", "must not run yet")
}

// What ends a service is a number for its manager, and a sentence for a person.
func TestServiceCodes(t *testing.T) {
	for want, err := range map[lifecycle.ServiceCode]error{
		0: nil, codeInternal: errors.New("x"), codeConfig: &config.Error{}, codeLocked: &lifecycle.LockedError{},
		codeAddress: token.NewError(token.KindConflict, "", "x"), codeStore: &credstore.Error{},
		codeRights: &ownerfile.AccessError{}, codeStuck: &lifecycle.StuckError{},
	} {
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if got := codeOf(err); got != want {
			t.Errorf("%v: code %d, want %d", err, got, want)
		}
	}
	page, err := os.ReadFile("../../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newServiceWorld(t)
	w.configure("")
	w.want(0, []string{"install"})
	for code := range codeStuck + 2 {
		if c := causeOf(code); code > 0 && code <= codeStuck && !strings.Contains(string(page), fmt.Sprintf("| %d | `%s` |", code, c.name)) {
			t.Errorf("docs/service.md does not have | %d | `%s` |", code, c.name)
		}
		w.manager.ends = &lifecycle.ServiceFacts{Win32: lifecycle.CodeSpecific, Code: code}
		w.want(1, []string{"start"}, causeOf(code).text, fmt.Sprintf("(code %d)", code))
		out, _ := w.run("status", "--output", "json")
		var v serviceView
		if err := json.Unmarshal([]byte(out), &v); err != nil || v.End == nil || v.End.Code != code || v.End.Text != causeOf(code).text {
			t.Errorf("%v %s", err, out)
		}
	}
	for _, win32 := range []uint32{win32Crashed, win32Timeout, lifecycle.CodeLogonFailed, 4242} {
		w.manager.ends = &lifecycle.ServiceFacts{Win32: win32}
		why, _ := serviceEnd(*w.manager.ends)
		w.want(1, []string{"start"}, why+endNumber(*w.manager.ends)+". ", fmt.Sprint(win32))
	}
}

// The log's last lines are there where a start fails.
func TestServiceShowsLog(t *testing.T) {
	w := newServiceWorld(t)
	w.configure("")
	w.want(0, []string{"install"})
	log := &lifecycle.LogFile{Path: serviceLog(filepath.Join(w.dir, "state"))}
	fmt.Fprintln(log, "the reason")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	w.manager.ends = &lifecycle.ServiceFacts{Win32: lifecycle.CodeSpecific, Code: codeConfig}
	w.want(1, []string{"start"}, "The last lines of", "the reason", "broker config check")
}

// The service's places are under %ProgramData%, whatever is there, and others
// where somebody says so.
func TestServicePlaces(t *testing.T) {
	getenv := func(string) string { return "" }
	o := options{env: environment{getenv: func(name string) string { return map[string]string{"ProgramData": "P"}[name] }}}
	if got := o.asService(); programData() == "" && (got.config != `P\M365TokenBroker\broker.yaml` || got.stateDir != `P\M365TokenBroker\state`) {
		t.Errorf("config %s, state %s", got.config, got.stateDir)
	}
	if o.config != "" || o.stateDir != "" {
		t.Error("the options of the command have changed")
	}
	o = options{config: "c", stateDir: "s", env: environment{getenv: getenv}}
	if got := o.asService(); got.config != "c" || got.stateDir != "s" {
		t.Errorf("config %s, state %s", got.config, got.stateDir)
	}
}

func TestRemoveTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "b", "c"), 0o700), os.WriteFile(filepath.Join(dir, "b", "f"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if err := removeTree(dir); err != nil {
		t.Errorf("once more: %v", err)
	}
}
