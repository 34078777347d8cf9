package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// scenario is one desktop, and what the broker makes of it.
type scenario struct {
	name   string
	script desktop.Script
	before func(w *world) // of the broker's start; nil: nothing
	story  func(w *world)
}

func run(t *testing.T, all []scenario) {
	t.Helper()
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) { inScript(t, s.script, s.before, s.story) })
	}
}

func does(d desktop.Doing) desktop.Script {
	return desktop.Script{Start: desktop.StartScript{Does: d, After: 5 * time.Second}}
}

func policy(p mapiadapter.Policy) func(w *world) {
	return func(w *world) { w.target.Policy = p }
}

// fresh checks that all is well, after so many starts of Outlook.
func (w *world) fresh(starts int) {
	w.t.Helper()
	w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
	w.started(starts)
}

func (w *world) started(n int) {
	w.t.Helper()
	if got := w.desk.Starts(); got != n {
		w.t.Fatalf("Outlook was started %d times, want %d", got, n)
	}
}

// stuck checks that a person must act, that what they are told names the account
// and the host, and that however often a consumer asks, nothing else happens.
func (w *world) stuck(phase mapiadapter.Phase, reason mapiadapter.Reason, starts int) {
	w.t.Helper()
	f := w.view().Freshness
	for range 3 {
		v := w.is(phase, reason, f)
		if !strings.Contains(v.Message, "DESKTOP") || !strings.Contains(v.Action, `DESKTOP\robot`) || strings.Count(v.Action, "DESKTOP") < 2 {
			w.t.Errorf("it does not name account and host: %q %q", v.Message, v.Action)
		}
		w.started(starts)
		w.ensure()
		w.after(20 * time.Minute)
	}
}

func (w *world) ensure() {
	w.t.Helper()
	if _, err := w.adapter.Ensure(w.t.Context(), target, true, time.Minute); err != nil {
		w.t.Fatal(err)
	}
}

// closed is a person closing Outlook, and the next error of the consumer.
func (w *world) closed() {
	w.t.Helper()
	w.desk.CloseByPerson()
	w.after(15 * time.Minute)
	w.report(0x8004011D)
	w.after(15 * time.Minute)
}

// What a machine is like that cannot work: said at once, nothing is started, and
// it goes on by itself once the machine is another.
func TestCannotWorkHere(t *testing.T) {
	service := func(account string, bitness desktop.Bitness) desktop.Script {
		return desktop.Script{Services: map[string]desktop.Service{"gateway": {Account: account, Bitness: bitness}}}
	}
	for _, test := range []struct {
		name   string
		script desktop.Script
		reason mapiadapter.Reason
		mend   func(c *desktop.Script)
	}{
		{
			"no Outlook",
			desktop.Script{NoOutlook: true},
			mapiadapter.ReasonNoOutlook,
			func(c *desktop.Script) { c.NoOutlook = false },
		},
		{
			"new Outlook",
			desktop.Script{Installation: desktop.Installation{NewInUse: true}},
			mapiadapter.ReasonNewOutlook,
			func(c *desktop.Script) { c.Installation.NewInUse = false },
		},
		{
			"no profile",
			desktop.Script{Profiles: desktop.Profiles{Names: []string{"Private"}}},
			mapiadapter.ReasonNoProfile,
			func(c *desktop.Script) { c.Profiles.Names = []string{"Private", "Outlook"} },
		},
		{
			"a service of another bitness",
			service(`DESKTOP\robot`, desktop.X86),
			mapiadapter.ReasonBitness,
			func(c *desktop.Script) { *c = service(`DESKTOP\robot`, desktop.X64) },
		},
		{
			"a service that never logs on",
			service("LocalSystem", desktop.X64),
			mapiadapter.ReasonServiceAccount,
			func(c *desktop.Script) { *c = service(`.\robot`, desktop.X64) },
		},
		{
			"a managed service account",
			service(`DESKTOP\gateway$`, desktop.X64),
			mapiadapter.ReasonServiceAccount,
			func(c *desktop.Script) { *c = service(`DESKTOP\robot`, desktop.X64) },
		},
		{
			"a service of somebody else",
			service(`DESKTOP\person`, desktop.X64),
			mapiadapter.ReasonOtherAccount,
			func(c *desktop.Script) { *c = service(`DESKTOP\robot`, desktop.X64) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inScript(t, test.script, func(w *world) { w.target.Service = "gateway" }, func(w *world) {
				w.after(2 * time.Minute)
				w.stuck(mapiadapter.Unsupported, test.reason, 0)
				w.desk.Change(test.mend)
				w.after(2 * time.Minute)
				w.fresh(1)
			})
		})
	}
}

