package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The places of an installation, as Windows and as the prefix spell them.
const (
	installedIn  = `C:\Program Files\M365 Token Broker`
	installedExe = installedIn + `\broker.exe`
	dataIn       = `C:\ProgramData\M365TokenBroker`
	serviceName  = "M365TokenBroker"
)

// msi is the story of an administrator: install, sign in, restart, upgrade,
// uninstall. The broker runs as a service, and is asked as its users ask it.
type msi struct {
	journey
	prefix string // WINEPREFIX
	dir    string // for logs
	older  string // the package of 1.0.0
	newer  string // the package of 1.1.0
	files  map[string]bool
}

// runMSI needs a prefix of its own: it leaves it as another Windows.
func runMSI(ctx context.Context, o options, a *authority, dir string) error {
	m := &msi{prefix: os.Getenv("WINEPREFIX"), dir: dir, older: o.msi, newer: o.newer}
	switch {
	case !o.wine || m.prefix == "":
		return errors.New("the journey msi needs -wine and WINEPREFIX")
	case m.older == "" || m.newer == "":
		return errors.New("the journey msi needs -msi and -newer")
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	m.authority = a
	m.broker = &broker{
		argv:   []string{"wine", installedExe},
		wine:   true,
		state:  m.unix(dataIn + `\state`),
		store:  o.store,
		listen: listen,
		log:    m.unix(dataIn + `\state\logs\broker.log`),
		done:   make(chan struct{}), // the service manager starts it, and nobody here waits for it
		web:    &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	started := time.Now()
	if err := m.run(ctx); err != nil {
		return fmt.Errorf("the broker's log:\n%s\n\n%w", m.broker.logTail(), err)
	}
	fmt.Printf("journey: done in %.1f s\n", time.Since(started).Seconds())
	return nil
}

// named is one step, or one check, as it is printed.
type named struct {
	name string
	do   step
}

func (m *msi) run(ctx context.Context) error {
	// The packages want Windows 10, which a prefix of Wine 8 is not.
	if _, err := wine(ctx, "winecfg.exe", "-v", "win10"); err != nil {
		return err
	}
	if err := m.snapshot(); err != nil {
		return err
	}
	var all []named
	for _, part := range [][]named{m.bare(), m.first(), m.upgrades(), m.keeps(), m.purges()} {
		all = append(all, part...)
	}
	for _, n := range all {
		started := time.Now()
		if err := n.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		fmt.Printf("journey: %-58s %6.2f s\n", n.name, time.Since(started).Seconds())
	}
	return nil
}

// bare is an installation that nobody configured, and one of the program alone.
func (m *msi) bare() []named {
	return []named{
		{"install 1.0.0 with ADDLOCAL=Broker,Path", m.install(m.older, "ADDLOCAL=Broker,Path")},
		{"the program is 1.0.0", m.version("v1.0.0")},
		{"there is no service", m.service("")},
		{"the start menu has no entry", m.startMenu(0)},
		{"uninstall", m.uninstall(m.older)},
		{"install 1.0.0 with no word about a tenant", m.install(m.older)},
		{"the service is there and does not run", m.service("stopped")},
		{"the example is a configuration that the broker takes", m.exampleIsGood},
		{"broker init, broker service configure", m.configure},
		{"broker service start", m.order("start")},
		{"uninstall with REMOVESTATE=1", m.uninstall(m.older, "REMOVESTATE=1")},
		{"nothing is left of it", m.nothingLeft},
	}
}

// first is the five-minute way of docs/install-windows.md.
func (m *msi) first() []named {
	return []named{
		{"an administrator's own file in conf.d", m.ownConfig},
		{"install 1.0.0 with TENANT and CLIENTID", m.install(m.older,
			"TENANT="+m.authority.tenant, "CLIENTID="+m.authority.clientID, "LISTEN="+m.broker.listen,
			"AUTHORITY="+m.authority.url, "CAFILE="+windowsPath(m.authority.caFile), "SERVICEPASSWORD=")},
		{"the service runs", m.service("running")},
		{"it answers", m.answering},
		{"the program is 1.0.0", m.version("v1.0.0")},
		{"the service has its account, its start type, its command", m.serviceEntry},
		{"the event source is registered", m.eventSource},
		{"the agent's Run entry is that of broker agent install", m.agentEntry},
		{"PATH finds the broker", m.inPath(true)},
		{"the start menu has three entries", m.startMenu(3)},
		{"Apps and features lists it once, as 1.0.0", m.listed("1.0.0")},
		{"the logon task is one that schtasks takes", m.logonTask},
		{"the store is the one that was asked for", m.store},
		{"a token before the sign-in is refused", m.refused},
		{"sign in", m.signInBy("device")},
		{"a token over HTTP", m.overHTTP},
		{"broker service stop", m.order("stop")},
		{"broker service start", m.order("start")},
		{"a token without a sign-in", m.newToken},
		{"rotate", m.rotate},
		{"net stop, net start", m.netRestart},
		{"a token without a sign-in", m.newToken},
		{"one sign-in in all", m.oneSignIn},
		{"no token in the state directory", m.noTokenOnDisk},
	}
}

func (m *msi) upgrades() []named {
	return []named{
		{"upgrade to 1.1.0", m.upgrade},
		{"the service runs", m.service("running")},
		{"it answers", m.answering},
		{"the program is 1.1.0", m.version("v1.1.0")},
		{"Apps and features lists it once, as 1.1.0", m.listed("1.1.0")},
		{"the service has its account, its start type, its command", m.serviceEntry},
		{"the event source is registered", m.eventSource},
		{"the agent's Run entry is that of broker agent install", m.agentEntry},
		{"PATH finds the broker", m.inPath(true)},
		{"the start menu has three entries", m.startMenu(3)},
		{"a token without a sign-in", m.newToken},
		{"1.0.0 over it is refused", m.downgrade},
		{"the service runs", m.service("running")},
		{"the program is 1.1.0", m.version("v1.1.0")},
		{"it has the same token: nobody stopped it", m.sameToken},
		{"repair", m.repair},
		{"the service runs", m.service("running")},
		{"it answers", m.answering},
		{"the service has its account, its start type, its command", m.serviceEntry},
		{"a token without a sign-in", m.newToken},
		{"one sign-in in all", m.oneSignIn},
	}
}

// keeps is what an uninstallation leaves: what the broker wrote, and that alone.
func (m *msi) keeps() []named {
	return []named{
		{"uninstall", m.uninstall(m.newer)},
		{"the service is gone", m.service("")},
		{"program, entries and start menu are gone", m.onlyStateLeft},
		{"configuration and state are there", m.stateThere(true)},
		{"the sign-in is in the secret store", m.secrets(true)},
		{"install 1.1.0 again, with no property", m.install(m.newer)},
		{"the service runs", m.service("running")},
		{"it answers", m.answering},
		{"a token without a sign-in", m.newToken},
		{"one sign-in in all", m.oneSignIn},
	}
}

func (m *msi) purges() []named {
	return []named{
		{"uninstall with REMOVESTATE=1", m.uninstall(m.newer, "REMOVESTATE=1")},
		{"the service is gone", m.service("")},
		{"configuration and state are gone", m.stateThere(false)},
		{"the secret store has nothing of the broker", m.secrets(false)},
		{"nothing is left of it", m.nothingLeft},
	}
}

// msiexec runs the installer without a window. Its exit code loses what is above
// 255 on the way through Wine.
func (m *msi) msiexec(ctx context.Context, args ...string) (code int, log string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	file := filepath.Join(m.dir, "msiexec.log")
	_ = os.Remove(file)
	cmd := exec.CommandContext(ctx, "wine", append([]string{"msiexec.exe"}, append(args, "/qn", "/l*v", windowsPath(file))...)...)
	err = cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() >= 0 {
		code, err = e.ExitCode(), nil
	}
	text, _ := os.ReadFile(file)
	return code, string(text), err
}

// msiexecMust is msiexec where it has to succeed.
func (m *msi) msiexecMust(ctx context.Context, args ...string) error {
	code, log, err := m.msiexec(ctx, args...)
	if err == nil && code != 0 {
		const most = 6 << 10
		err = fmt.Errorf("msiexec %s ended with %d:\n%s", strings.Join(args, " "), code, log[max(0, len(log)-most):])
	}
	return err
}

func (m *msi) install(file string, properties ...string) step {
	return func(ctx context.Context) error {
		return m.msiexecMust(ctx, append([]string{"/i", windowsPath(file)}, properties...)...)
	}
}

func (m *msi) uninstall(file string, properties ...string) step {
	return func(ctx context.Context) error {
		return m.msiexecMust(ctx, append([]string{"/x", windowsPath(file)}, properties...)...)
	}
}

// upgrade has the service made anew. Windows tells the old package that it is
// being replaced (UPGRADINGPRODUCTCODE), so that it leaves the service alone; Wine
// does not.
func (m *msi) upgrade(ctx context.Context) error {
	return m.install(m.newer, "RESETSERVICE=1")(ctx)
}

// repair is what msiexec /fa is on Windows; Wine knows no /fa of a package.
func (m *msi) repair(ctx context.Context) error {
	return m.install(m.newer, "REINSTALL=ALL", "REINSTALLMODE=amus")(ctx)
}

// downgrade wants error 1603 because of the version. Wine shows the sentence that
// goes with it in a window, and not in the log.
func (m *msi) downgrade(ctx context.Context) error {
	code, log, err := m.msiexec(ctx, "/i", windowsPath(m.older))
	if err == nil && (code != 1603&255 || !strings.Contains(log, "WIX_DOWNGRADE_DETECTED = {")) {
		err = fmt.Errorf("msiexec ended with %d, and its log says:\n%s", code, log[max(0, len(log)-3000):])
	}
	return err
}
