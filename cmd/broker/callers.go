package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file carries consumers between the settings and the registry.

// specs are the consumers as the registry takes them.
func (p *parts) specs(cfg config.Config) []consumer.Spec {
	var out []consumer.Spec
	for name, c := range cfg.Consumers {
		s := consumer.Spec{
			Name: name, Resources: c.Resources, MAPI: c.MAPI, Rate: c.Rate, Metrics: c.Metrics, Hours: c.Hours, ClientID: c.ClientID,
			Executable: c.Executable, SHA256: c.SHA256, User: c.User, UserID: p.userID(name, c.User),
			Sink: c.Sink, SinkFormat: c.SinkFormat, Note: c.Note,
		}
		for _, k := range c.KeySHA256 {
			h, _ := config.ParseKeyHash(k) // Load has checked it
			s.Keys = append(s.Keys, consumer.KeyHash(h))
		}
		for _, a := range c.Accounts {
			// The settings fit each other, but a changed client_id of the broker waits
			// for the restart: until then the account's tokens are another app's.
			if app := cfg.App(a).ClientID; c.ClientID != "" && !strings.EqualFold(app, c.ClientID) {
				p.log.Warn("a consumer gets no token until the broker is started again: its client_id is not yet that of its account", slog.String("consumer", name))
				continue
			}
			s.Accounts = append(s.Accounts, cfg.Canonical(a))
		}
		out = append(out, s)
	}
	return out
}

// userID is what the system calls the account that a consumer's program must run
// as. Where there is no such account, as for one of a domain that cannot be
// reached, it is empty, and the consumer is refused until the settings are read
// again: anything else would let in whoever has the key.
func (p *parts) userID(consumerName, user string) string {
	id, err := accountID(user)
	if err != nil {
		p.log.Warn("the account that a consumer is tied to is not known on this machine; the consumer is refused until its user is corrected, or the broker is started again once the account can be found",
			slog.String("consumer", consumerName), slog.Any("error", err))
	}
	return id
}

// accountID finds the SID or the user ID of an account, which may be written as
// that already.
func accountID(user string) (string, error) {
	switch {
	case user == "":
		return "", nil
	case strings.Trim(user, "0123456789") == "", len(user) > 4 && strings.EqualFold(user[:4], "S-1-"):
		return strings.ToUpper(user), nil
	}
	return lookUpAccount(user)
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
		Accounts: s.Accounts, Resources: s.Resources, MAPI: s.MAPI, Rate: s.Rate, Metrics: s.Metrics, Hours: s.Hours, ClientID: s.ClientID,
		Executable: s.Executable, SHA256: s.SHA256, User: s.User, Sink: s.Sink, SinkFormat: s.SinkFormat, Note: s.Note,
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
// refuses one whose resources, targets or user do not exist. An account need not
// be signed in yet.
func (p *parts) resolveConsumer(s consumer.Spec) (consumer.Spec, error) {
	const op = "add consumer"
	cfg := p.watcher.Current().Config
	for _, r := range s.Resources {
		if _, ok := cfg.Resources[r]; !ok {
			return s, token.NewError(token.KindUnknownResource, op, fmt.Sprintf("There is no resource %q; `broker config check` lists those that are configured.", r))
		}
	}
	for _, m := range s.MAPI {
		if _, ok := cfg.MAPI[m]; !ok {
			return s, token.NewError(token.KindInvalidRequest, op, fmt.Sprintf("There is no Outlook target %q in the configuration.", m))
		}
	}
	for i, a := range s.Accounts {
		s.Accounts[i] = cfg.Canonical(a)
		if app := cfg.App(s.Accounts[i]).ClientID; s.ClientID != "" && !strings.EqualFold(app, s.ClientID) {
			return s, token.NewError(token.KindInvalidRequest, op, fmt.Sprintf("Account %q is signed in with another app than client_id %s; add an alias with that client_id to the accounts of the configuration, and name the alias.", a, s.ClientID))
		}
	}
	if s.Sink != "" && s.SinkFormat == "" {
		s.SinkFormat = config.SinkRaw
	}
	id, err := accountID(s.User)
	if err != nil {
		return s, token.NewError(token.KindInvalidRequest, op, fmt.Sprintf("There is no account %q on this machine; write it as whoami shows it, or as a SID or user ID.", s.User))
	}
	s.UserID = id
	return s, p.checkTokenFile(s)
}
