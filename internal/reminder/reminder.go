// Package reminder tells people what an account needs of them, before it is too
// late where that can be known: a new sign-in, an administrator, or a sign-in soon.
// Each thing is told once when it has lasted, and reminded of in a rhythm that
// slows down; that all is well again is told too.
//
// The rule is a pure function of what an account is, what was told of it, and the
// time (step). The Reminder is the loop that asks it. What was told outlives the
// broker, in a file of the state directory that names accounts by their hash.
package reminder

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/notify"
)

// Need is what an account needs of people.
type Need string

// The needs. They are the states of the events.
const (
	Nothing Need = "ok"
	SignIn  Need = "sign_in_required" // a person must sign in
	Admin   Need = "admin_required"   // no sign-in mends it: an administrator must act
	Ending  Need = "ending"           // the sign-in will end soon
	Unknown Need = "unknown"          // nobody can tell at the moment: the network or the store is away
)

// Account is one account as it is now.
type Account struct {
	ID     string // its hash, for log and file
	Name   string // for people and for commands
	User   string // for people; may be Name
	Need   Need   // never Ending: that is found out here
	Reason string // why, as a stable word
	Why    string // why, as a sentence for a person; may be empty
	Busy   bool   // a person is signing in at this moment

	GoodOn time.Time // when it was last seen to work
	End    End
}

// End is when a sign-in will end by itself.
type End struct {
	On     time.Time     // zero: not known
	Reason string        // as a stable word
	From   time.Time     // what it is counted from: the sign-in, or its last use
	Every  time.Duration // the tenant asks for a sign-in so often; zero: that is not the reason
}

// Config is what a Reminder needs.
type Config struct {
	// Accounts lists them; whole is false where some may be missing.
	Accounts func() (all []Account, whole bool)
	Notify   func(notify.Event) // must not block
	Dir      string             // the state directory
	Host     string             // the name of this machine, for people
	Log      *slog.Logger
}

// Reminder tells people what accounts need. Its zero value is not ready.
type Reminder struct {
	cfg    Config
	path   string
	told   map[string]told // by account ID; only Run uses it
	dirty  bool
	failed bool // the last try to save
}

// lookEvery is how often the accounts are looked at.
const lookEvery = 30 * time.Second

// New makes a Reminder of what was told before; Run tells. A file that cannot be
// read is a warning, and telling begins anew.
func New(ctx context.Context, cfg Config) *Reminder {
	r := &Reminder{cfg: cfg, path: pathIn(cfg.Dir)}
	r.told = r.load(ctx)
	return r
}

// Run looks at the accounts until ctx ends.
func (r *Reminder) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r.look(ctx, time.Now().Round(0).UTC()) // by the wall clock: a machine's sleep counts
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look tells what is to be told now. What is told is written down first: a broker
// that dies in between tells nothing twice, and the next reminder comes anyway.
func (r *Reminder) look(ctx context.Context, now time.Time) {
	accounts, whole := r.cfg.Accounts()
	seen := map[string]bool{}
	var events []notify.Event
	for _, a := range accounts {
		seen[a.ID] = true
		was := r.told[a.ID]
		after, news := step(a, was, now)
		if after != was {
			r.keep(a.ID, after)
		}
		if news {
			r.log(ctx, a, after, now)
			events = append(events, eventOf(a, was, after, place{r.cfg.Host, now}))
		}
	}
	for _, id := range slices.Collect(maps.Keys(r.told)) {
		if whole && !seen[id] {
			r.keep(id, told{}) // signed out, or no longer configured
		}
	}
	r.save(ctx)
	for _, e := range events {
		r.cfg.Notify(e)
	}
}

func (r *Reminder) keep(id string, t told) {
	r.dirty = true
	if t == (told{}) {
		delete(r.told, id)
		return
	}
	r.told[id] = t
}

// log warns of an end ahead, once for each time that people are told. All else
// was logged when the account's state changed.
func (r *Reminder) log(ctx context.Context, a Account, t told, now time.Time) {
	if t.Need != Ending {
		return
	}
	r.cfg.Log.WarnContext(ctx, "a sign-in ends soon; sign in again before", slog.String("account", a.ID),
		slog.String("reason", a.End.Reason), slog.Duration("in", a.End.On.Sub(now).Round(time.Second)), slog.Time("on", a.End.On.UTC()))
}
