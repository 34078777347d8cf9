package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/telemetry"
	"github.com/m365-token-broker/broker/internal/token"
)

// samples is what the gauges show.
func (p *parts) samples() []telemetry.AccountSample {
	var out []telemetry.AccountSample
	for _, v := range p.broker.Accounts() {
		s := telemetry.AccountSample{Account: v.Name, State: string(v.State), RefreshTokenOn: v.RefreshTokenOn, PredictedEnd: v.PredictedEnd, EndReason: string(v.PredictedWhy)}
		for _, r := range v.Resources {
			if !r.ExpiresOn.IsZero() {
				s.Tokens = append(s.Tokens, telemetry.TokenSample{Resource: r.Name, ExpiresOn: r.ExpiresOn})
			}
		}
		out = append(out, s)
	}
	return out
}

// tellSignIn logs that a sign-in began or ended; an operator wants to see both.
func (p *parts) tellSignIn(v signin.View) {
	attrs := []any{slog.String("state", string(v.State)), slog.String("flow", string(v.Flow))}
	if v.Account != "" {
		attrs = append(attrs, slog.String("account", p.tel.AccountHash(v.Account)))
	}
	if v.Problem != nil {
		attrs = append(attrs, slog.Any("problem", v.Problem))
	}
	p.log.Info("sign-in", attrs...)
	p.auditSignIn(v)
}

// clockMoved is told of a resume from sleep or a jump of the clock.
func (p *parts) clockMoved(reason string) {
	p.log.Info("looking at every token again", slog.String("because", reason))
	p.scheduler.Wake()
}

// warmTime bounds the warm-up of one authority.
const warmTime = 30 * time.Second

// warm reads the discovery document of every app registration ahead of the
// first request, and ends. Failures are told when a request meets them.
func (p *parts) warm(ctx context.Context) error {
	var done []token.App
	for _, name := range append(p.book.Names(), "") {
		app := p.book.App(name)
		if app.Tenant == "" || slices.Contains(done, app) {
			continue
		}
		done = append(done, app)
		warming, cancel := context.WithTimeout(ctx, warmTime)
		if err := p.entra.Warm(warming, app); err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "the authority cannot be reached yet", slog.Any("error", token.AsError(err)))
		}
		cancel()
	}
	return nil
}

// anyAccountOK reports readiness: at least one account is ok, or none is
// configured or signed in.
func anyAccountOK(views []account.View) bool {
	for _, v := range views {
		if v.State == account.StateOK {
			return true
		}
	}
	return len(views) == 0
}
