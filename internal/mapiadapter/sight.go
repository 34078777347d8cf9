package mapiadapter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// inUse is how recent the last input in a session is while somebody works there.
const inUse = 5 * time.Minute

// surroundings is what the broker itself knows, besides what an agent sees.
type surroundings struct {
	platform Reason   // ReasonPlatform where this system has no Outlook
	ours     identity // the account that the broker runs as
	known    bool     // agents had the time to speak to us since our start
	obstacle Reason
	reached  time.Time // when that was found out; zero: nobody looks
	sessions Sessions
}

// sightOf is the world from one target's side; agent is nil where none is there.
func sightOf(t Target, e surroundings, agent *seenAgent) Sight {
	w := Sight{
		Known: e.known || agent != nil, Obstacle: e.obstacle, ReachOn: e.reached, Sessions: e.sessions,
		Broken: e.platform, Mark: fmt.Sprintf("%q %q %q", t.Profile, t.Account, t.Service),
	}
	if w.Broken == ReasonNone && e.ours.surelyNot(t.Account) {
		w.Broken = ReasonOtherAccount
	}
	switch {
	case w.Broken != ReasonNone: // no agent can change that
		w.Known = true
	case agent != nil && !agent.sees(t):
		w.Known = false // it is about to
	}
	if agent == nil {
		return w
	}
	f := agent.report.Facts
	w.On, w.Agent, w.AgentOn, w.Sessions = agent.looked, true, agent.report.Agent.StartedOn.Round(0), SessionsSome
	if w.Broken == ReasonNone {
		w.Broken = brokenOf(t, f)
	}
	w.Mark = fmt.Sprintf("%s %+v %q %t %+v", w.Mark, f.Installation, f.Profiles.Names, f.Profiles.Asks, f.Services)
	w.Logon, w.LogonOn, w.State, w.Locked = f.Session.LogonID, f.Session.LogonOn, f.Session.State, f.Session.Locked
	if w.Logon == "" {
		w.Logon = fmt.Sprint("session ", f.Session.ID)
	}
	w.InUse = f.Session.State == desktop.SessionActive && !f.Session.Locked && f.SeenOn.Sub(f.Session.LastInputOn) < inUse
	w.Outlook = runningOf(t, f)
	w.New = slices.ContainsFunc(f.Processes, func(p desktop.Process) bool {
		return p.Product == desktop.NewOutlook && p.SessionID == f.Session.ID
	})
	if f.View.Asked && f.View.Failure == "" {
		w.Mode = f.View.Mode
	}
	w.CacheOn, w.Asking, w.Ended = f.CacheOn, f.Asking, f.Ended
	return w
}

// brokenOf is what makes a renewal impossible on this machine as it is.
func brokenOf(t Target, f desktop.Facts) Reason {
	service, hasService := f.Services[t.Service]
	ours := identity{name: f.Account, sid: f.SID, host: f.Host}
	switch in := f.Installation; {
	case f.Session.ID == 0 && f.Session.State == desktop.SessionOther: // where services live, without a desktop
		return ReasonElevated
	case ours.surelyNot(t.Account):
		return ReasonOtherAccount
	case in.Path == "":
		return ReasonNoOutlook
	case in.NewInUse:
		return ReasonNewOutlook
	case !slices.ContainsFunc(f.Profiles.Names, func(n string) bool { return strings.EqualFold(n, t.Profile) }):
		return ReasonNoProfile
	case !hasService:
		return ReasonNone
	case neverLogsOn(service.Account):
		return ReasonServiceAccount
	case ours.surelyNot(service.Account):
		return ReasonOtherAccount
	case service.Bitness != "" && in.Bitness != "" && service.Bitness != in.Bitness:
		return ReasonBitness
	}
	return ReasonNone
}

// runningOf is what runs of classic Outlook.
func runningOf(t Target, f desktop.Facts) Outlook {
	running := OutlookAbsent
	for _, p := range f.Processes {
		switch {
		case p.Product != desktop.ClassicOutlook:
		case p.SessionID != f.Session.ID:
			if running == OutlookAbsent {
				running = OutlookElse
			}
		case p.Elevated || !f.View.Asked || f.View.Failure != "":
			return OutlookDeaf
		case !strings.EqualFold(f.View.Profile, t.Profile):
			return OutlookOther
		default:
			running = OutlookHere
		}
	}
	return running
}
