package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/notify"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file has the checks that the broker makes of itself, for GET /v1/doctor.

// examineTime bounds all of them together.
const examineTime = 20 * time.Second

// examine looks at what the broker rests on.
func (p *parts) examine(ctx context.Context) []check {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	all := []check{p.examineStore(ctx)}
	all = append(all, p.examineHosts(ctx)...)
	cfg := p.watcher.Current().Config
	all = append(all, noticeChecks(p.notifier.Status(), cfg.MAPI)...)
	all = append(all, p.examineAudit()...)
	return append(all, ewsCheck(cfg, time.Now()))
}

// examineStore saves, loads and deletes a record as large as a sign-in gets.
func (p *parts) examineStore(ctx context.Context) check {
	c := check{Name: "store", Result: resultOK, Text: fmt.Sprintf("The secret store, %s (%s), takes and gives back what is as large as a sign-in gets.", p.storeInfo.Kind, p.storeInfo.Place)}
	err := credstore.Check(ctx, p.store)
	if unread := p.book.Unread(); err == nil && unread != nil {
		err = unread.Err
	}
	switch {
	case err != nil:
		c.Result, c.Text, c.Remedy = resultProblem, storeFault(err), credstore.ReasonOf(err).Remedy()
	case p.storeInfo.Kind == credstore.Memory:
		c.Result, c.Remedy = resultWarning, "Every sign-in in it ends with the broker; set store: auto to keep them."
	}
	return c
}

// storeFault says what failed, without what to do about it.
func storeFault(err error) string {
	text := "The secret store does not work: " + credstore.ReasonOf(err).String()
	if e, ok := errors.AsType[*credstore.Error](err); ok && e.Err != nil {
		text += ", " + e.Op + " (" + e.Err.Error() + ")"
	}
	return text + "."
}

// host is a machine that the broker needs.
type host struct{ check, name, base string }

// hosts are those that the settings in force name: the login host, and Outlook's
// where there are Outlook targets.
func (p *parts) hosts() []host {
	cfg := p.loaded.Config
	all := []host{{check: "login-host", base: cfg.AuthorityURL()}}
	if r := cfg.Resources["ews"]; r.BaseURL != "" && len(p.watcher.Current().Config.MAPI) > 0 {
		all = append(all, host{check: "outlook-host", base: r.BaseURL})
	}
	for i, h := range all {
		if u, err := url.Parse(h.base); err == nil {
			all[i].name, all[i].base = u.Host, u.Scheme+"://"+u.Host
		}
	}
	return all
}

// examineHosts asks the hosts whether they are there, all at once, and compares
// the clock with the login host's.
func (p *parts) examineHosts(ctx context.Context) []check {
	all := p.hosts()
	checks := make([]check, len(all)+1)
	var wait sync.WaitGroup
	for i, h := range all {
		wait.Go(func() {
			on, err := p.entra.Reach(ctx, h.base)
			checks[i] = hostCheck(h, err)
			if i == 0 {
				checks[len(all)] = clockCheck(h.name, on, time.Now())
			}
		})
	}
	wait.Wait()
	return checks
}

func hostCheck(h host, err error) check {
	if err != nil {
		return check{Name: h.check, Result: resultProblem, Text: h.name + " cannot be reached from here.", Remedy: token.AsError(err).Detail}
	}
	return check{Name: h.check, Result: resultOK, Text: h.name + " answers."}
}

// clockAway is how wrong the clock may be before it is worth a look.
const clockAway = time.Minute

// clockCheck compares our clock with that of a host; a zero on is one that did
// not say.
func clockCheck(name string, on, now time.Time) check {
	c := check{Name: "clock", Result: resultOK, Text: "The clock of this machine is that of " + name + "."}
	if on.IsZero() {
		return check{Name: "clock", Result: resultSkipped, Text: name + " did not say its time."}
	}
	away := now.Sub(on)
	if away.Abs() <= clockAway {
		return c
	}
	c.Result, c.Remedy = resultWarning, "Have the machine set its clock by the network; where it is wrong by more than 5 min, tokens are refused."
	if away.Abs() > clockError {
		c.Result = resultProblem
	}
	side := "ahead of"
	if away < 0 {
		side = "behind"
	}
	c.Text = fmt.Sprintf("The clock of this machine is %s %s that of %s.", span(away), side, name)
	return c
}

// noticeChecks look whether anybody would be told that Outlook needs a person.
func noticeChecks(sinks []notify.Status, targets map[string]config.Target) []check {
	const name = "notifications"
	if len(targets) == 0 {
		return []check{{Name: name, Result: resultSkipped, Text: "No Outlook target is configured, and only those need people who are told."}}
	}
	bad := resultWarning
	for _, t := range targets {
		if t.Policy == config.PolicyNotifyOnly {
			bad = resultProblem // nothing happens unless a person is told
		}
	}
	var checks []check
	var work []string
	for _, s := range sinks {
		if s.Problem == "" {
			work = append(work, s.Sink)
			continue
		}
		checks = append(checks, check{Name: name, Result: resultWarning, Text: "notify." + s.Sink + ": " + s.Problem})
	}
	if len(work) > 0 {
		ok := check{Name: name, Result: resultOK, Text: "People are told by " + strings.Join(work, " and ") + " when Outlook needs one."}
		return append([]check{ok}, checks...)
	}
	return append(checks, check{
		Name: name, Result: bad, Text: "Nobody would be told when Outlook needs a person: no notification works.",
		Remedy: "Set notify.webhook or notify.command in the configuration (on Windows also notify.event_log: true).",
	})
}
