package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/notify"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// auditDir is where the audit log lies.
func auditDir(stateDir string) string { return filepath.Join(stateDir, "audit") }

// wireAudit makes the audit log. It touches no file before its first line, which
// a command that only looks never writes.
func (p *parts) wireAudit(cfg config.Config) {
	ac := audit.Config{Dir: auditDir(p.loaded.Places.StateDir), Hash: p.tel.AccountHash, Log: p.log}
	ac.Lost = func(lines int64) { p.tel.AuditLost(context.Background(), lines) } // no request's
	if write := notify.EventLog(); write != nil {
		ac.Copy = func(l audit.Line) error { return write(auditEvent(l)) }
	}
	p.audit = audit.New(ac)
	p.configureAudit(cfg)
	if p.listener != nil {
		p.audit.Record(audit.Record{Event: audit.BrokerStarted})
	}
}

// noEventLog is said where the settings want what this system has not.
const noEventLog = "audit.event_log is on, and this system has no Windows event log; the audit log in the state directory has every line."

func (p *parts) configureAudit(cfg config.Config) {
	p.audit.Configure(audit.Settings{File: cfg.Audit.File, EventLog: cfg.Audit.EventLog})
	if cfg.Audit.EventLog && notify.EventLog() == nil {
		p.log.Warn("a setting needs a look", slog.String("warning", noEventLog))
	}
}

// closeAudit writes the last lines, and gives up with ctx. The log gets the number
// and the hash of the last one: who keeps that elsewhere can tell later whether the
// audit log was written anew.
func (p *parts) closeAudit(ctx context.Context) error {
	if p.listener != nil {
		p.audit.Record(audit.Record{Event: audit.BrokerStopped})
	}
	if err := p.audit.Close(ctx); err != nil || ctx.Err() != nil {
		return err // a disk that is late has the head, too
	}
	if seq, hash := p.audit.Head(); seq > 0 {
		p.log.InfoContext(ctx, "the audit log ends", slog.Uint64("seq", seq), slog.String("hash", hash))
	}
	return nil
}

// audited is the audit log as the API and the proxy tell it things.
type audited struct {
	log       *audit.Log
	canonical func(account string) string
}

func (p *parts) audited() audited {
	return audited{log: p.audit, canonical: func(name string) string { return p.watcher.Current().Config.Canonical(name) }}
}

// Issued is a token that leaves.
func (a audited) Issued(id *consumer.Identity, key token.Key, etag, requestID string) {
	a.log.Issued(id.Name, key, etag, requestID)
}

// sentOn is a token that the proxy sends to a resource for a consumer.
func (p *parts) sentOn(id *consumer.Identity, key token.Key, etag, requestID string) {
	id.Served(key)
	p.audited().Issued(id, key, etag, requestID)
}

// Refused is a request that gets nothing.
func (a audited) Refused(id *consumer.Identity, kind token.Kind, route, requestID string) {
	name := ""
	if id != nil {
		name = id.Name
	}
	a.log.Refused(name, kind, route, requestID)
}

// Did is what an administrator did.
func (a audited) Did(id *consumer.Identity, action, subject, requestID string) {
	r := audit.Record{Event: audit.Event(action), Consumer: id.Name, Outcome: "ok", RequestID: requestID}
	if action == "signout" || strings.HasPrefix(action, "account.") {
		r.Account = a.canonical(subject)
	} else {
		r.Subject = subject
	}
	a.log.Record(r)
}

// auditSignIn is a sign-in that began or ended.
func (p *parts) auditSignIn(v signin.View) {
	r := audit.Record{Event: audit.Event("signin." + string(v.State)), Consumer: v.By, Account: v.Account, Flow: string(v.Flow), Outcome: "ok"}
	if v.State == signin.StatePending {
		r.Event, r.Outcome = "signin.started", ""
	} else if v.Problem != nil {
		r.Outcome = v.Problem.Kind.Code()
	}
	if r.Account != "" {
		r.Account = p.watcher.Current().Config.Canonical(r.Account)
	}
	p.audit.Record(r)
}

// auditSettings is that other settings are in force. The line comes before what it
// switches off.
func (p *parts) auditSettings(cfg config.Config, changes []config.Change) {
	r := audit.Record{Event: audit.PolicyChanged}
	for _, c := range changes {
		r.Keys = append(r.Keys, p.auditKey(c.Key))
	}
	p.audit.Record(r)
	p.configureAudit(cfg)
}

// auditKey is a setting's key with the name of an account as its hash: it may be
// anything.
func (p *parts) auditKey(key string) string {
	const accounts = "accounts."
	name, ok := strings.CutPrefix(key, accounts)
	field := strings.LastIndexByte(name, '.')
	if !ok || field < 0 {
		return key
	}
	return accounts + p.tel.AccountHash(name[:field]) + name[field:]
}

// auditWarnings say what is wrong with the audit log.
func (p *parts) auditWarnings() []string {
	var all []string
	if f := p.audit.Fault(); f != nil {
		all = append(all, fmt.Sprintf("The audit log cannot be written, and %d lines of it are lost so far: %v.", f.Lost, f.Err))
	} else if lost := p.audit.Lost(); lost > 0 {
		all = append(all, fmt.Sprintf("%d lines of the audit log were lost since the start; its audit.lost lines say when.", lost))
	}
	if p.watcher.Current().Config.Audit.EventLog && notify.EventLog() == nil {
		all = append(all, noEventLog)
	}
	return all
}

// examineAudit is what is wrong with the audit log, if anything is.
func (p *parts) examineAudit() []check {
	var all []check
	for _, w := range p.auditWarnings() {
		c := check{Name: "audit", Result: resultWarning, Text: w}
		if p.audit.Fault() != nil {
			c.Result, c.Remedy = resultProblem, "Free space on the disk of the state directory, or make it writable; the broker tries again by itself."
		}
		all = append(all, c)
	}
	return all
}

// auditEvent is a line for the Windows event log. The IDs are in internal/notify.
func auditEvent(l audit.Line) notify.Event {
	e := notify.Event{ID: notify.IDAuditBroker, Severity: notify.Info, Subject: "audit", State: string(l.Event), Reason: l.Outcome, Text: l.String(), On: l.Time.Time}
	kind, _, _ := strings.Cut(string(l.Event), ".")
	switch {
	case l.Event == audit.Lost, l.Event == audit.Torn, l.Event == audit.Damaged:
		e.ID, e.Severity = notify.IDAuditFault, notify.Error
	case kind == "request":
		e.ID, e.Severity = notify.IDAuditRefused, notify.Warning
	case kind == "signin", kind == "signout", kind == "account", kind == "ui":
		e.ID = notify.IDAuditSignIn
	case kind == "consumer":
		e.ID = notify.IDAuditKey
	case kind == "policy":
		e.ID = notify.IDAuditPolicy
	}
	return e
}
