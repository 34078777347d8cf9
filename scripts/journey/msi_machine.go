package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// What an installation leaves on the machine, as somebody finds it who looks.

const (
	serviceKey = `HKLM\SYSTEM\CurrentControlSet\Services\` + serviceName
	eventKey   = `HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\` + serviceName
	runKey     = `HKLM\Software\Microsoft\Windows\CurrentVersion\Run`
	appsKey    = `HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall`
	pathKey    = `HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment`
)

// unix is where a path of the prefix's C: drive is on this machine.
func (m *msi) unix(path string) string {
	return filepath.Join(m.prefix, "drive_c", strings.ReplaceAll(strings.TrimPrefix(path, `C:\`), `\`, "/"))
}

// look asks reg.exe, up to three times: Wine 8 now and then fails to start a
// program while another one ends.
func look(ctx context.Context, args ...string) (out string, err error) {
	for range 3 {
		if out, err = wine(ctx, "reg.exe", args...); err == nil {
			return out, nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return "", err
}

// value reads one value of the registry.
func value(ctx context.Context, key, name string) (string, error) {
	out, err := look(ctx, "query", key, "/v", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if rest, found := strings.CutPrefix(strings.TrimSpace(line), name+"    "); found {
			_, text, _ := strings.Cut(rest, "    ")
			return strings.TrimSpace(text), nil
		}
	}
	return "", fmt.Errorf("no %s in %q", name, out)
}

// hold wants values of one key.
func hold(ctx context.Context, key string, want map[string]string) error {
	for name, text := range want {
		got, err := value(ctx, key, name)
		if err == nil && !strings.EqualFold(got, text) {
			err = fmt.Errorf("%s of %s is %s, want %s", name, key, got, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// service wants the service in a state, or gone where that is empty.
func (*msi) service(want string) step {
	return func(ctx context.Context) error {
		var out string
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			out, _ = wine(ctx, "sc.exe", "query", serviceName)
			state := ""
			if _, text, found := strings.Cut(out, "STATE"); found {
				state = strings.ToLower(strings.Fields(text)[2])
			}
			if state == want {
				return nil
			}
		}
		return fmt.Errorf("the service manager says after 30 s, want %q:\n%s", want, out)
	}
}

func (m *msi) answering(ctx context.Context) error { return m.broker.answers(ctx, 30*time.Second) }

func (m *msi) version(want string) step {
	return func(ctx context.Context) error {
		out, err := m.broker.must(ctx, "version")
		if err == nil && !strings.Contains(out, "broker "+want) {
			err = fmt.Errorf("broker version says %q, want %s", out, want)
		}
		return err
	}
}

// serviceEntry leaves out what Wine's service manager has not: delayed start,
// recovery, the kind of SID; and it does not quote the program's path.
func (m *msi) serviceEntry(ctx context.Context) error {
	command, err := value(ctx, serviceKey, "ImagePath")
	if err == nil && strings.ReplaceAll(command, `"`, "") != installedExe+" service run" {
		err = fmt.Errorf("the service's command is %s", command)
	}
	if err != nil {
		return err
	}
	return hold(ctx, serviceKey, map[string]string{
		"ObjectName": `NT SERVICE\M365TokenBroker`, "Start": "0x2", "DisplayName": "M365 Token Broker",
	})
}

func (*msi) eventSource(ctx context.Context) error {
	return hold(ctx, eventKey, map[string]string{
		"EventMessageFile": `%SystemRoot%\System32\EventCreate.exe`, "TypesSupported": "0x7",
	})
}

// agentEntry has the broker write the entry, and wants the same one.
func (m *msi) agentEntry(ctx context.Context) error {
	const name = "M365TokenBrokerAgent"
	ours, err := value(ctx, runKey, name)
	if err != nil {
		return err
	}
	if _, err := m.broker.must(ctx, "agent", "install", "--all-users"); err != nil {
		return err
	}
	return hold(ctx, runKey, map[string]string{name: ours})
}