// What a started Outlook may do.
func TestStarts(t *testing.T) {
	run(t, []scenario{
		{"slow", desktop.Script{Start: desktop.StartScript{After: 3 * time.Minute}}, nil, func(w *world) {
			w.after(2 * time.Minute)
			w.is(mapiadapter.Observe, "", mapiadapter.Unknown)
			w.after(2 * time.Minute)
			w.fresh(1)
		}},
		{"hangs", does(desktop.Hangs), nil, func(w *world) {
			w.after(6 * time.Minute)
			w.is(mapiadapter.Backoff, mapiadapter.ReasonNoProof, mapiadapter.Unknown)
			w.after(24 * time.Hour) // it hangs still, and is neither killed nor started beside
			w.stuck(mapiadapter.Suspended, mapiadapter.ReasonCircuit, 1)
		}},
		{"crashes", does(desktop.Crashes), nil, func(w *world) {
			w.after(time.Minute)
			w.is(mapiadapter.Backoff, mapiadapter.ReasonCrashed, mapiadapter.Unknown)
			w.after(24 * time.Hour)
			w.stuck(mapiadapter.Suspended, mapiadapter.ReasonCircuit, 5)
		}},
		{"fails", does(desktop.Fails), nil, func(w *world) {
			w.after(time.Minute)
			w.is(mapiadapter.Backoff, mapiadapter.ReasonStartFailed, mapiadapter.Unknown)
		}},
		{"hands over to new Outlook", does(desktop.HandsOver), nil, func(w *world) {
			w.after(time.Minute)
			w.is(mapiadapter.Unsupported, mapiadapter.ReasonNewOutlook, mapiadapter.Unknown)
			w.after(24 * time.Hour)
			w.stuck(mapiadapter.Unsupported, mapiadapter.ReasonNewOutlook, 1)
		}},
		{"is migrated on the way", desktop.Script{Installation: desktop.Installation{Migrating: true}}, nil, func(w *world) {
			w.after(2 * time.Minute)
			w.fresh(1)
			w.closed() // the second start
			w.fresh(2)
			w.after(time.Hour)
			w.closed() // the third, which hands over
			w.stuck(mapiadapter.Unsupported, mapiadapter.ReasonNewOutlook, 3)
		}},
		{"is closed twice by a person", desktop.Script{Start: desktop.StartScript{ClosedAfter: time.Minute}}, nil, func(w *world) {
			w.after(15 * time.Minute)
			w.fresh(1)
			w.report(0x8004011D)
			w.after(5 * time.Minute)
			w.stuck(mapiadapter.Suspended, mapiadapter.ReasonUserClosed, 2)
		}},
	})
}

// What waits for a person is not started again, and goes on when it was answered.
func TestAsks(t *testing.T) {
	for does, reason := range map[desktop.Doing]mapiadapter.Reason{
		desktop.AsksSignIn: mapiadapter.ReasonSignIn, desktop.StaysOffline: mapiadapter.ReasonSignIn, desktop.AsksFirst: mapiadapter.ReasonDialog,
		desktop.AsksProfile: mapiadapter.ReasonDialog, desktop.AsksDialog: mapiadapter.ReasonDialog,
	} {
		t.Run(string(does), func(t *testing.T) {
			inScript(t, desktop.Script{Start: desktop.StartScript{Does: does}}, nil, func(w *world) {
				w.after(5 * time.Minute)
				w.stuck(mapiadapter.NeedsUser, reason, 1)
				w.desk.AnswerWindow()
				if does == desktop.StaysOffline {
					w.desk.CloseByPerson()
					w.desk.RunOutlook("Outlook")
				}
				w.after(2 * time.Minute)
				w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
			})
		})
	}
}

