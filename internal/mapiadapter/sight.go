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
	platform Reason // ReasonPlatform where this system has no Outlook
	account  string // DOMAIN\user that the broker runs as
	host     string
	known    bool // agents had the time to speak to us since our start
	obstacle Reason
	sessions Sessions
}

// sightOf is the world from one target's side; agent is nil where none is there.
func sightOf(t Target, e surroundings, agent *seenAgent) Sight {
	w := Sight{
		Known: e.known || agent != nil, Obstacle: e.obstacle, Sessions: e.sessions,
		Broken: firstReason(e.platform, otherAccount(t, e.account)),
		Mark:   fmt.Sprint(t.Profile, t.Account, t.Service),
	}
	if w.Broken != ReasonNone {
		w.Known = true
	}
	if agent == nil {
		return w
	}
	f := agent.report.Facts
	w.On, w.Agent, w.Sessions = agent.on, true, SessionsSome
	w.Broken = firstReason(w.Broken, brokenOf(t, f))
	w.Mark = fmt.Sprint(w.Mark, f.Installation, f.Profiles, f.Services)
	w.Logon, w.LogonOn, w.State, w.Locked = f.Session.LogonID, f.Session.LogonOn, f.Session.State, f.Session.Locked
	if w.Logon == "" {
		w.Logon = fmt.Sprint("session ", f.Session.ID)
	}
	w.InUse = f.Session.State == desktop.SessionActive && !f.Session.Locked && f.SeenOn.Sub(f.Session.LastInputOn) < inUse
	w.Outlook = runningOf(t, f)
	w.New = slices.ContainsFunc(f.Processes, func(p desktop.Process) bool { return p.Product == desktop.NewOutlook })
	if f.View.Asked && f.View.Failure == "" {
		w.Mode = f.View.Mode
	}
	w.CacheOn, w.Asking, w.Ended = f.CacheOn, f.Asking, f.Ended
	return w
}

func firstReason(reasons ...Reason) Reason {
	for _, r := range reasons {
		if r != ReasonNone {
			return r
		}
	}
	return ReasonNone
}

// otherAccount finds a target whose consumer runs as another account than ours:
// profiles and tokens are per account, and so are we.
func otherAccount(t Target, ours string) Reason {
	switch {
	case ours == "" || sameAccount(t.Account, ours):
		return ReasonNone
	default:
		return ReasonOtherAccount
	}
}

// sameAccount compares account names as Windows does. One without a domain, or
// with the domain ".", is of this machine, or not said; an empty one is ours.
func sameAccount(wanted, ours string) bool {
	if wanted == "" {
		return true
	}
	wd, wu, said := strings.Cut(wanted, `\`)
	if !said {
		wd, wu = "", wanted
	}
	od, ou, _ := strings.Cut(ours, `\`)
	if name, domain, upn := strings.Cut(wu, "@"); upn {
		wu, wd = name, ""
		_ = domain // a user principal name's domain is not the account's
	}
	return strings.EqualFold(wu, ou) && (wd == "" || wd == "." || strings.EqualFold(wd, od))
}

// brokenOf is what makes a renewal impossible on this machine as it is.
func brokenOf(t Target, f desktop.Facts) Reason {
	service, hasService := f.Services[t.Service]
	switch in := f.Installation; {
	case f.Session.ID == 0 && f.Session.State == desktop.SessionOther: // where services live, without a desktop
		return ReasonElevated
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
	case !sameAccount(service.Account, f.Account):
		return ReasonOtherAccount
	case service.Bitness != "" && in.Bitness != "" && service.Bitness != in.Bitness:
		return ReasonBitness
	}
	return ReasonNone
}

// neverLogsOn reports whether an account of the service manager can have no
// interactive session: the built-in ones, and those that a machine manages.
func neverLogsOn(account string) bool {
	domain, user, _ := strings.Cut(strings.ToLower(account), `\`)
	return account == "" || domain == "localsystem" || domain == "nt authority" || domain == "nt service" || strings.HasSuffix(user, "$")
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
