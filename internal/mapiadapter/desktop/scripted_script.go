package desktop

import (
	"maps"
	"slices"
	"time"
)

// Script says what a Scripted world is like. The zero Script is an ordinary
// desktop: the account is logged on, Outlook is installed with one profile,
// does not run, and connects as soon as it is started.
type Script struct {
	Host    string
	Account string // DOMAIN\user
	SID     string

	Seat         Seat
	InUse        bool // somebody works in the session right now
	NoOutlook    bool // no Outlook is installed
	Installation Installation
	Profiles     Profiles
	Services     map[string]Service

	Running      string // profile of an Outlook that a person has open in the session; empty: none
	Elsewhere    string // profile of an Outlook in another session of the account; empty: none
	SignInNeeded bool   // Outlook cannot renew without a person

	Start  StartScript
	Send   SendScript
	Notice NoticeScript
}

// Seat is where the account and this process are.
type Seat string

// The seats. SeatActive is the default.
const (
	SeatActive       Seat = "active"
	SeatLocked       Seat = "locked"
	SeatDisconnected Seat = "disconnected"
	SeatNobody       Seat = "none"    // nobody is logged on
	SeatService      Seat = "service" // this process is in session 0
)

// Doing is what Outlook does once it is started, or asked.
type Doing string

// What a started Outlook does. Connects is the default.
const (
	Connects     Doing = "connects"       // connects After its start
	Hangs        Doing = "hangs"          // answers nothing, and never connects
	Crashes      Doing = "crashes"        // ends with ExitCode, After its start
	Fails        Doing = "fails"          // cannot be started at all
	StaysOffline Doing = "stays_offline"  // runs, answers, and stays disconnected
	AsksSignIn   Doing = "asks_sign_in"   // a sign-in window comes up, After its start
	AsksFirst    Doing = "asks_first_run" // a welcome comes up
	AsksProfile  Doing = "asks_profile"   // the list of profiles comes up
	AsksDialog   Doing = "asks_dialog"    // another box comes up
	HandsOver    Doing = "hands_over"     // new Outlook comes up in its place
)

// What an Outlook does that was asked to send and receive. Renews is the default.
const (
	Renews       Doing = "renews"  // After that a token cache is written, if it is connected
	SendsNothing Doing = "nothing" // its tokens are good yet
)

// StartScript is what Outlook does once it is started.
type StartScript struct {
	Does        Doing         `json:"does"`
	After       time.Duration `json:"after,omitzero"`
	ExitCode    uint32        `json:"exit_code,omitzero"`    // of Crashes; zero: an access violation
	ClosedAfter time.Duration `json:"closed_after,omitzero"` // a person closes it, so long after its start; zero: nobody does
}

// SendScript is what it does once it was asked to send and receive.
type SendScript struct {
	Does  Doing
	After time.Duration
}

// NoticeScript is how a person answers a notice.
type NoticeScript struct {
	Answer Answer // AnswerNone is the default
	After  time.Duration
}

func startDoings() []Doing {
	return []Doing{Connects, Hangs, Crashes, Fails, StaysOffline, AsksSignIn, AsksFirst, AsksProfile, AsksDialog, HandsOver}
}

// whole is the script with what it leaves open filled in, sharing nothing with it.
func (c Script) whole() Script {
	fill := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	fill(&c.Host, "DESKTOP")
	fill(&c.Account, `DESKTOP\robot`)
	fill(&c.SID, "S-1-5-21-1004336348-1177238915-682003330-1001")
	fill((*string)(&c.Seat), string(SeatActive))
	fill((*string)(&c.Start.Does), string(Connects))
	fill((*string)(&c.Send.Does), string(Renews))
	fill((*string)(&c.Notice.Answer), string(AnswerNone))
	c.Profiles.Names = slices.Clone(c.Profiles.Names)
	if c.Profiles.Names == nil {
		c.Profiles.Names = []string{"Outlook"}
	}
	if len(c.Profiles.Names) > 0 {
		fill(&c.Profiles.Default, c.Profiles.Names[0])
	}
	c.Services = maps.Clone(c.Services)
	if c.NoOutlook {
		c.Installation = Installation{}
		return c
	}
	// Click-to-Run's folder, as in Microsoft's own examples.
	fill(&c.Installation.Path, `C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE`)
	fill((*string)(&c.Installation.Bitness), string(X64))
	fill(&c.Installation.Version, "16.0.17932.20222")
	return c
}
