package mapiadapter

import (
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// WorkKind is what the agent is asked to do.
type WorkKind string

// The kinds of work. A look is made for every Report and needs no order.
const (
	WorkStart  WorkKind = "start"
	WorkSend   WorkKind = "send"
	WorkProbe  WorkKind = "probe"
	WorkNotice WorkKind = "notice" // tell the person in the session
)

// Work is one thing for the agent to do, once.
type Work struct {
	ID       string    `json:"id"` // unique for ever; the agent does each once
	Target   string    `json:"target"`
	Kind     WorkKind  `json:"kind"`
	Profile  string    `json:"profile"`
	Mode     string    `json:"mode"`               // of probe: cached or online
	Ask      bool      `json:"ask,omitzero"`       // of start: ask the person in the session first
	Text     string    `json:"text,omitempty"`     // of notice, and of the question before a start
	NotAfter time.Time `json:"not_after,omitzero"` // refused when it comes later
}

// Result is what became of a Work.
type Result struct {
	ID      string    `json:"id"`
	Target  string    `json:"target"`
	Kind    WorkKind  `json:"kind"`
	Outcome Outcome   `json:"outcome"`
	Reason  string    `json:"reason,omitempty"` // of refused: desktop.Refused…; of failed: one word
	PID     uint32    `json:"pid,omitzero"`     // of a done start
	HResult uint32    `json:"hresult,omitzero"` // of probe; 0: it succeeded
	On      time.Time `json:"on"`
}

// Why a work failed that was never begun: nobody's failure, as against all else.
const (
	FailedLate      = "late"      // its time was over when its turn came
	FailedWithdrawn = "withdrawn" // the broker did not want it any more
)

// AgentInfo says who the agent is.
type AgentInfo struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedOn time.Time `json:"started_on"`
}

// Report is what the agent tells the broker at each sync.
type Report struct {
	Agent   AgentInfo     `json:"agent"`
	Facts   desktop.Facts `json:"facts"`
	Results []Result      `json:"results"`
}

// Orders is what it gets back.
type Orders struct {
	Work      []Work        `json:"work"`
	Services  []string      `json:"services"` // whose accounts and programs it is to look up
	LookEvery time.Duration `json:"-"`        // how often it is to look and sync
}

// ConsumerReport is what a consumer met at its mailbox.
type ConsumerReport struct {
	OK        bool
	HResult   uint32 // where not OK
	Operation string // the MAPI call, for the ledger
}

// View is what is true of a target, for the API.
type View struct {
	Target
	Phase     Phase
	Reason    Reason
	Freshness Freshness
	Since     time.Time
	LastProof time.Time // zero: none
	Proof     ProofKind
	DueOn     time.Time     // when the last proof becomes too old; zero: there is none
	Lifetime  time.Duration // learned; zero: not yet
	NextCheck time.Time
	Retry     time.Time // of backoff: when it ends
	Failures  int       // attempts that failed in a row
	StartsMax int       // of Outlook in 24 hours
	StartsNow int       // that the budget still allows now
	NextStart time.Time // when the budget allows the next one
	HResult   uint32    // the last one reported; 0: none
	Message   string    // what is true, in one sentence
	Action    string    // the one thing that a person must do; empty: nothing
	Obstacle  Obstacle  // what the next renewal would end in
	Warnings  []string  // what else could stand in its way, in sentences that say what to do
	Agent     AgentView
}

// AgentView is what is known of the agent and its session.
type AgentView struct {
	Present  bool
	InBroker bool // the broker itself does the agent's work
	Info     AgentInfo
	SeenOn   time.Time // zero: never
	Account  string    // DOMAIN\user
	Host     string
	Session  desktop.Session
	Outlook  desktop.Installation
	Running  Outlook
	Mode     int // OlExchangeConnectionMode; 0: not known
}
