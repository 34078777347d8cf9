package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
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

// specs are the consumers as the registry takes them.
func specs(cfg config.Config) []consumer.Spec {
	var out []consumer.Spec
	for name, c := range cfg.Consumers {
		s := consumer.Spec{
			Name: name, Resources: c.Resources, MAPI: c.MAPI, Rate: c.Rate, Executable: c.Executable, Metrics: c.Metrics,
		}
		for _, k := range c.KeySHA256 {
			h, _ := config.ParseKeyHash(k) // Load has checked it
			s.Keys = append(s.Keys, consumer.KeyHash(h))
		}
		for _, a := range c.Accounts {
			s.Accounts = append(s.Accounts, cfg.Canonical(a))
		}
		out = append(out, s)
	}
	return out
}

// dropIns keeps consumers as files beside the configuration, one change at a
// time.
type dropIns struct {
	watcher *config.Watcher
	turn    chan struct{} // holds one value: who has it may write
}

// take waits for its turn; call the function it returns when done.
func (d dropIns) take(ctx context.Context) (func(), error) {
	select {
	case d.turn <- struct{}{}:
		return func() { <-d.turn }, nil
	case <-ctx.Done():
		return nil, token.AsError(ctx.Err())
	}
}

// Save writes the consumer's drop-in.
func (d dropIns) Save(ctx context.Context, s consumer.Spec) error {
	done, err := d.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	c := config.Consumer{
		Accounts: s.Accounts, Resources: s.Resources, MAPI: s.MAPI, Rate: s.Rate, Executable: s.Executable, Metrics: s.Metrics,
	}
	for _, k := range s.Keys {
		c.KeySHA256 = append(c.KeySHA256, config.KeyHash(k).String())
	}
	_, err = d.watcher.Current().SaveConsumer(s.Name, c)
	return err
}

// Remove deletes the consumer's drop-in.
func (d dropIns) Remove(ctx context.Context, name string) error {
	done, err := d.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	return d.watcher.Current().RemoveConsumer(name)
}

// resolveConsumer makes the account names of a new consumer canonical, and
// refuses one whose resources or targets do not exist. An account need not be
// signed in yet.
func (p *parts) resolveConsumer(s consumer.Spec) (consumer.Spec, error) {
	cfg := p.watcher.Current().Config
	for _, r := range s.Resources {
		if _, ok := cfg.Resources[r]; !ok {
			return s, token.NewError(token.KindUnknownResource, "add consumer", fmt.Sprintf("There is no resource %q; `broker config check` lists those that are configured.", r))
		}
	}
	for _, m := range s.MAPI {
		if _, ok := cfg.MAPI[m]; !ok {
			return s, token.NewError(token.KindInvalidRequest, "add consumer", fmt.Sprintf("There is no Outlook target %q in the configuration.", m))
		}
	}
	for i, a := range s.Accounts {
		s.Accounts[i] = cfg.Canonical(a)
	}
	return s, nil
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
	p.broker.Configure(settings(cfg))
	if err := p.outlook.Configure(targets(cfg)); err != nil {
		p.log.Error("an Outlook target cannot work", slog.Any("error", err))
	}
	if err := p.consumers.ReplaceAsOf(specs(cfg), after.ReadOn); err != nil {
		return err
	}
	return p.tel.SetLevel(string(cfg.Telemetry.LogLevel))
}
