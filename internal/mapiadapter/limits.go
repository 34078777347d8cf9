package mapiadapter

import "time"

// Limits are the times and numbers of the machine.
type Limits struct {
	Look          time.Duration // how often the world is looked at
	LookBusy      time.Duration // and while an attempt is being made, by the agent too
	LookQuiet     time.Duration // how often the agent looks else
	AgentAbsent   time.Duration // an agent not heard of for this long is gone
	Precheck      time.Duration
	Trigger       time.Duration
	Observe       time.Duration
	ObserveLogon  time.Duration // where the session had just begun
	NewLogon      time.Duration // how long a session has just begun
	HandOver      time.Duration // how soon new Outlook shows in place of the classic one
	Disconnected  time.Duration // how long Outlook may be disconnected before a person is asked
	Asking        time.Duration // how long a window must be there to count
	SettleLogon   time.Duration // after a logon, before it is used
	SettlePerson  time.Duration // after an unlock or a reconnect, before it is looked at
	Gone          time.Duration // policy supervise: how long Outlook may be missing
	Closing       time.Duration // an Outlook closed sooner after our start was closed on purpose
	Debounce      time.Duration // reports within this time are one cause
	Refute        time.Duration // a report this soon after a proof contradicts it
	WatchProof    time.Duration // how often a renewal that came by itself is noted
	ProbeEvery    time.Duration
	ProbeAgain    time.Duration // between a failed probe and the one that confirms it
	ProbeTime     time.Duration // how long the answer of a probe is waited for
	AgentEvery    time.Duration // between two starts of the agent
	AgentTries    int           // per logon
	LifetimeFirst time.Duration // while none has been learned
	LifetimeMin   time.Duration
	LifetimeMax   time.Duration
	DueShare      float64 // of the lifetime
	BackoffFirst  time.Duration
	BackoffMax    time.Duration
	BackoffJitter float64
	Circuit       int // counted failures that open the circuit
	Reopened      int // what they count after new evidence closed it
	RefutedMax    int // contradicted proofs in a row that show a broken session 0
	Budget        []Allowance
	Reminders     []time.Duration // after the phase began; then daily
	Daily         time.Duration
}

// Allowance is how many triggers or starts fit into a time.
type Allowance struct {
	Number int
	In     time.Duration
}

// DefaultLimits are those of the design, each documented in docs/mapi.md.
func DefaultLimits() Limits {
	const m, h = time.Minute, time.Hour
	return Limits{
		Look: m, LookBusy: 5 * time.Second, LookQuiet: 30 * time.Second, AgentAbsent: 75 * time.Second,
		Precheck: 30 * time.Second, Trigger: 90 * time.Second, Observe: 5 * m, ObserveLogon: 10 * m, NewLogon: 15 * m,
		HandOver: 40 * time.Second, Disconnected: 3 * m, Asking: 15 * time.Second,
		SettleLogon: 90 * time.Second, SettlePerson: 60 * time.Second, Gone: 2 * m, Closing: 10 * m,
		Debounce: 30 * time.Second, Refute: 15 * m, WatchProof: 10 * m,
		ProbeEvery: 10 * m, ProbeAgain: m, ProbeTime: 2 * m,
		AgentEvery: 10 * m, AgentTries: 3,
		LifetimeFirst: 12 * h, LifetimeMin: 45 * m, LifetimeMax: 26 * h, DueShare: 0.8,
		BackoffFirst: 5 * m, BackoffMax: 6 * h, BackoffJitter: 0.2, Circuit: 5, Reopened: 3, RefutedMax: 3,
		Budget:    []Allowance{{1, 10 * m}, {4, 6 * h}, {8, 24 * h}},
		Reminders: []time.Duration{30 * m, 2 * h, 6 * h}, Daily: 24 * h,
	}
}
