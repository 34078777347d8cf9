package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/reminder"
)

// This file turns what the API says into checks: its own, the accounts, and the
// Outlook targets.

// ask asks a broker for what it knows.
func (d *doctor) ask(ctx context.Context, a *api) {
	if screenOf(d.o.env.stderr, d.o.env.getenv).any() {
		fmt.Fprintln(d.o.env.stderr, "broker: looking at the network, the store and the accounts; this takes up to 15 s")
	}
	d.askBroker(ctx, a)
	if !d.only.any(nameAccounts, nameConsumers, nameOutlook) {
		return
	}
	targets, failed := a.targets(ctx)
	accounts, err := a.accounts(ctx)
	if err != nil {
		d.found(nameAccounts, resultProblem, "The accounts cannot be listed: "+sentence(err), "")
	} else {
		d.checks = append(d.checks, accountChecks(accounts, len(targets) > 0, time.Now())...)
		for _, name := range strangers(d.only, "account/", accounts, func(a httpapi.Account) string { return a.Account }) {
			d.found("account/"+name, resultProblem, "There is no account "+name+".", "See which there are with: broker accounts")
		}
	}
	d.meetUsers(accounts, targets)
	d.askConsumers(ctx, a, accounts)
	if failed != nil {
		d.found(nameOutlook, resultProblem, "The Outlook targets cannot be listed: "+sentence(failed), "")
		return
	}
	if len(targets) == 0 {
		d.skip("No Outlook target is configured.", nameOutlook)
	}
	for _, t := range targets {
		d.checks = append(d.checks, mapiChecks(t)...)
	}
	for _, name := range strangers(d.only, "outlook/", targets, func(t httpapi.MapiTarget) string { return t.Target }) {
		d.found("outlook/"+name, resultProblem, "There is no Outlook target "+name+".", "See which there are with: broker mapi status")
	}
}

// askBroker lets the broker look at itself. An older one makes all of its checks.
func (d *doctor) askBroker(ctx context.Context, a *api) {
	names := d.only.ofBroker()
	if len(names) == 0 {
		return
	}
	var query url.Values
	if len(d.only) > 0 {
		query = url.Values{"check": {strings.Join(names, ",")}}
	}
	var own httpapi.DoctorReport
	if err := a.call(ctx, http.MethodGet, "/v1/doctor", query, nil, &own); err != nil {
		d.found(nameBroker, resultProblem, "The broker could not look at itself: "+sentence(err), "")
	}
	d.checks = append(d.checks, own.Checks...)
}

// accountChecks is a check for each account.
func accountChecks(list []httpapi.Account, outlook bool, now time.Time) []check {
	switch {
	case len(list) == 0 && outlook:
		return []check{{Name: "accounts", Result: resultSkipped, Text: "No account is signed in; the Outlook targets need none."}}
	case len(list) == 0:
		return []check{{Name: "accounts", Result: resultWarning, Text: "No account is signed in, so that nobody can get a token.", Remedy: "Run: broker login"}}
	}
	var checks []check
	for _, a := range list {
		checks = append(checks, accountCheck(a, now))
	}
	return checks
}

// storeLate is how old a sign-in that is not stored must be to be worth a look: it
// is stored beside the answer that it came with.
const storeLate = 10 * time.Second

// accountCheck is the account's state. It has the account's name as `broker
// accounts` shows it, and not the user's.
func accountCheck(a httpapi.Account, now time.Time) check {
	c := check{Name: "account/" + a.Account, Result: resultOK, Text: "It is signed in."}
	if !a.PredictedEndAt.IsZero() {
		c.Text = fmt.Sprintf("It is signed in; unused, the sign-in would end %s.", until(now, a.PredictedEndAt))
	}
	if a.PredictedEndReason == httpapi.EndReasonSignInFrequency {
		c.Text = "It is signed in; " + frequencyOf(now, a)
	}
	switch {
	case a.State == httpapi.AccountStateOk && a.Persisted && endsSoon(now, a):
		c.Result, c.Remedy = resultWarning, "Run before that: broker login --account "+a.Account
	case a.State == httpapi.AccountStateSignInRequired:
		c.Result, c.Text, c.Remedy = resultProblem, "Nobody has signed in to it on this machine.", "Run: broker login --account "+a.Account
		if isSignedIn(a) {
			c.Text = "Its sign-in has ended."
		}
	case a.State == httpapi.AccountStateDegraded:
		c.Result, c.Text = resultWarning, "Its tokens are served, and renewing them fails."
	case !a.Persisted && now.Sub(a.RefreshTokenAt) > storeLate:
		c.Result, c.Text, c.Remedy = resultWarning, "Its sign-in is not in the secret store yet, and would be lost if the broker ended now.", "See what is said of the store; the broker tries again by itself."
	}
	if a.Problem.Code != "" {
		c.Text = a.Problem.Detail
		if c.Remedy == "" {
			c.Remedy = accountRemedy(a, now)
		}
	}
	return c
}

