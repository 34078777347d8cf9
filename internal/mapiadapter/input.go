package mapiadapter

import (
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// Policy is how far we go to get Outlook to renew.
type Policy string

// The policies.
const (
	Supervise  Policy = "supervise"   // Outlook is meant to run all the time
	Nudge      Policy = "nudge"       // start it when a renewal is due, and leave it running
	NotifyOnly Policy = "notify_only" // start nothing, tell a person
)

// Target is one Outlook profile that a consumer works through.
type Target struct {
	Name    string
	Profile string
	Mode    string // how the consumer opens the mailbox: cached or online
	Policy  Policy
	Account string // DOMAIN\user that the consumer runs as; empty: ours
	Service string // the consumer's Windows service; empty: not known
	Probe   bool   // open the profile by MAPI as proof
	Notice  bool   // ask a person who is working in the session first
}

// Outlook is what runs of it.
type Outlook string

// What runs of classic Outlook, seen from the target.
const (
	OutlookAbsent  Outlook = "absent"
	OutlookHere    Outlook = "here"          // in this session, and it answers, with the target's profile
	OutlookOther   Outlook = "other_profile" // in this session, with another profile
	OutlookElse    Outlook = "other_session"
	OutlookDeaf    Outlook = "deaf" // it runs here and does not answer: elevated, hung, starting, a box is open
	OutlookUnknown Outlook = ""
)

// Sessions is what is known of the account's sessions.
type Sessions string

// Whether the account is logged on.
const (
	SessionsUnknown Sessions = ""
	SessionsNone    Sessions = "none"
	SessionsSome    Sessions = "some"
)

// Sight is what is known of the world at one moment, from the target's side.
type Sight struct {
	On       time.Time // of the agent's last look; zero: there was none since our start
	ReachOn  time.Time // of the last look at network and clock; zero: nobody says when
	Known    bool      // enough has been seen since our start to judge by
	Obstacle Reason    // ReasonNetwork or ReasonClock; else none
	Sessions Sessions
	Agent    bool      // it is there and speaks to us
	AgentOn  time.Time // when it began; zero: not known
	Broken   Reason
	Mark     string // changes when the installation, the profiles or the settings do

	Logon   string    // of the session; empty: not known
	LogonOn time.Time // zero: not known
	State   desktop.SessionState
	Locked  bool
	InUse   bool // somebody works in it right now

	Outlook Outlook
	New     bool // new Outlook runs
	Mode    int  // OlExchangeConnectionMode; 0: not known
	CacheOn time.Time
	Asking  desktop.Asking
	Ended   []desktop.Ended
}

// connected reports whether Outlook is there, answers, and is connected.
func (s Sight) connected() bool {
	return s.Agent && s.Outlook == OutlookHere && s.Mode >= modeConnected
}

// Values of OlExchangeConnectionMode.
const (
	modeDisconnected       = 300
	modeCachedDisconnected = 400
	modeConnected          = 500 // and above
)

// EventKind is what happened.
type EventKind string

// The events. A look of the agent is a tick.
const (
	EventTick      EventKind = "tick"
	EventStarted   EventKind = "started" // the broker began, with the state of the ledger
	EventEnsure    EventKind = "ensure"
	EventReportOK  EventKind = "report_ok"
	EventReportBad EventKind = "report_error"
	EventProbe     EventKind = "probe"
	EventResult    EventKind = "result" // the agent says what became of an attempt's work
	EventPause     EventKind = "pause"
	EventResume    EventKind = "resume"
)

// Outcome is what became of work that the agent was given.
type Outcome string

// The outcomes.
const (
	Done     Outcome = "done"
	Declined Outcome = "declined" // the person in the session said not now
	Refused  Outcome = "refused"  // see desktop.Refusal
	Failed   Outcome = "failed"
)

// Event is one thing that happened.
type Event struct {
	Kind    EventKind
	Force   bool    // of ensure: also when fresh
	Attempt string  // of result
	Outcome Outcome // of result
	Refusal string  // of a refused result: desktop.Refused…
	PID     uint32  // of a done start
	OK      bool    // of probe
	Service bool    // of probe: in the service's own logon, not in the agent's
	HResult uint32  // of report_error and of a failed probe
	Class   Class   // of it
}

// Class is what an HRESULT means for us.
type Class string

// The classes that the machine tells apart.
const (
	ClassAuth    Class = "auth"    // the consumer is not let in: renewing may help
	ClassAccount Class = "account" // so, and the account itself needs a person
	ClassLogon   Class = "logon"   // MAPI_E_LOGON_FAILED: as auth where the agent's context fails too
	ClassOther   Class = "other"   // renewing would not help
)

// Input is all that one step of the machine depends on, besides state and time.
type Input struct {
	Target     Target
	Limits     Limits
	Sight      Sight
	Event      Event
	Jitter     float64 // in [-1, 1)
	StartAgent bool    // we could start the agent ourselves
}

// DoKind is what the machine wants done.
type DoKind string

// What the machine wants done.
const (
	DoLook       DoKind = "look" // have the agent look now
	DoStart      DoKind = "start"
	DoSend       DoKind = "send"
	DoProbe      DoKind = "probe"
	DoStartAgent DoKind = "start_agent"
	DoTell       DoKind = "tell" // a person, of the phase
)

// Do is one thing the machine wants done.
type Do struct {
	Kind    DoKind
	Attempt string // of start and send
	Ask     bool   // of start: ask the person in the session first
	Remind  int    // of tell: the how-manieth reminder; 0: the phase is new
	Step    Step   // of tell, where the phase is new
}

// Step is one transition, for the ledger.
type Step struct {
	From, To Phase
	Reason   Reason
	Cause    string // its ID
	Kind     CauseKind
	Attempt  string
	Action   ActionKind // of the attempt
}
