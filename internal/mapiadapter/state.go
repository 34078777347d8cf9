package mapiadapter

import (
	"strings"
	"time"
)

// Phase is where a target's machine stands.
type Phase string

// The phases. Each is left only as phases.go says.
const (
	Idle           Phase = "idle"            // nothing to do
	Precheck       Phase = "precheck"        // may, and can, Outlook be asked to renew?
	Trigger        Phase = "trigger"         // one action on Outlook is under way
	Observe        Phase = "observe"         // waiting for proof
	NeedsUser      Phase = "needs_user"      // a person must act in the session
	WaitSession    Phase = "wait_session"    // the account is not logged on
	WaitAgent      Phase = "wait_agent"      // it is, and nobody there speaks to us
	Backoff        Phase = "backoff"         // an attempt failed, or may not be made yet
	Suspended      Phase = "suspended"       // no attempts until a person, or new evidence, says so
	Unsupported    Phase = "unsupported"     // it cannot work here
	Session0Broken Phase = "session0_broken" // Outlook is well; the service's own logon is not
)

// Phases lists every phase, for tables that must be complete.
func Phases() []Phase {
	return []Phase{Idle, Precheck, Trigger, Observe, NeedsUser, WaitSession, WaitAgent, Backoff, Suspended, Unsupported, Session0Broken}
}

// running reports whether an attempt is being made.
func (p Phase) running() bool { return p == Precheck || p == Trigger || p == Observe }

// Freshness is what is known of the consumer's access, apart from the phase.
type Freshness string

// Expired is only said after a failed probe or a consumer's report.
const (
	Fresh   Freshness = "fresh"
	Due     Freshness = "due"
	Expired Freshness = "expired"
	Unknown Freshness = "unknown"
)

// FreshnessValues lists all of them, for tables that must be complete.
func FreshnessValues() []Freshness { return []Freshness{Fresh, Due, Expired, Unknown} }

// Reason says why a machine is in its phase. Empty where the phase says it all.
type Reason string

// The reasons.
const (
	ReasonNone Reason = ""

	// A person must act.
	ReasonSignIn       Reason = "sign_in"       // Outlook asks for a sign-in, or stays disconnected
	ReasonWrongProfile Reason = "wrong_profile" // Outlook runs with another profile
	ReasonDialog       Reason = "dialog"        // Outlook shows a box that waits for an answer
	ReasonAgent        Reason = "agent"         // the agent does not come up
	ReasonAccount      Reason = "account"       // the account is disabled, or its password expired
	ReasonOpenOutlook  Reason = "open_outlook"  // policy notify_only: a person opens Outlook
	ReasonOtherSession Reason = "other_session" // Outlook of this account runs in another session

	// It cannot work here.
	ReasonNoOutlook      Reason = "no_outlook"
	ReasonNewOutlook     Reason = "new_outlook"
	ReasonNoProfile      Reason = "no_profile"
	ReasonBitness        Reason = "bitness"
	ReasonServiceAccount Reason = "service_account" // the consumer runs as an account that can never log on
	ReasonOtherAccount   Reason = "other_account"   // the consumer runs as another account than the broker
	ReasonElevated       Reason = "elevated"        // the agent has more rights than Outlook may be given
	ReasonPlatform       Reason = "platform"
	ReasonLedger         Reason = "ledger" // its ledger cannot be used, so nothing may be done

	// The service's own logon.
	ReasonServiceContext Reason = "service_context"

	// Not now.
	ReasonNetwork     Reason = "network"
	ReasonClock       Reason = "clock"
	ReasonBudget      Reason = "budget"
	ReasonDeclined    Reason = "declined"     // the person in the session said not now
	ReasonStartFailed Reason = "start_failed" // Outlook could not be started
	ReasonCrashed     Reason = "crashed"
	ReasonClosed      Reason = "closed" // Outlook was closed before it had renewed
	ReasonNoProof     Reason = "no_proof"
	ReasonNoNewToken  Reason = "no_new_token" // Outlook is connected and had nothing to renew
	ReasonNoAnswer    Reason = "no_answer"    // the agent did not say what became of its work
	ReasonBlind       Reason = "blind"        // the agent went away while proof was awaited

	// Suspended.
	ReasonPaused     Reason = "paused"
	ReasonCircuit    Reason = "circuit"
	ReasonUserClosed Reason = "user_closed"
)

