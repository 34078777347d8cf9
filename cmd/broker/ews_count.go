package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/ews"
	"github.com/m365-token-broker/broker/internal/httpapi"
)

// This file is what the broker itself does about Exchange Web Services: it counts
// them, and warns of their end.

// countEWS notes an operation that went through the proxy.
func (p *parts) countEWS(consumer, operation string) {
	p.ews.Count(consumer, operation)
	p.tel.EWSCall(context.Background(), consumer, p.ews.Known(operation))
}

// ewsUsage is what was counted, with what replaces each operation.
func (p *parts) ewsUsage() httpapi.EWSUsage {
	report := p.ews.Report()
	u := httpapi.EWSUsage{SinceAt: report.Since}
	for _, c := range report.Consumers {
		one := httpapi.EWSConsumer{Consumer: c.Name, Calls: c.Calls, LastAt: c.Last}
		for _, t := range c.Operations {
			r := ews.Exit(t.Operation)
			one.Operations = append(one.Operations, httpapi.EWSOperation{
				Operation: t.Operation, Calls: t.Calls, LastAt: t.Last, Graph: r.Graph, Permission: r.Permission, Note: r.Note,
			})
		}
		u.Consumers = append(u.Consumers, one)
	}
	return u
}

// ewsCheck warns of consumers that may still have tokens for Exchange Web Services
// in Exchange Online; from the day of their end on that is a problem.
func ewsCheck(cfg config.Config, now time.Time) check {
	const name = "ews-exit"
	ending := endingResources(cfg)
	var who []string
	for consumer, c := range cfg.Consumers {
		if slices.ContainsFunc(c.Resources, func(r string) bool { return slices.Contains(ending, r) }) {
			who = append(who, consumer)
		}
	}
	if len(who) == 0 {
		return check{Name: name, Result: resultOK, Text: "No consumer may use Exchange Web Services in Exchange Online."}
	}
	slices.Sort(who)
	c := check{
		Name: name, Result: resultWarning,
		Text:   fmt.Sprintf("Exchange Web Services in Exchange Online %s, and may be used by: %s.", ewsWhen(ews.DaysLeft(now)), strings.Join(who, ", ")),
		Remedy: "See what replaces their calls, and then take ews from their resources; run: broker ews report",
	}
	if ews.DaysLeft(now) <= 0 {
		c.Result = resultProblem
	}
	return c
}

// ewsWhen is ewsDeadline for more than one service.
func ewsWhen(daysLeft int) string {
	return strings.NewReplacer("ends on", "end on", "has ended", "have ended").Replace(ewsDeadline(daysLeft))
}

// endingResources are the resources for Exchange Web Services of Exchange Online,
// by their scopes. Those whose base_url is another server go on.
func endingResources(cfg config.Config) []string {
	online := cfg.Cloud.Endpoints().Outlook
	var all []string
	for name, r := range cfg.Resources {
		scope := slices.ContainsFunc(r.Scopes, func(s string) bool { return strings.HasPrefix(s, online+"/EWS.") })
		base, err := url.Parse(r.BaseURL)
		elsewhere := err == nil && base.Host != "" && base.Scheme+"://"+base.Host != online
		if scope && !elsewhere {
			all = append(all, name)
		}
	}
	return all
}
