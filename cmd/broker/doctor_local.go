package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file has the checks that only a command can make: what lies on the disk,
// and whether a broker runs.

// config looks at the settings as they are on the disk. The error is wrong usage.
func (d *doctor) config() error {
	loaded, err := loadConfig(d.o)
	if err == nil {
		err = loaded.Ready()
	}
	problems, ok := errors.AsType[*config.Error](err)
	switch {
	case err != nil && !ok:
		return err
	case err != nil:
		for _, p := range problems.Problems {
			d.found(nameConfig, resultProblem, strings.TrimRight(p.String(), ".?")+".", "Correct it, and see with: broker config check")
		}
		return nil
	}
	d.loaded = loaded
	d.found(nameConfig, resultOK, settingsFrom(loaded), "")
	for _, w := range loaded.Warnings {
		d.found(nameConfig, resultWarning, w, "")
	}
	return nil
}

// settingsFrom says which files the settings are of.
func settingsFrom(l *config.Loaded) string {
	switch n := len(l.Files); n {
	case 0:
		return "The settings are valid; all come from the environment and the flags."
	case 1:
		return l.Files[0] + " is valid."
	default:
		return fmt.Sprintf("%s and %d more in %s are valid.", l.Files[0], n-1, l.Places.ConfDir)
	}
}

// stateDir looks whether the state directory is its owner's alone.
func (d *doctor) stateDir() (dir string, usable bool) {
	const name = nameStateDir
	p, err := places(d.o)
	if err != nil {
		d.found(name, resultProblem, sentence(err), "")
		return "", false
	}
	dir = p.StateDir
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() {
		err = ownerfile.Audit(dir)
	}
	access, foreign := errors.AsType[*ownerfile.AccessError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.found(name, resultSkipped, dir+" does not exist yet; the broker makes it when it starts.", "")
	case foreign:
		d.found(name, resultProblem, dir+" "+access.Problem+".", "Run: "+access.Command)
		return dir, ownerfile.Check(dir, info) == nil // else no command may use it
	case err != nil:
		d.found(name, resultProblem, sentence(err), "Choose another --state-dir, or give this account access to it.")
		return dir, false
	case !info.IsDir():
		d.found(name, resultProblem, dir+" is a file.", "Choose another --state-dir.")
		return dir, false
	default:
		d.found(name, resultOK, dir+" is its owner's alone.", "")
	}
	return dir, true
}

// adminKey looks at the key that opens everything; false: it is not to be used.
func (d *doctor) adminKey(dir string) bool {
	const name = nameAdminKey
	if dir == "" {
		d.skip(later(nameStateDir), name)
		return false
	}
	path := lifecycle.AdminKeyPath(dir)
	_, err := lifecycle.ReadAdminKey(dir)
	if err == nil {
		err = ownerfile.Audit(path)
	}
	access, foreign := errors.AsType[*ownerfile.AccessError](err)
	switch {
	case err == nil:
		d.found(name, resultOK, "The admin key is its owner's alone.", "")
	case errors.Is(err, fs.ErrNotExist):
		d.found(name, resultSkipped, "There is no admin key yet; the broker makes it when it starts.", "")
	case foreign:
		d.found(name, resultProblem, "The admin key "+access.Path+" "+access.Problem+", and opens everything.", "Run: "+access.Command+"; where somebody else may have read it, remove it and restart the broker, which makes a new one.")
		return false
	default:
		d.found(name, resultProblem, sentence(err)+".", "Remove the file and restart the broker, which makes a new one.")
		return false
	}
	return true
}

// running speaks to the broker that has the state directory; nil where it cannot,
// and must not where the admin key is not the owner's alone.
func (d *doctor) running(ctx context.Context, dir, listen string, key bool) *api {
	d.found(namePort, resultOK, "The broker has the port of "+listen+".", "")
	defer d.gate(ctx, listen)
	if !key {
		d.skip(later(nameAdminKey), nameBroker)
		return nil
	}
	a, err := remote(dir, listen)
	return d.meet(ctx, a, err)
}