// CauseKind is why an attempt is made.
type CauseKind string

// The kinds of cause.
const (
	CauseFirst  CauseKind = "first"  // there has never been a proof
	CauseReport CauseKind = "report" // a consumer reported an authentication error
	CauseProbe  CauseKind = "probe"  // the probe failed twice
	CauseAge    CauseKind = "age"    // the last proof is too old
	CauseGone   CauseKind = "gone"   // policy supervise: Outlook does not run
	CauseEnsure CauseKind = "ensure" // a consumer asked
	CauseRetry  CauseKind = "retry"  // the wait after an attempt is over
	CausePerson CauseKind = "person" // a person acted, or an operator said resume
)

// Cause is why an attempt is made. Each has an ID that is used once.
type Cause struct {
	ID   string    `json:"id"`
	Kind CauseKind `json:"kind"`
	On   time.Time `json:"on"`

	Force bool `json:"force,omitzero"` // it stands although access is fresh
}

// ActionKind is what an attempt does to Outlook.
type ActionKind string

// What an attempt does.
const (
	ActionStart   ActionKind = "start"   // start Outlook
	ActionSend    ActionKind = "send"    // ask the running Outlook to send and receive
	ActionObserve ActionKind = "observe" // nothing: Outlook runs and does not listen
)

// Attempt is one try to get Outlook to renew.
type Attempt struct {
	ID       string     `json:"id"`
	Cause    Cause      `json:"cause"`
	Action   ActionKind `json:"action"`
	On       time.Time  `json:"on"`
	CacheOn  time.Time  `json:"cache_on,omitzero"`  // newest token-cache file before it
	LogonNew bool       `json:"logon_new,omitzero"` // the session had just begun
	PID      uint32     `json:"pid,omitzero"`       // of the Outlook it started
	Answered bool       `json:"answered,omitzero"`  // the agent said what became of it
	Exit     *uint32    `json:"exit,omitempty"`     // how that Outlook ended
	ExitOn   time.Time  `json:"exit_on,omitzero"`   // when
}

// ProofKind is what proved that the consumer can work.
type ProofKind string

// The kinds of proof.
const (
	ProofEvidence ProofKind = "evidence" // a token-cache file was written, and Outlook is connected
	ProofProbe    ProofKind = "probe"    // the profile's store could be opened
	ProofConsumer ProofKind = "consumer" // the consumer said so
)

