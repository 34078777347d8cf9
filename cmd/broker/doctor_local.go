package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
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
			d.found("config", resultProblem, p.String(), "Correct it, and see with: broker config check")
		}
		return nil
	}
	d.loaded = loaded
	d.found("config", resultOK, settingsFrom(loaded), "")
	for _, w := range loaded.Warnings {
		d.found("config", resultWarning, w, "")
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
	const name = "state-dir"
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

// broker finds the running broker, and where none runs, makes one in this
// process; nil where neither can be.
func (d *doctor) broker(ctx context.Context, dir string, usable bool) *api {
	const away, start = "The broker is not running.", "Start it with: broker serve"
	if h, running := lifecycle.Holder(dir); dir != "" && running && h.Listen != "" {
		a, err := remote(dir, h.Listen)
		return d.meet(ctx, a, err)
	}
	if d.loaded == nil || !usable {
		d.found("broker", resultProblem, away, start)
		return nil
	}
	if err := d.sit(ctx); err != nil {
		d.found("outlook", resultWarning, sentence(err), "")
	}
	a, err := connect(ctx, d.o)
	if err != nil || !a.local {
		return d.meet(ctx, a, err)
	}
	d.found("broker", resultProblem, away, start)
	d.see(ctx, a.parts)
	return a
}

// meet says what the running broker is; nil where it cannot be spoken to.
func (d *doctor) meet(ctx context.Context, a *api, err error) *api {
	const name = "broker"
	var s httpapi.Status
	if err == nil {
		s, err = a.status(ctx)
	}
	if err != nil {
		d.found(name, resultProblem, sentence(err), "")
		return nil
	}
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
			d.found("outlook", resultWarning, sentence(err), "")
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
	d.found("outlook", resultProblem, s.account+" is not logged on to "+s.host+", so no Outlook can renew.",
		"Log on to "+s.host+" as "+s.account+" (RDP is fine), and leave the session locked.")
}

// sentence is what an error says to a person.
func sentence(err error) string {
	if e, ok := errors.AsType[*token.Error](err); ok && e.Detail != "" {
		return e.Detail
	}
	return err.Error()
}
