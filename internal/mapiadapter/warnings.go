package mapiadapter

import (
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// warningsOf is what could stand in the way of a renewal that is not due yet,
// besides its Obstacle: each a sentence that says what to do, naming account and
// host.
func warningsOf(t Target, s State, l Limits, f *desktop.Facts, p place, now time.Time) []string {
	var all []string
	warn := func(when bool, sentence string) {
		if when {
			all = append(all, p.fill(sentence))
		}
	}
	warn(t.Policy == NotifyOnly, "The policy of {target} is notify_only: when a renewal is due, a person must open Outlook as {account} on {host}. Set mapi.{target}.policy to nudge to have the broker do it.")
	warn(s.ProbeUnusable, "The MAPI probe of {account} on {host} fails while Outlook is connected, so it proves nothing and is not used; set mapi.{target}.probe to false.")
	next := l.nextStart(s, now)
	warn(l.spaced(next, now), "Outlook of {account} on {host} was started as often as is allowed, and may not be started again before "+next.Format("15:04 MST")+"; find out what closes it, and why it does not renew.")
	if f == nil {
		return all
	}
	_, found := f.Services[t.Service]
	warn(f.Installation.Migrating, "Each start of Outlook as {account} on {host} is a step of its migration to new Outlook, which has no MAPI; set NewOutlookMigrationUserSetting to 0 for that account.")
	warn(f.Profiles.Asks, "Outlook of {account} on {host} asks which profile to take when it starts; in Control Panel, Mail, choose “Always use this profile”.")
	warn(t.Service != "" && !found, "The service of {target} is not installed on {host}, so its account is not compared with {account}; correct mapi.{target}.service.")
	warn(runningOf(t, *f) == OutlookDeaf && !s.Phase.running(), "Outlook of {account} on {host} runs and does not answer: it hangs, shows a box, or runs as administrator. Look at it in that session.")
	return all
}

// spaced reports whether the next start is further away than the distance that
// any two starts keep: only then has the budget been used up.
func (l Limits) spaced(next, now time.Time) bool {
	return len(l.Budget) > 0 && next.Sub(now) > l.Budget[0].In
}
