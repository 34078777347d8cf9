// Package desktop sees and touches the one thing that the broker cannot renew
// by itself: Outlook, in an interactive session of the account that an Extended
// MAPI consumer runs as.
//
// Looking changes nothing: registry values, process lists, window classes, and
// the names and times of files, never their content. Touching is three calls:
// start Outlook, ask a running one to send and receive, show a notice. There is
// no call that ends, closes or configures Outlook.
package desktop

import (
	"context"
	"time"
)

// Desktop is Outlook and the session, as a process of that session sees them.
// Implementations are safe for concurrent use; each call ends with its ctx.
type Desktop interface {
	// Look sees what is there now. What could not be seen is left empty in the
	// Facts; the error is for a session that cannot be looked at at all.
	Look(ctx context.Context, want Want) (Facts, error)
	// Start starts Outlook with the profile: minimised, without taking the
	// focus, with the fixed arguments of Arguments. It looks again first, and
	// refuses with a *Refusal what must never be done.
	Start(ctx context.Context, profile string) (Process, error)
	// SendAndReceive asks the Outlook that runs in this session, with this
	// profile, for one silent send and receive. It never starts Outlook.
	SendAndReceive(ctx context.Context, profile string) error
	// Notice shows a person in this session a text and waits for the answer,
	// for as long as the notice says.
	Notice(ctx context.Context, n Notice) (Answer, error)
}

// Want says what Look should look for besides Outlook itself.
type Want struct {
	Services []string // Windows services of the consumers, by name
}

// Facts is what can be seen of Outlook in one session.
type Facts struct {
	SeenOn       time.Time          `json:"seen_on"`
	Host         string             `json:"host"`
	Account      string             `json:"account"` // DOMAIN\user
	SID          string             `json:"sid"`
	Session      Session            `json:"session"`
	Installation Installation       `json:"installation"`
	Profiles     Profiles           `json:"profiles"`
	Processes    []Process          `json:"processes"` // Outlook, classic and new, of this account in every session
	Ended        []Ended            `json:"ended"`     // processes that Start started and that ended since this process began
	CacheOn      time.Time          `json:"cache_on"`  // newest write among Office's token-cache files; zero: none seen
	View         View               `json:"view"`
	Asking       Asking             `json:"asking"`   // what a window asks a person
	Services     map[string]Service `json:"services"` // of Want, those that exist
}

// SessionState is how a session is connected (WTS_CONNECTSTATE_CLASS).
type SessionState string

// The states that a session with a logged-on user can be in.
const (
	SessionActive       SessionState = "active"
	SessionDisconnected SessionState = "disconnected"
	SessionOther        SessionState = "other"
)

// Session is one logon session with a desktop.
type Session struct {
	ID          uint32       `json:"id"`
	State       SessionState `json:"state"`
	Locked      bool         `json:"locked"`
	LogonID     string       `json:"logon_id"`      // the logon's LUID in hex: session IDs are used again, logons are not
	LogonOn     time.Time    `json:"logon_on"`      // zero: not known
	LastInputOn time.Time    `json:"last_input_on"` // zero: not known
}

// Bitness is the machine type of a program, by its PE header.
type Bitness string

// The machine types that Office comes in.
const (
	X86   Bitness = "x86"
	X64   Bitness = "x64"
	ARM64 Bitness = "arm64"
)

// Installation is the classic Outlook of this machine.
type Installation struct {
	Path      string  `json:"path"` // OUTLOOK.EXE; empty: there is none
	Bitness   Bitness `json:"bitness"`
	Version   string  `json:"version"`    // of the file; empty: not known
	NewInUse  bool    `json:"new_in_use"` // UseNewOutlook=1: OUTLOOK.EXE hands over to olk.exe and ends
	Migrating bool    `json:"migrating"`  // DoNewOutlookAutoMigration=1: each start is a step towards new Outlook
}

// Profiles are the Outlook profiles of the account.
type Profiles struct {
	Names   []string `json:"names"`
	Default string   `json:"default"`
	Asks    bool     `json:"asks"` // PickLogonProfile=1: Outlook asks which profile to take
}

