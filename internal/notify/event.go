package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Severity says how much an event matters. When the queues are full, the least
// severe events go first.
type Severity string

// The severities, in rising order.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// The IDs of events, as they stand in the Windows event log. They are part of the
// product's interface: monitoring is built on them, so none is ever given another
// meaning. EventCreate.exe, whose texts we use, knows 1 to 1000.
const (
	IDTest         = 1
	IDFresh        = 100
	IDDue          = 110
	IDTriggered    = 120
	IDProof        = 130
	IDBackoff      = 200
	IDSuspended    = 210
	IDNoSession    = 300
	IDAgentMissing = 310
	IDUserNeeded   = 320
	IDUnsupported  = 400
	IDSession0     = 410

	IDSignInNeeded = 500
	IDAdminNeeded  = 510
	IDSignInEnds   = 520
	IDAccountWell  = 530

	// Lines of the audit log; they go to the event log alone.
	IDAuditRefused = 600
	IDAuditSignIn  = 610
	IDAuditKey     = 620
	IDAuditPolicy  = 630
	IDAuditBroker  = 640
	IDAuditFault   = 650

	// The broker as a service of Windows; they go to the event log alone.
	IDServiceStarted = 700
	IDServiceStopped = 710
	IDServiceFailed  = 720
)

// Event is one change that a person or a program should hear of.
type Event struct {
	ID       int // see ID…
	Severity Severity
	Subject  string    // what it is about: "mapi/archive"
	State    string    // what it is in now, as a stable word: "needs_user"
	Reason   string    // why, as a stable word: "sign_in"; may be empty
	Text     string    // one or two sentences for a person
	Action   string    // what that person must do; empty: nothing
	On       time.Time // when it happened; zero: now
	Repeat   int       // 0 the first time, n for the n-th reminder
	Count    int       // how often the state came since the last notification
	Key      string    // events of one Key are delivered once; empty: every one is
}

// maxText bounds the sentences, in characters: they go through environment
// variables and the event log, which have limits.
const maxText = 2000

// complete fills what the caller may leave out.
func (e Event) complete(now time.Time) Event {
	if e.Severity == "" {
		e.Severity = Info
	}
	if e.On.IsZero() {
		e.On = now
	}
	if e.Key == "" {
		e.Key = fmt.Sprintf("%s/%d/%d/%d", e.Subject, e.ID, e.Repeat, e.On.UnixNano())
	}
	e.Text, e.Action = clip(e.Text), clip(e.Action)
	return e
}

func clip(s string) string {
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}

func (s Severity) rank() int {
	switch s {
	case Error:
		return 2
	case Warning:
		return 1
	case Info:
	}
	return 0
}

// message is an event as webhook and command get it. Receivers are built on the
// names: add to them, never change one.
type message struct {
	ID       int       `json:"id"`
	Severity Severity  `json:"severity"`
	Subject  string    `json:"subject"`
	State    string    `json:"state"`
	Reason   string    `json:"reason"`
	Text     string    `json:"text"`
	Action   string    `json:"action"`
	Host     string    `json:"host"`
	On       time.Time `json:"on"`
	Repeat   int       `json:"repeat"`
	Count    int       `json:"count"`
	Key      string    `json:"key"`
}

// json is the event as one line of JSON. The time is UTC, to the second.
func (e Event) json(host string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // nobody puts it into a page; "DOMAIN\user & Co" should be readable
	_ = enc.Encode(message{  // texts, numbers and a time cannot fail
		ID: e.ID, Severity: e.Severity, Subject: e.Subject, State: e.State, Reason: e.Reason,
		Text: e.Text, Action: e.Action, Host: host, On: e.On.UTC().Truncate(time.Second),
		Repeat: e.Repeat, Count: e.Count, Key: e.Key,
	})
	return b.Bytes()
}

// page is the event as the Windows event log shows it.
func (e Event) page() string {
	var b strings.Builder
	b.WriteString(e.Text)
	if e.Action != "" {
		b.WriteString("\r\n\r\nWhat to do: " + e.Action)
	}
	b.WriteString("\r\n\r\nSubject: " + e.Subject + "\r\nState: " + e.State)
	if e.Reason != "" {
		b.WriteString("\r\nReason: " + e.Reason)
	}
	if e.Repeat > 0 {
		fmt.Fprintf(&b, "\r\nReminder: %d", e.Repeat)
	}
	if e.Count > 1 {
		fmt.Fprintf(&b, "\r\nCount: %d", e.Count)
	}
	return strings.ReplaceAll(b.String(), "\x00", "")
}
