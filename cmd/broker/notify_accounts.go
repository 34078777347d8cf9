package main

import (
	"cmp"
	"os"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/reminder"
)

// This file says of each account what it needs of people.

// needs lists the accounts for the reminder. While stored sign-ins cannot be read
// the list is not whole, and nobody knows whether an account without one has one.
func (p *parts) needs() (all []reminder.Account, whole bool) {
	whole = p.book.Unread() == nil
	now := time.Now()
	_, somebody := p.desk.Pending("") // may be any account
	for _, v := range p.book.Views() {
		a := reminder.Account{ID: p.tel.AccountHash(v.Name), Name: v.Name, User: v.Username, GoodOn: v.GoodOn, End: endOf(v)}
		a.Need, a.Reason, a.Why = needOf(v, now)
		if !whole && !isKept(v) {
			a.Need = reminder.Unknown
		}
		_, busy := p.desk.Pending(v.Name)
		a.Busy = busy || somebody
		all = append(all, a)
	}
	return all, whole
}

// isKept reports whether there is a sign-in of the account on this machine.
func isKept(v account.View) bool { return !v.SignedInOn.IsZero() }

// staleAfter is how old the problem of a resource may be before nobody is asked to
// mend it: who asks for it each day meets it again.
const staleAfter = 25 * time.Hour

// needOf is what the account's problem needs, why as a word, and why as a
// sentence. What passes by itself is nobody's business, nor is a resource that was
// tried once, while the others work.
func needOf(v account.View, now time.Time) (need reminder.Need, reason, why string) {
	switch {
	case v.Problem == nil, v.State == account.StateDegraded && now.Sub(v.ProblemOn) > staleAfter:
		return reminder.Nothing, "", ""
	case !isKept(v):
		return reminder.SignIn, reminder.ReasonNotSignedIn, ""
	}
	switch v.Problem.Kind.UserAction() {
	case "sign-in":
		return reminder.SignIn, string(account.EndOf(v.Problem)), v.Problem.Detail
	case "contact-admin":
		return reminder.Admin, strings.ReplaceAll(v.Problem.Kind.Code(), "-", "_"), v.Problem.Detail
	default:
		return reminder.Unknown, "", ""
	}
}

// endOf is when the account's sign-in will end.
func endOf(v account.View) reminder.End {
	e := reminder.End{On: v.PredictedEnd, Reason: string(v.PredictedWhy), From: v.RefreshTokenOn}
	if v.PredictedWhy == account.EndFrequency {
		e.From, e.Every = v.SignedInOn, v.Frequency.Every
	}
	return e
}

// endWarnings are the ends that people should know of, for `broker status`.
func (p *parts) endWarnings() []string {
	now := time.Now()
	var out []string
	for _, v := range p.book.Views() {
		if e := endOf(v); e.Near(now) {
			out = append(out, "The sign-in of "+v.Name+" "+e.Words(now)+" Run before that: broker login --account "+v.Name)
		}
	}
	return out
}

// machine is the name of this machine, for people.
func machine(s seat) string {
	name, _ := os.Hostname()
	return cmp.Or(s.host, name, "this machine")
}