// Product tells the two Outlooks apart.
type Product string

// Classic Outlook (OUTLOOK.EXE) has MAPI and COM, new Outlook (olk.exe) neither.
const (
	ClassicOutlook Product = "classic"
	NewOutlook     Product = "new"
)

// Process is one running Outlook.
type Process struct {
	PID       uint32    `json:"pid"`
	Product   Product   `json:"product"`
	SessionID uint32    `json:"session_id"`
	StartedOn time.Time `json:"started_on"`
	Elevated  bool      `json:"elevated"`
}

// Ended is a process that Start started and that is gone.
type Ended struct {
	PID      uint32    `json:"pid"`
	ExitCode uint32    `json:"exit_code"`
	On       time.Time `json:"on"`
}

// View is what Outlook says of itself through COM; attaching to it starts nothing.
type View struct {
	Asked   bool   `json:"asked"`   // Outlook runs in this session and was asked
	Failure string `json:"failure"` // why it did not answer, as a stable word (see Failure…); empty: it did
	Profile string `json:"profile"` // NameSpace.CurrentProfileName
	Mode    int    `json:"mode"`    // NameSpace.ExchangeConnectionMode (OlExchangeConnectionMode): >= 500 is connected
}

// Why Outlook did not answer through COM.
const (
	FailureBusy     = "busy"     // RPC_E_CALL_REJECTED for the whole budget: a dialog is open, or it hangs
	FailureAbsent   = "absent"   // not in the running object table: it is starting, elevated, or ending
	FailureGone     = "gone"     // it died while it was asked
	FailureNoAnswer = "noanswer" // no answer within the budget
	FailureOther    = "other"
)

// Asking is what a window in the session asks a person.
type Asking string

// The windows that mean "a person is asked".
const (
	AskingNothing Asking = ""
	AskingSignIn  Asking = "sign_in"
	AskingProfile Asking = "profile"   // which profile to take
	AskingFirst   Asking = "first_run" // welcome, privacy, activation
	AskingDialog  Asking = "dialog"    // any other modal box of Outlook
)

// Service is the Windows service of a consumer.
type Service struct {
	Account string  `json:"account"` // as the service manager has it: DOMAIN\user, .\user, LocalSystem
	Bitness Bitness `json:"bitness"` // of its program; empty: not known
}

// Notice is a text for a person in the session.
type Notice struct {
	Title string
	Text  string
	Ask   bool          // with a way to say "not now"
	Wait  time.Duration // how long the notice stays; zero: it is shown, and nobody waits for an answer
}

// Answer is what became of a notice.
type Answer string

// The answers. A notice that cannot be shown is an error.
const (
	AnswerNone   Answer = "none" // nobody answered in time
	AnswerOK     Answer = "ok"
	AnswerNotNow Answer = "not_now"
)

// Refusal is something that must never be done to Outlook, or cannot be.
type Refusal struct { //nolint:errname // the word that the whole adapter uses
	Reason string // see Refused…
	Detail string // one sentence for a person
}

// Why Start, SendAndReceive or StartInSession refused.
const (
	RefusedRunning    = "already_running" // an OUTLOOK.EXE of this account runs in some session
	RefusedService    = "session_0"
	RefusedElevated   = "elevated"
	RefusedNoOutlook  = "no_outlook"
	RefusedNewOutlook = "new_outlook"
	RefusedNoProfile  = "no_profile"
	RefusedProfile    = "wrong_profile" // Outlook runs with another one
	RefusedPlatform   = "platform"
	RefusedNotRunning = "not_running"   // no Outlook in this session that could be asked
	RefusedJob        = "job"           // what we start would be ended with us
	RefusedAccount    = "other_account" // this process runs as another account than it would have to
	RefusedProgram    = "other_program" // StartInSession starts this program only
)

// Error is the refusal's sentence.
func (r *Refusal) Error() string { return r.Detail }

// Arguments is all that Outlook is ever started with: never anything that
// changes, closes, resets or creates. Outlook ignores /profile where it runs
// already, so that is looked at first.
func Arguments(profile string) []string { return []string{"/recycle", "/profile", profile} }