// endsSoon reports whether people should know by now that the sign-in ends.
func endsSoon(now time.Time, a httpapi.Account) bool {
	switch a.PredictedEndReason {
	case httpapi.EndReasonIdle:
		return reminder.End{On: a.PredictedEndAt, From: a.RefreshTokenAt}.Near(now)
	case httpapi.EndReasonSignInFrequency:
		return reminder.End{On: a.PredictedEndAt, From: a.SignedInAt}.Near(now)
	default:
		return false
	}
}

// accountRemedy is what to do about an account's problem, besides what its
// sentence says.
func accountRemedy(a httpapi.Account, now time.Time) string {
	switch {
	case a.Problem.UserAction == httpapi.ProblemUserActionSignIn:
		return "Run: broker login --account " + a.Account
	case a.Problem.UserAction == httpapi.ProblemUserActionContactAdmin && a.Problem.CorrelationID != "":
		return "An administrator finds it in the sign-in log under the correlation ID " + a.Problem.CorrelationID + "."
	case a.Problem.UserAction == httpapi.ProblemUserActionContactAdmin:
		return "Ask an administrator of the tenant."
	case !a.NextTryAt.IsZero():
		return "The broker tries again by itself, " + until(now, a.NextTryAt) + "."
	default:
		return ""
	}
}

// mapiChecks is what stands, or would stand, in the way of renewals of an Outlook
// target: what its phase says, then what the next renewal would meet.
func mapiChecks(t httpapi.MapiTarget) []check {
	name := "outlook/" + t.Target
	checks := []check{targetCheck(name, t)}
	switch o := t.Obstacle; {
	case o.Phase != "":
		checks = append(checks, check{Name: name, Result: resultProblem, Text: o.Message, Remedy: o.Action})
	case t.Phase == httpapi.MapiPhaseIdle && !t.Agent.Present:
		checks = append(checks, check{
			Name: name, Result: resultWarning, Text: "Nothing has been seen of its session and its Outlook yet, so that what would stop a renewal is not known.",
			Remedy: "Run this again once the broker has run for two minutes.",
		})
	}
	for _, w := range t.Warnings {
		text, remedy := divide(w)
		checks = append(checks, check{Name: name, Result: resultWarning, Text: text, Remedy: remedy})
	}
	return checks
}

// divide takes a warning apart: first what is true, then what to do. One that
// is not made like that stays whole.
func divide(warning string) (text, remedy string) {
	text, remedy, found := strings.Cut(warning, "; ")
	if !found {
		text, remedy, found = strings.Cut(warning, ". ")
	}
	if !found || remedy == "" {
		return warning, ""
	}
	return text + ".", strings.ToUpper(remedy[:1]) + remedy[1:]
}

// targetCheck is what the phase says.
func targetCheck(name string, t httpapi.MapiTarget) check {
	c := check{Name: name, Result: resultProblem, Text: t.Message, Remedy: t.Action}
	expired := t.Freshness == httpapi.MapiFreshnessExpired
	switch t.Phase {
	case httpapi.MapiPhaseIdle:
		c.Result = resultOK
		if expired || t.Freshness == httpapi.MapiFreshnessUnknown {
			c.Result = resultWarning
		}
	case httpapi.MapiPhasePrecheck, httpapi.MapiPhaseTrigger, httpapi.MapiPhaseObserve:
		c.Result = resultOK
	case httpapi.MapiPhaseBackoff:
		c.Remedy = backoffRemedy(t)
		if !expired {
			c.Result = resultWarning
		}
	case httpapi.MapiPhaseNeedsUser, httpapi.MapiPhaseWaitSession, httpapi.MapiPhaseWaitAgent,
		httpapi.MapiPhaseSuspended, httpapi.MapiPhaseUnsupported, httpapi.MapiPhaseSession0Broken:
	}
	return c
}

// backoffRemedies are what a person can do while the broker waits.
var backoffRemedies = map[mapiadapter.Reason]string{
	mapiadapter.ReasonNetwork: "See what is said of login-host and outlook-host; the broker tries again by itself.",
	mapiadapter.ReasonClock:   "See what is said of the clock; the broker tries again by itself.",
	mapiadapter.ReasonBudget:  "Find out what closes Outlook there, or why it does not renew; the budget holds also for: broker mapi ensure",
}

func backoffRemedy(t httpapi.MapiTarget) string {
	if r, ok := backoffRemedies[mapiadapter.Reason(t.Reason)]; ok {
		return r
	}
	return "The broker tries again by itself; what it did before shows: broker mapi history " + t.Target
}