// inPath looks at the entry alone: Wine's own PATH is that of its session's start.
func (*msi) inPath(want bool) step {
	return func(ctx context.Context) error {
		path, err := value(ctx, pathKey, "PATH")
		if err != nil {
			return err
		}
		has := slices.ContainsFunc(strings.Split(path, ";"), func(dir string) bool {
			return strings.TrimSuffix(dir, `\`) == installedIn
		})
		if has != want {
			return fmt.Errorf("PATH is %s", path)
		}
		return nil
	}
}

// startMenu counts the entries, wherever the menu is: Wine has it in the user's.
func (m *msi) startMenu(want int) step {
	return func(context.Context) error {
		all, err := m.ours(func(path string) bool { return strings.HasSuffix(path, ".lnk") })
		if err == nil && len(all) != want {
			err = fmt.Errorf("the start menu has %q", all)
		}
		return err
	}
}

// listed wants one entry in the list of programs.
func (*msi) listed(version string) step {
	return func(ctx context.Context) error {
		out, err := look(ctx, "query", appsKey, "/s")
		if err != nil {
			return err
		}
		var versions []string
		for app := range strings.SplitSeq(out, "HKEY_LOCAL_MACHINE") {
			if _, after, found := strings.Cut(app, "DisplayVersion    REG_SZ    "); found && strings.Contains(app, "M365 Token Broker") {
				versions = append(versions, strings.Fields(after)[0])
			}
		}
		if !slices.Equal(versions, []string{version}) {
			return fmt.Errorf("the versions listed are %q", versions)
		}
		return nil
	}
}

// ownConfig is what an administrator wrote by hand.
func (m *msi) ownConfig(context.Context) error {
	dir := m.unix(dataIn + `\conf.d`)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf("store: %s\naccounts:\n  ops: {username: %s}\ntelemetry: {log_level: debug}\n", m.broker.store, m.authority.user)
	return os.WriteFile(filepath.Join(dir, "site.yaml"), []byte(text), 0o600)
}

func (m *msi) exampleIsGood(ctx context.Context) error {
	_, err := m.broker.must(ctx, "config", "check", "--config", installedIn+`\broker.example.yaml`)
	return err
}

// logonTask wants no encoding in the file, besides: Windows refuses "UTF-8" there,
// as schtasks gives it a text of UTF-16; Wine does not look.
func (m *msi) logonTask(ctx context.Context) error {
	text, err := os.ReadFile(m.unix(installedIn + `\logon-task.xml`))
	if err != nil {
		return err
	}
	if strings.Contains(string(text), "encoding=") {
		return errors.New("logon-task.xml names an encoding")
	}
	if _, err := wine(ctx, "schtasks.exe", "/create", "/tn", serviceName, "/xml", installedIn+`\logon-task.xml`); err != nil {
		return err
	}
	_, err = wine(ctx, "schtasks.exe", "/delete", "/tn", serviceName, "/f")
	return err
}

// configure is what follows a package that was installed by a double click.
func (m *msi) configure(ctx context.Context) error {
	if _, err := m.broker.must(ctx, "init", "--config", dataIn+`\broker.yaml`,
		"--tenant", m.authority.tenant, "--client-id", m.authority.clientID, "--listen", m.broker.listen); err != nil {
		return err
	}
	_, err := m.broker.must(ctx, "service", "configure")
	return err
}

// overHTTP is how a program asks.
func (m *msi) overHTTP(ctx context.Context) error {
	answer, err := m.broker.call(ctx, http.MethodPost, "/v1/token", map[string]any{"resource": "graph", "account": "ops"})
	if err != nil {
		return err
	}
	t, _ := answer["access_token"].(string)
	if strings.Count(t, ".") != 2 {
		return errors.New("the answer has no JWT")
	}
	return m.fresh(t)
}

func (m *msi) order(word string) step {
	return func(ctx context.Context) error {
		if _, err := m.broker.must(ctx, "service", word); err != nil {
			return err
		}
		if word == "stop" {
			return m.service("stopped")(ctx)
		}
		return steps(ctx, m.service("running"), m.answering)
	}
}

func (m *msi) netRestart(ctx context.Context) error {
	for _, word := range []string{"stop", "start"} {
		if _, err := wine(ctx, "net.exe", word, serviceName); err != nil {
			return err
		}
	}
	return steps(ctx, m.service("running"), m.answering)
}

// snapshot remembers the files that are there before anything is installed.
func (m *msi) snapshot() (err error) {
	m.files, err = m.walk()
	return err
}

// walk lists the files and directories of the C: drive.
func (m *msi) walk() (map[string]bool, error) {
	all := map[string]bool{}
	drive := m.unix(`C:\`)
	err := filepath.WalkDir(drive, func(name string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we walked
		}
		all[strings.TrimPrefix(name, drive)] = true
		return err
	})
	return all, err
}

// ours lists what was not there before, without what Windows and Wine leave
// in their places for temporary files.
func (m *msi) ours(want func(path string) bool) ([]string, error) {
	now, err := m.walk()
	var all []string
	for path := range now {
		temporary := strings.Contains(path, "/Temp") || strings.Contains(path, "/temp")
		if !m.files[path] && !temporary && path != "/windows/Installer" && want(path) {
			all = append(all, path)
		}
	}
	slices.Sort(all)
	return all, err
}

func (m *msi) stateThere(want bool) step {
	return func(context.Context) error {
		for _, name := range []string{`\broker.yaml`, `\conf.d\site.yaml`, `\state\admin.key`} {
			if _, err := os.Stat(m.unix(dataIn + name)); (err == nil) != want {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
}

// secrets looks for the broker's entries in Wine's Credential Manager.
func (m *msi) secrets(want bool) step {
	return func(ctx context.Context) error {
		all, err := m.registry(ctx, `HKCU\Software\Wine`, "credential manager")
		if err == nil && (len(all) > 0) != want {
			err = fmt.Errorf("the secret store has %q", all)
		}
		return err
	}
}

// registry exports a tree and gives the lines about the broker, of keys whose
// name has the given text.
func (m *msi) registry(ctx context.Context, tree, in string) ([]string, error) {
	file := filepath.Join(m.dir, "export.reg")
	if _, err := look(ctx, "export", tree, windowsPath(file), "/y"); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = uint16(text[2*i]) | uint16(text[2*i+1])<<8
	}
	var found []string
	key := ""
	for line := range strings.Lines(string(utf16.Decode(units))) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			key = line
		}
		lower := strings.ToLower(line)
		about := strings.Contains(lower, "m365tokenbroker") || strings.Contains(lower, "m365 token broker") || strings.Contains(lower, "m365-token-broker")
		if about && strings.Contains(strings.ToLower(key), in) {
			found = append(found, key+" "+line)
		}
	}
	return found, nil
}

// onlyStateLeft wants no file outside of ProgramData, and no entry outside of the
// secret store.
func (m *msi) onlyStateLeft(ctx context.Context) error {
	files, err := m.ours(func(path string) bool { return !strings.HasPrefix(path, "/ProgramData/M365TokenBroker") })
	if err != nil {
		return err
	}
	entries, err := m.entries(ctx)
	entries = slices.DeleteFunc(entries, func(line string) bool { return strings.Contains(line, "Credential Manager") })
	if err == nil && len(files)+len(entries) > 0 {
		err = fmt.Errorf("left are the files %q and the entries %q", files, entries)
	}
	return errors.Join(err, m.inPath(false)(ctx))
}

// nothingLeft wants the machine as it was.
func (m *msi) nothingLeft(ctx context.Context) error {
	files, err := m.ours(func(string) bool { return true })
	if err != nil {
		return err
	}
	entries, err := m.entries(ctx)
	if err == nil && len(files)+len(entries) > 0 {
		err = fmt.Errorf("left are the files %q and the entries %q", files, entries)
	}
	return errors.Join(err, m.inPath(false)(ctx))
}

// entries are the lines of the registry about the broker.
func (m *msi) entries(ctx context.Context) ([]string, error) {
	var all []string
	for _, tree := range []string{"HKLM", "HKCU"} {
		lines, err := m.registry(ctx, tree, "")
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}