// What a person has open already.
func TestRunsAlready(t *testing.T) {
	run(t, []scenario{
		{"the profile", desktop.Script{Running: "Outlook"}, nil, func(w *world) {
			w.after(2 * time.Minute)
			w.fresh(0)
		}},
		{"another profile", desktop.Script{Running: "Private", Profiles: desktop.Profiles{Names: []string{"Private", "Outlook"}}}, nil, func(w *world) {
			w.after(2 * time.Minute)
			w.stuck(mapiadapter.NeedsUser, mapiadapter.ReasonWrongProfile, 0)
			if w.view().Agent.Running != mapiadapter.OutlookOther {
				w.t.Error("the person's Outlook is gone")
			}
			w.desk.CloseByPerson()
			w.after(2 * time.Minute)
			w.fresh(1)
		}},
		{"in another session", desktop.Script{Elsewhere: "Outlook"}, nil, func(w *world) {
			w.after(2 * time.Minute)
			w.stuck(mapiadapter.NeedsUser, mapiadapter.ReasonOtherSession, 0)
			w.desk.Change(func(c *desktop.Script) { c.Elsewhere = "" })
			w.after(2 * time.Minute)
			w.fresh(1)
		}},
		{"as administrator", desktop.Script{}, func(w *world) { w.desk.RunElevated("Outlook") }, func(w *world) {
			w.after(20 * time.Minute)
			if v := w.view(); v.Agent.Running != mapiadapter.OutlookDeaf || v.Freshness != mapiadapter.Unknown || w.desk.Sends() != 0 {
				w.t.Errorf("%s, %s, %d sends", v.Agent.Running, v.Freshness, w.desk.Sends())
			}
			w.started(0)
		}},
	})
}

func TestPolicies(t *testing.T) {
	run(t, []scenario{
		{"notify_only starts nothing", desktop.Script{}, policy(mapiadapter.NotifyOnly), func(w *world) {
			w.after(2 * time.Minute)
			w.stuck(mapiadapter.NeedsUser, mapiadapter.ReasonOpenOutlook, 0)
			w.desk.RunOutlook("Outlook")
			w.after(2 * time.Minute)
			w.fresh(0)
			if w.desk.Sends() != 0 {
				w.t.Error("and asks for nothing")
			}
		}},
		{"supervise starts it again", desktop.Script{}, policy(mapiadapter.Supervise), func(w *world) {
			w.after(15 * time.Minute)
			w.fresh(1)
			w.desk.CloseByPerson()
			w.after(time.Minute)
			w.started(1)
			w.after(2 * time.Minute)
			w.fresh(2)
		}},
		{"nudge does not", desktop.Script{}, nil, func(w *world) {
			w.after(15 * time.Minute)
			w.desk.CloseByPerson()
			w.after(4 * time.Hour)
			w.fresh(1)
		}},
	})
}

// A person who works in the session is asked first.
func TestNotices(t *testing.T) {
	inUse := func(answer desktop.Answer, seat desktop.Seat) desktop.Script {
		return desktop.Script{InUse: true, Seat: seat, Notice: desktop.NoticeScript{Answer: answer, After: 5 * time.Second}}
	}
	asked := func(w *world) int {
		n := 0
		for _, notice := range w.desk.Notices() {
			if notice.Ask {
				n++
			}
		}
		return n
	}
	run(t, []scenario{
		{"not now", inUse(desktop.AnswerNotNow, ""), nil, func(w *world) {
			w.after(time.Minute)
			w.is(mapiadapter.Backoff, mapiadapter.ReasonDeclined, mapiadapter.Unknown)
			w.after(20 * time.Minute)
			if n := asked(w); n > 3 || w.desk.Starts() != 0 {
				w.t.Errorf("asked %d times in 20 minutes, %d starts", n, w.desk.Starts())
			}
			w.desk.Change(func(c *desktop.Script) { c.Notice.Answer = desktop.AnswerOK })
			w.after(2 * time.Hour)
			w.fresh(1)
		}},
		{"no answer", inUse(desktop.AnswerNone, ""), nil, func(w *world) {
			w.after(50 * time.Second)
			w.is(mapiadapter.Trigger, "", mapiadapter.Unknown)
			w.started(0)
			w.after(time.Minute)
			w.fresh(1)
		}},
		{"nobody sees a locked session", inUse(desktop.AnswerNotNow, desktop.SeatLocked), nil, func(w *world) {
			w.after(time.Minute)
			w.fresh(1)
			if n := asked(w); n != 0 {
				w.t.Errorf("asked %d times", n)
			}
		}},
		{"the target does not want it", inUse(desktop.AnswerNotNow, ""), func(w *world) { w.target.Notice = false }, func(w *world) {
			w.after(time.Minute)
			w.fresh(1)
		}},
	})
}