// State is a target's whole memory. It is a value, kept in the ledger: what
// happens after a restart depends on nothing else.
type State struct {
	Phase  Phase     `json:"phase"`
	Reason Reason    `json:"reason,omitempty"`
	Since  time.Time `json:"since"` // of the phase

	// What is known, and of which profile.
	Profile     string        `json:"profile,omitempty"`
	LastProof   time.Time     `json:"last_proof,omitzero"`
	Proof       ProofKind     `json:"proof,omitempty"`
	Failed      bool          `json:"failed,omitzero"`       // an authentication error came after the last proof
	LastFailure time.Time     `json:"last_failure,omitzero"` // the last one; kept to Debounce
	HResult     uint32        `json:"hresult,omitzero"`      // of the last report or failed probe
	Account     bool          `json:"account,omitzero"`      // it says the account is disabled, or its password expired
	Refuted     int           `json:"refuted,omitzero"`      // proofs in a row that the consumer contradicted at once
	Lifetime    time.Duration `json:"lifetime,omitzero"`     // learned: proof to first failure
	BlindSince  time.Time     `json:"blind_since,omitzero"`  // since when nobody looks; zero: somebody does
	CacheMark   time.Time     `json:"cache_mark,omitzero"`   // newest token-cache time that has been taken into account

	// The probe.
	ProbeUnusable bool      `json:"probe_unusable,omitzero"` // it failed while Outlook was connected
	ProbeAskedOn  time.Time `json:"probe_asked_on,omitzero"`
	ProbeFails    int       `json:"probe_fails,omitzero"` // in a row, in the agent's context
	ProbeOn       time.Time `json:"probe_on,omitzero"`    // of the last answer

	// The attempt.
	Pending     *Cause      `json:"pending,omitempty"`     // why the next attempt is to be made
	Attempt     *Attempt    `json:"attempt,omitempty"`     // in flight; nil: none is
	Serial      uint64      `json:"serial,omitzero"`       // of causes and attempts
	Failures    int         `json:"failures,omitzero"`     // counted, in a row
	Deferred    int         `json:"deferred,omitzero"`     // attempts in a row that came to nothing and are nobody's failure
	Retry       time.Time   `json:"retry,omitzero"`        // end of the backoff
	LastTrigger time.Time   `json:"last_trigger,omitzero"` // of any kind
	Starts      []time.Time `json:"starts,omitempty"`      // of Outlook, the latest; as many as the budget asks for
	Reported    time.Time   `json:"reported,omitzero"`     // the last report that was a cause

	// Outlook as we started it.
	OursPID  uint32    `json:"ours_pid,omitzero"`
	OursOn   time.Time `json:"ours_on,omitzero"`
	Closings int       `json:"closings,omitzero"` // by a person, in a row, soon after our start

	// What was seen last, to notice changes.
	Seen        Seen      `json:"seen"`
	AbsentSince time.Time `json:"absent_since,omitzero"` // policy supervise
	AskingSince time.Time `json:"asking_since,omitzero"`
	CutOffSince time.Time `json:"cut_off_since,omitzero"` // Outlook is disconnected
	Settle      time.Time `json:"settle,omitzero"`        // when a logon or unlock is looked at
	Mark        string    `json:"mark,omitempty"`         // the installation when it was found wrong
	MarkBlind   bool      `json:"mark_blind,omitzero"`    // and no agent looked at it

	// The agent's restarts, and what people were told.
	AgentStarts  int       `json:"agent_starts,omitzero"`
	AgentStartOn time.Time `json:"agent_start_on,omitzero"`
	AgentLogon   string    `json:"agent_logon,omitempty"` // the logon they were for
	Reminders    int       `json:"reminders,omitzero"`
	NextReminder time.Time `json:"next_reminder,omitzero"`

	Latest time.Time `json:"latest,omitzero"` // when this machine ran last
}

// Seen is the part of a Sight that changes are noticed by.
type Seen struct {
	Logon  string `json:"logon,omitempty"`
	State  string `json:"state,omitempty"`
	Locked bool   `json:"locked,omitzero"`
}

// of is the state for a target. What is known of another profile is forgotten;
// what was spent is not, nor that a person said pause.
func (s State) of(t Target, now time.Time) State {
	switch {
	case strings.EqualFold(s.Profile, t.Profile):
		return s
	case s.Profile == "":
		s.Profile = t.Profile
		return s
	}
	n := NewState(now)
	if s.Phase == Suspended && s.Reason == ReasonPaused {
		n.Phase, n.Reason, n.Since = s.Phase, s.Reason, s.Since
	}
	n.Profile, n.Serial, n.LastTrigger, n.Starts = t.Profile, s.Serial, s.LastTrigger, s.Starts
	n.OursPID, n.OursOn, n.Closings, n.Seen, n.Latest = s.OursPID, s.OursOn, s.Closings, s.Seen, s.Latest
	n.AgentStarts, n.AgentStartOn, n.AgentLogon = s.AgentStarts, s.AgentStartOn, s.AgentLogon
	return n
}

// NewState is a target that nothing is known of.
func NewState(now time.Time) State { return State{Phase: Idle, Since: now} }
