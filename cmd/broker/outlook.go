package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/agent"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
	"github.com/m365-token-broker/broker/internal/notify"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// seat is what this process is to Outlook.
type seat struct {
	desktop  desktop.Desktop // nil: this process leaves Outlook to an agent
	account  string          // DOMAIN\user of this process; empty: not known
	sid      string          // of that account; empty: not known
	host     string
	platform mapiadapter.Reason // ReasonPlatform where there is no Outlook
	sessions func(ctx context.Context) mapiadapter.Sessions
	// probe opens a profile by MAPI in this process's own logon; nil: this is the
	// agent's, or there is no MAPI.
	probe func(ctx context.Context, profile, mode string) (hresult uint32, err error)
	fault error // why this process cannot see Outlook; tokens go on without it
	brisk bool  // the limits are for a scripted desktop
}

// wireOutlook puts the Outlook fallback together: who is told of it, and the
// machines of the targets. A target that cannot work is not in the way of tokens.
func (p *parts) wireOutlook(ctx context.Context, w wiring) error {
	way, err := wayOut(p.loaded.Config)
	if err != nil {
		return err
	}
	p.desktop = w.seat.desktop
	p.notifier, err = notify.New(notify.Config{
		Sinks: sinks(p.loaded.Config), Log: p.log, Host: w.seat.host, Version: version(), Environ: w.env.environ,
		Roots: way.Roots, Proxy: way.Proxy, Transport: w.upstream,
	})
	if err != nil {
		return err
	}
	p.outlook = mapiadapter.New(mapiadapter.Config{
		Dir: filepath.Join(p.loaded.Places.StateDir, "mapi"), Limits: w.seat.limits(), Log: p.log,
		Host: w.seat.host, Account: w.seat.account, SID: w.seat.sid, Platform: w.seat.platform, Sessions: w.seat.sessions,
		Reach: p.reach, Tell: p.tellOutlook, Renewed: p.renewed, Probe: w.seat.probe,
	})
	if w.seat.fault != nil {
		p.log.ErrorContext(ctx, "this process cannot see Outlook; broker agent can, where it can", slog.Any("error", w.seat.fault))
	}
	if err := p.outlook.Configure(targets(p.loaded.Config)); err != nil {
		p.log.ErrorContext(ctx, "an Outlook target cannot work", slog.Any("error", err))
	}
	return nil
}

// sinks are where the settings send what people should know.
func sinks(cfg config.Config) notify.Sinks {
	n := cfg.Notify
	return notify.Sinks{EventLog: n.EventLog, Webhook: n.Webhook, WebhookSecretFile: n.WebhookSecretFile, Command: n.Command}
}

// agentKey is the key for an agent of its own. Where the store cannot keep it
// there is none, which the log says; tokens do not depend on it.
func (p *parts) agentKey(ctx context.Context, w wiring) token.Secret {
	if p.listener == nil || p.desktop != nil || w.seat.platform != mapiadapter.ReasonNone {
		return token.Secret{}
	}
	key, err := makeAgentKey(ctx, p.store)
	if err != nil {
		p.log.ErrorContext(ctx, "no Outlook agent can speak to this broker", slog.Any("error", err))
	}
	return key
}

// agentTask does the agent's work inside the broker, where this process is in
// the session itself. While no target is configured, nobody looks at Outlook.
func (p *parts) agentTask() lifecycle.Task {
	a := agent.New(agent.Config{Desktop: p.desktop, Link: ownLink{p.outlook}, Probe: probeOutlook, Version: version(), Log: p.log})
	return lifecycle.Task{Name: "Outlook agent", Run: func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-p.outlook.Wanted():
			return a.Run(ctx)
		}
	}}
}

// ownLink is the way from an agent in this process.
type ownLink struct{ outlook *mapiadapter.Adapter }

func (l ownLink) Sync(ctx context.Context, r mapiadapter.Report, wait time.Duration) (mapiadapter.Orders, error) {
	return l.outlook.Sync(ctx, r, mapiadapter.From{InBroker: true, Wait: wait})
}

// probeOutlook opens a profile by MAPI, in a process of Office's bitness.
func probeOutlook(ctx context.Context, profile, mode string) (uint32, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find the broker's own program: %w", err)
	}
	res, err := mapiprobe.Probe(ctx, self, profile, mapiprobe.Mode(mode))
	return res.HResult, err
}

// targets are the Outlook targets of the settings.
func targets(cfg config.Config) []mapiadapter.Target {
	var out []mapiadapter.Target
	for name, t := range cfg.MAPI {
		out = append(out, mapiadapter.Target{
			Name: name, Profile: t.Profile, Mode: string(t.Mode), Policy: mapiadapter.Policy(t.Policy),
			Account: t.Account, Service: t.Service, Probe: t.Probe, Notice: t.Notice,
		})
	}
	slices.SortFunc(out, func(a, b mapiadapter.Target) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// clockError is how wrong the clock may be before tokens are refused for it: the
// skew that Entra ID and Exchange Online allow.
const clockError = 5 * time.Minute

// reach looks whether Microsoft 365 is there, and the clock right: at the login
// host, and where Outlook goes.
func (p *parts) reach(ctx context.Context) mapiadapter.Reason {
	cfg := p.loaded.Config
	bases := []string{cfg.AuthorityURL()}
	if r, ok := cfg.Resources["ews"]; ok && r.BaseURL != "" {
		bases = append(bases, r.BaseURL)
	}
	for _, base := range bases {
		u, err := url.Parse(base)
		if err != nil {
			continue
		}
		l, err := p.entra.LookAt(ctx, u.Scheme+"://"+u.Host)
		if l.Problem != nil {
			err = l.Problem
		}
		switch {
		case err != nil:
			p.log.DebugContext(ctx, "not reached", slog.Any("error", err))
			return mapiadapter.ReasonNetwork
		case !l.On.IsZero() && time.Since(l.On).Abs() > clockError:
			return mapiadapter.ReasonClock
		}
	}
	return mapiadapter.ReasonNone
}

// tellOutlook tells people of an Outlook target.
func (p *parts) tellOutlook(n mapiadapter.Notice) {
	v := n.View
	p.notifier.Notify(notify.Event{
		ID: n.Number, Severity: severityOf(v.Phase), Subject: "mapi/" + v.Name, State: string(v.Phase), Reason: string(v.Reason),
		Text: v.Message, Action: v.Action, On: time.Now(), Repeat: n.Repeat,
		Key: fmt.Sprint(v.Name, "/", n.Number, "/", v.Since.UnixNano(), "/", n.Repeat),
	})
}

func severityOf(phase mapiadapter.Phase) notify.Severity {
	switch phase {
	case mapiadapter.NeedsUser, mapiadapter.Suspended, mapiadapter.Unsupported, mapiadapter.Session0Broken:
		return notify.Error
	case mapiadapter.Backoff, mapiadapter.WaitSession, mapiadapter.WaitAgent:
		return notify.Warning
	default:
		return notify.Info
	}
}

// agentUser is the SID of the account at the other end of an agent's connection,
// as far as the system tells; its key, which only our account can read, comes
// first anyway. Other systems have no SIDs.
func agentUser(ctx context.Context, local, remote netip.AddrPort) string {
	if runtime.GOOS != "windows" {
		return ""
	}
	there, err := peer.Of(ctx, local, remote)
	if err != nil {
		return ""
	}
	return there.User
}