// Where the account is logged on.
func TestSeats(t *testing.T) {
	watched := func(w *world) { // a broker that is a service sees the sessions itself
		w.config.Sessions = func(ctx context.Context) mapiadapter.Sessions {
			all, err := w.desk.Sessions(ctx, "S-1-5-21-1004336348-1177238915-682003330-1001")
			switch {
			case err != nil:
				return mapiadapter.SessionsUnknown
			case len(all) == 0:
				return mapiadapter.SessionsNone
			default:
				return mapiadapter.SessionsSome
			}
		}
	}
	run(t, []scenario{
		{"locked", desktop.Script{Seat: desktop.SeatLocked}, nil, func(w *world) {
			w.after(time.Minute)
			w.fresh(1)
		}},
		{"disconnected", desktop.Script{Seat: desktop.SeatDisconnected}, nil, func(w *world) {
			w.after(time.Minute)
			w.fresh(1)
		}},
		{"nobody is logged on", desktop.Script{Seat: desktop.SeatNobody}, watched, func(w *world) {
			w.after(3 * time.Minute)
			w.stuck(mapiadapter.WaitSession, "", 0)
			w.desk.SetSession(desktop.SeatActive)
			w.after(time.Minute) // a logon is left in peace for a while
			w.started(0)
			w.after(5 * time.Minute)
			w.fresh(1)
		}},
		{"the account logs off", desktop.Script{}, watched, func(w *world) {
			w.after(15 * time.Minute)
			w.fresh(1)
			w.desk.SetSession(desktop.SeatNobody)
			w.after(5 * time.Minute)
			w.stuck(mapiadapter.WaitSession, "", 1)
		}},
		{"nobody is logged on, and nobody says so", desktop.Script{Seat: desktop.SeatNobody}, nil, func(w *world) {
			w.after(3 * time.Minute)
			w.stuck(mapiadapter.WaitAgent, "", 0)
		}},
		{"in session 0", desktop.Script{Seat: desktop.SeatService}, nil, func(w *world) {
			w.after(3 * time.Minute)
			w.stuck(mapiadapter.Unsupported, mapiadapter.ReasonElevated, 0)
		}},
	})
}

// An obstacle is nobody's failure, and nothing is done while it lasts.
func TestObstacles(t *testing.T) {
	for _, obstacle := range []mapiadapter.Reason{mapiadapter.ReasonNetwork, mapiadapter.ReasonClock} {
		t.Run(string(obstacle), func(t *testing.T) {
			now := obstacle
			inScript(t, desktop.Script{}, func(w *world) {
				w.config.Reach = func(context.Context) mapiadapter.Reason {
					w.mu.Lock()
					defer w.mu.Unlock()
					return now
				}
			}, func(w *world) {
				w.after(time.Minute)
				if v := w.is(mapiadapter.Backoff, obstacle, mapiadapter.Unknown); v.Failures != 0 {
					t.Errorf("%d failures", v.Failures)
				}
				w.after(3 * time.Hour)
				w.started(0)
				w.mu.Lock()
				now = mapiadapter.ReasonNone
				w.mu.Unlock()
				w.after(20 * time.Minute)
				w.fresh(1)
			})
		})
	}
}

// However often the broker starts anew, and whatever is asked of it, Outlook is
// started as often as the budget allows, and no more.
func TestBudgetOverRestarts(t *testing.T) {
	inScript(t, does(desktop.Crashes), func(w *world) {
		w.config.Limits.Circuit = 1000
		w.config.Limits.BackoffMax = 10 * time.Minute
	}, func(w *world) {
		for range 4 * 30 {
			w.after(15 * time.Minute)
			w.stopBroker()
			w.startBroker()
			w.after(time.Second)
			w.ensure()
		}
		entries, err := w.adapter.History(target, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		var starts []time.Time
		for _, e := range entries {
			if e.Action == string(mapiadapter.ActionStart) {
				starts = append(starts, e.On)
			}
		}
		if len(starts) != w.desk.Starts() || len(starts) < 9 {
			t.Errorf("%d starts in 30 hours of asking, %d in the ledger", w.desk.Starts(), len(starts))
		}
		for _, a := range w.config.Limits.Budget {
			for i := a.Number; i < len(starts); i++ {
				if apart := starts[i].Sub(starts[i-a.Number]); apart < a.In {
					t.Errorf("%d starts in %v", a.Number+1, apart)
				}
			}
		}
	})
}