// away says that no broker runs, and makes one in this process to look with; nil
// where that cannot be.
func (d *doctor) away(ctx context.Context, usable bool) *api {
	d.port(ctx)
	start := "broker serve"
	if d.installed {
		start = "broker service start"
	}
	d.found(nameBroker, resultProblem, "The broker is not running.", "Start it with: "+start)
	d.skip("It is looked at where a broker runs.", nameGate)
	if d.loaded == nil || !usable {
		return nil
	}
	if err := d.sit(ctx); err != nil {
		d.found(nameOutlook, resultWarning, sentence(err), "")
	}
	a, err := connect(ctx, d.o)
	if err != nil || !a.local {
		return d.meet(ctx, a, err)
	}
	d.see(ctx, a.parts)
	return a
}

// meet says what the running broker is; nil where it cannot be spoken to.
func (d *doctor) meet(ctx context.Context, a *api, err error) *api {
	const name = nameBroker
	var s httpapi.Status
	if err == nil {
		s, err = a.status(ctx)
	}
	if store, ok := errors.AsType[*credstore.Error](err); ok {
		d.found(nameStore, resultProblem, storeFault(err), store.Reason.Remedy())
		return nil
	}
	if err != nil {
		text, remedy := divide(strings.TrimRight(sentence(err), ".") + ".")
		if remedy == "" {
			remedy = "See the broker's log, and restart it."
		}
		d.found(name, resultProblem, text, remedy)
		return nil
	}
	d.status = &s
	d.found(name, resultOK, fmt.Sprintf("The broker %s runs since %s (process %d), at %s.",
		s.Version, span(time.Duration(s.UptimeSeconds)*time.Second), s.Pid, asURLs(s.Listen)), "")
	if d.loaded != nil && s.ConfigFile != configName(d.loaded) {
		d.found(name, resultWarning, "The broker's configuration file is "+s.ConfigFile+", and that of this command is "+configName(d.loaded)+".", "Give this command the --config of the broker, or restart the broker with this one.")
	}
	if s.Version != version() {
		d.found(name, resultWarning, "The broker is version "+s.Version+", and this command is "+version()+".", "Restart the broker, so that it is the version that is installed.")
	}
	return a
}

// sit finds what this process can see of Outlook, for a broker inside it.
func (d *doctor) sit(ctx context.Context) error {
	s, err := d.place.take(ctx)
	if err != nil {
		return err
	}
	d.o.seat = s
	return s.fault
}

// see tells a broker in this process what this session shows of Outlook. It gives
// no work to do in return: none of its machines runs.
func (d *doctor) see(ctx context.Context, p *parts) {
	if p.desktop == nil {
		d.nobody(ctx, p)
		return
	}
	var want desktop.Want
	for range 2 { // the first time, it says which services it wants to know of
		facts, err := p.desktop.Look(ctx, want)
		var orders mapiadapter.Orders
		if err == nil {
			report := mapiadapter.Report{Agent: mapiadapter.AgentInfo{Version: version(), PID: os.Getpid(), StartedOn: p.started}, Facts: facts}
			orders, err = p.outlook.Sync(ctx, report, mapiadapter.From{InBroker: true})
		}
		if err != nil {
			d.found(nameOutlook, resultWarning, sentence(err), "")
			return
		}
		want.Services = orders.Services
	}
}

// nobody tells a process outside every session that the account has none.
func (d *doctor) nobody(ctx context.Context, p *parts) {
	s := d.o.seat
	if len(p.loaded.Config.MAPI) == 0 || s.sessions == nil || s.sessions(ctx) != mapiadapter.SessionsNone {
		return
	}
	d.found(nameOutlook, resultProblem, s.account+" is not logged on to "+s.host+", so no Outlook can renew.",
		"Log on to "+s.host+" as "+s.account+" (RDP is fine), and leave the session locked.")
}

// sentence is what an error says to a person.
func sentence(err error) string {
	if e, ok := errors.AsType[*token.Error](err); ok && e.Detail != "" {
		return e.Detail
	}
	return err.Error()
}
