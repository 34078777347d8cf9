package main

import (
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file turns the settings into what each part takes, at the start and when
// they change.

// authorityHosts are the hosts that the settings allow for sign-in.
func authorityHosts(cfg config.Config) []string {
	u, err := url.Parse(cfg.AuthorityURL())
	if err != nil {
		return nil
	}
	return []string{u.Host}
}

// aliases are the accounts that the configuration names.
func aliases(cfg config.Config) map[string]account.Alias {
	out := make(map[string]account.Alias, len(cfg.Accounts))
	for name, a := range cfg.Accounts {
		out[name] = account.Alias{Username: strings.ToLower(a.Username), App: cfg.App(name)}
	}
	return out
}

// settings are the resources, and the one that a sign-in asks for: graph, unless
// no consumer may have it and some may have another.
func settings(cfg config.Config) broker.Settings {
	s := broker.Settings{Resources: make(map[string]token.Scopes, len(cfg.Resources)), SignIn: "graph"}
	for name, r := range cfg.Resources {
		s.Resources[name] = r.Scopes
	}
	s.MAPI = slices.Sorted(maps.Keys(cfg.MAPI))
	var wanted []string
	for _, c := range cfg.Consumers {
		wanted = append(wanted, c.Resources...)
	}
	if len(wanted) > 0 && !slices.Contains(wanted, s.SignIn) {
		s.SignIn = slices.Min(wanted)
	}
	return s
}

// apply puts changed settings in force. Those that need a restart are named in
// the log and stay as they are until then; so do the resources while another
// cloud waits for the restart, as they go with its hosts. What is cached of an
// account that now means somebody else is dropped before any consumer gets a new
// right.
func (p *parts) apply(_, after *config.Loaded, changes []config.Change) error {
	for _, c := range changes {
		if c.Restart {
			p.log.Warn("a changed setting needs a restart of the broker to take effect", slog.String("setting", c.Key))
		}
	}
	cfg, running := after.Config, p.loaded.Config
	if err := p.notifier.Configure(sinks(cfg)); err != nil {
		return err // before anything else is changed
	}
	if cfg.Cloud == running.Cloud {
		p.resources = cfg.Resources
	}
	cfg.Cloud, cfg.Authority, cfg.Tenant, cfg.ClientID, cfg.Resources = running.Cloud, running.Authority, running.Tenant, running.ClientID, p.resources
	p.broker.Forget(p.book.Configure(aliases(cfg), cfg.App("")))
	if err := p.proxy.Configure(bases(cfg.Resources)); err != nil {
		return err
	}
	p.broker.Configure(settings(cfg))
	if err := p.outlook.Configure(targets(cfg)); err != nil {
		p.log.Error("an Outlook target cannot work", slog.Any("error", err))
	}
	if err := p.consumers.ReplaceAsOf(p.specs(cfg), after.ReadOn); err != nil {
		return err
	}
	p.files.Configure(tokenFiles(cfg))
	p.auditSettings(cfg, changes)
	return p.tel.SetLevel(string(cfg.Telemetry.LogLevel))
}
