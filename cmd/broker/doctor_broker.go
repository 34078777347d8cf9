package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/notify"
)

// This file has the checks that the broker makes of itself, for GET /v1/doctor.

// examineTime bounds all of them together; each request on the network has less.
const (
	examineTime = 14 * time.Second
	examineOne  = 5 * time.Second // one request
	storeTime   = 4 * time.Second // a store may wait for a person
)

// examination is some checks that are made together.
type examination struct {
	names []string
	run   func(ctx context.Context, only wanted) []check
}

// examinations are all of them, in the order of the report. None rests on
// another, so that they are made at once.
func (p *parts) examinations() []examination {
	return []examination{
		{[]string{nameSettings}, func(context.Context, wanted) []check {
			return []check{settingsCheck(config.Diff(p.loaded, p.watcher.Current()))}
		}},
		{[]string{nameStore}, p.examineStore},
		{[]string{nameLogon}, func(context.Context, wanted) []check {
			return logonChecks(thisLogon(), p.storeInfo.Kind, len(p.watcher.Current().Config.MAPI) > 0)
		}},
		{[]string{nameProxy, nameDNS, nameTLS, nameLoginHost, nameClock, nameTenant, nameRegistration}, p.examineLogin},
		{[]string{nameOutlookHost}, p.examineOutlook},
		{[]string{nameTelemetry}, p.examineTelemetry},
		{[]string{nameNotifications}, func(context.Context, wanted) []check {
			return noticeChecks(p.notifier.Status(), p.watcher.Current().Config.MAPI, len(p.book.Names()) > 0)
		}},
		{[]string{nameAudit}, p.examineAuditLog},
		{[]string{nameEWSExit}, func(context.Context, wanted) []check {
			return []check{ewsCheck(p.watcher.Current().Config, time.Now())}
		}},
		{[]string{nameEWS}, p.examineEWS},
	}
}

// examine looks at what the broker rests on, or only at what is named.
func (p *parts) examine(ctx context.Context, names []string) []check {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	only, all := wanted(names), p.examinations()
	found := make([][]check, len(all))
	var wait sync.WaitGroup
	for i, e := range all {
		if only.any(e.names...) {
			wait.Go(func() { found[i] = e.run(ctx, only) })
		}
	}
	wait.Wait()
	return only.only(slices.Concat(found...))
}

// settingsCheck names what waits for a restart.
func settingsCheck(changes []config.Change) check {
	var waiting []string
	for _, c := range changes {
		if c.Restart {
			waiting = append(waiting, c.Key)
		}
	}
	if len(waiting) == 0 {
		return check{Name: nameSettings, Result: resultOK, Text: "No changed setting waits for a restart of the broker."}
	}
	return check{
		Name: nameSettings, Result: resultWarning,
		Text:   "Settings were changed that the running broker does not have yet: " + strings.Join(waiting, ", ") + ".",
		Remedy: "Restart the broker, so that they take effect.",
	}
}

// examineStore saves, loads and deletes a record as large as a sign-in gets.
func (p *parts) examineStore(ctx context.Context, _ wanted) []check {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	c := check{Name: nameStore, Result: resultOK, Text: fmt.Sprintf("The secret store, %s (%s), takes and gives back what is as large as a sign-in gets.", p.storeInfo.Kind, p.storeInfo.Place)}
	err := credstore.Check(ctx, p.store)
	if unread := p.book.Unread(); err == nil && unread != nil {
		err = unread.Err
	}
	switch {
	case err != nil:
		c.Result, c.Text, c.Remedy = resultProblem, storeFault(err), credstore.ReasonOf(err).Remedy()
	case p.storeInfo.Kind == credstore.Memory:
		c.Result, c.Text, c.Remedy = resultWarning, "The secret store is in memory: every sign-in in it ends with the broker.", "Set store: auto to keep them."
	}
	return []check{c}
}

// storeFault says what failed, without what to do about it.
func storeFault(err error) string {
	text := "The secret store does not work: " + credstore.ReasonOf(err).String()
	if e, ok := errors.AsType[*credstore.Error](err); ok && e.Err != nil {
		text += ", " + e.Op + " (" + e.Err.Error() + ")"
	}
	return text + "."
}

// noticeChecks look whether anybody would be told that an account or Outlook needs
// a person.
func noticeChecks(sinks []notify.Status, targets map[string]config.Target, accounts bool) []check {
	const name = nameNotifications
	bad, what := resultWarning, "an account or Outlook"
	switch {
	case len(targets) == 0 && !accounts:
		return []check{{Name: name, Result: resultSkipped, Text: "There is no account and no Outlook target that could need a person."}}
	case len(targets) == 0:
		what = "an account"
	case !accounts:
		what = "Outlook"
	}
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
		ok := check{Name: name, Result: resultOK, Text: "People are told by " + strings.Join(work, " and ") + " when " + what + " needs one."}
		return append([]check{ok}, checks...)
	}
	return append(checks, check{
		Name: name, Result: bad, Text: "Nobody would be told when " + what + " needs a person: no notification works.",
		Remedy: "Set notify.webhook or notify.command in the configuration (on Windows also notify.event_log: true), and see with: broker notify test",
	})
}
