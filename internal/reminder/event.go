package reminder

import (
	"fmt"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/notify"
)

// place is where and when an event is told.
type place struct {
	host string
	now  time.Time
}

// eventOf is what people are told. The sentences name the account: they go to the
// sinks, which the operator chose; the subject is its hash.
func eventOf(a Account, was, t told, p place) notify.Event {
	e := notify.Event{
		Subject: "account/" + a.ID, State: string(t.Need), Reason: t.Reason, On: p.now, Repeat: t.Repeat,
	}
	login := "broker login --account " + a.Name
	who := "The Microsoft 365 account " + a.label() + " on " + p.host
	switch t.Need {
	case SignIn:
		e.ID, e.Severity = notify.IDSignInNeeded, notify.Error
		e.Text = joined(who+" needs a person to sign in.", a.Why)
		e.Action = "On " + p.host + ", run: " + login
	case Admin:
		e.ID, e.Severity = notify.IDAdminNeeded, notify.Error
		e.Text = joined(who+" is refused by the tenant, and no sign-in mends that.", a.Why)
		e.Action = "Ask an administrator of the tenant; on " + p.host + ", broker status has the details."
	case Ending:
		e.ID, e.Severity = notify.IDSignInEnds, notify.Warning
		e.Text = "The sign-in of " + a.label() + " on " + p.host + " " + a.End.Words(p.now)
		e.Action = "On " + p.host + ", run before that: " + login
	default:
		e.ID, e.Severity, e.State = notify.IDAccountWell, notify.Info, string(Nothing)
		e.Text = who + " is well again."
		t.Since, e.Repeat = was.Since, 0
	}
	e.Key = fmt.Sprint(e.Subject, "/", e.ID, "/", t.Since.Unix(), "/", e.Repeat)
	return e
}

// joined puts what happened before why.
func joined(what, why string) string { return strings.TrimSpace(what + " " + why) }

// label names the account for people.
func (a Account) label() string {
	if a.User == "" || a.User == a.Name {
		return a.Name
	}
	return a.Name + " (" + a.User + ")"
}

// Words says when and why a sign-in ends.
func (e End) Words(now time.Time) string {
	s := "can end at any moment: "
	if left := e.On.Sub(now); left > 0 {
		s = "ends in about " + about(left) + ", on " + e.On.Local().Format("Monday, 2 January, 15:04") + ": "
	}
	if e.Every > 0 {
		return s + "the tenant asks for a new one about every " + about(e.Every) + "."
	}
	return s + "nobody has used it for " + about(now.Sub(e.From)) + "."
}

// about is a length of time for people.
func about(d time.Duration) string {
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", int(d.Round(day)/day))
	case d >= 2*hour:
		return fmt.Sprintf("%d hours", int(d.Round(hour)/hour))
	default:
		return fmt.Sprintf("%d minutes", int(d.Round(time.Minute)/time.Minute))
	}
}
