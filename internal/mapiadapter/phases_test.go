package mapiadapter

import (
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

func TestIdle(t *testing.T) {
	t.Run("fresh access is left alone, whatever runs", func(t *testing.T) {
		for _, world := range []func(*Sight){absent, connected, deaf, otherProfile, otherSession, disconnected} {
			y := freshStory(t).sees(world).until(9*hour, minute).is(Idle, ReasonNone)
			if len(y.all) > 0 {
				t.Errorf("fresh access, and yet %v", y.all)
			}
		}
	})
	t.Run("what was never proved is checked as soon as anything was seen", func(t *testing.T) {
		y := newStory(t)
		y.in.Sight.Known = false
		y.tick().is(Idle, ReasonNone).freshness(Unknown)
		y.in.Sight.Known = true
		y.tick().is(Precheck, ReasonNone).cause(CauseFirst).did(DoLook)
	})
	t.Run("due access is checked", func(t *testing.T) {
		freshStory(t).after(9*hour).is(Idle, ReasonNone).freshness(Fresh).
			after(36*minute).is(Precheck, ReasonNone).freshness(Due).cause(CauseAge).did(DoTell)
	})
	t.Run("a consumer that is refused is heard at once", func(t *testing.T) {
		freshStory(t).after(hour).refused().is(Precheck, ReasonNone).freshness(Expired).cause(CauseReport)
	})
	t.Run("ensure asks where access is not fresh, force also where it is", func(t *testing.T) {
		freshStory(t).ensures(false).is(Idle, ReasonNone)
		freshStory(t).ensures(true).is(Precheck, ReasonNone).cause(CauseEnsure).looks().is(Trigger, ReasonNone)
		freshStory(t).sees(deaf).looks().freshness(Fresh).after(minute).sees(absent).sees(deaf).after(minute).freshness(Unknown).
			ensures(false).is(Precheck, ReasonNone)
	})
	t.Run("a session or an agent that is gone is said, and causes nothing", func(t *testing.T) {
		y := freshStory(t).after(minute).sees(noAgent).freshness(Unknown).is(WaitAgent, ReasonNone)
		if y.s.Pending != nil {
			t.Errorf("a cause of nothing: %v", y.s.Pending)
		}
		freshStory(t).after(minute).sees(nobody).is(WaitSession, ReasonNone)
		freshStory(t).after(minute).sees(noAgent).sees(agentBack("L1")).is(Idle, ReasonNone).freshness(Fresh)
	})
	t.Run("what was never proved is no cause while nobody looks", func(t *testing.T) {
		y := newStory(t)
		noAgent(&y.in.Sight)
		if y.tick().is(WaitAgent, ReasonNone); y.s.Pending != nil {
			t.Errorf("a cause of nothing: %v", y.s.Pending)
		}
	})
	t.Run("a deaf Outlook lowers what is known, and is no cause", func(t *testing.T) {
		freshStory(t).after(minute).sees(deaf).freshness(Unknown).until(9*hour, minute).is(Idle, ReasonNone)
	})
	t.Run("access that grows old under a deaf Outlook is observed, not acted upon", func(t *testing.T) {
		freshStory(t).after(minute).sees(deaf).after(10*hour).is(Precheck, ReasonNone).cause(CauseAge).
			looks().is(Observe, ReasonNone).didNot(DoStart, DoSend)
	})
	t.Run("supervise restarts an Outlook that has been missing for two minutes", func(t *testing.T) {
		y := freshStory(t)
		y.in.Target.Policy = Supervise
		y.sees(connected).after(hour).sees(absent).after(119*second).is(Idle, ReasonNone).
			after(second).is(Precheck, ReasonNone).cause(CauseGone).
			looks().is(Trigger, ReasonNone).did(DoStart).
			starts(7).after(20*second).sees(connected).is(Idle, ReasonNoNewToken)
	})
	t.Run("supervise leaves an Outlook alone that came back by itself", func(t *testing.T) {
		y := freshStory(t)
		y.in.Target.Policy = Supervise
		y.sees(connected).after(hour).sees(absent).after(2*minute).is(Precheck, ReasonNone).sees(connected).looks().is(Idle, ReasonNone)
	})
}

func TestPrecheckInItsOrder(t *testing.T) {
	// Each world has everything wrong that comes later, too.
	late := []func(*Sight){nobody}
	t.Run("network and clock", func(t *testing.T) {
		for _, why := range []Reason{ReasonNetwork, ReasonClock} {
			y := checkingStory(t).sees(append(late, broken(ReasonNoOutlook), func(w *Sight) { w.Obstacle = why })...)
			y.is(Backoff, why).retriesIn(5 * minute)
			if y.s.Failures != 0 {
				t.Errorf("%s was counted as a failure", why)
			}
			for range 20 { // as often as it likes
				y.after(5*minute).is(Backoff, why).retriesIn(5 * minute)
			}
			y.sees(network, agentBack("L1"), broken("")).retries().looks().is(Trigger, ReasonNone)
		}
	})
	t.Run("installation", func(t *testing.T) {
		for _, why := range []Reason{ReasonNoOutlook, ReasonNewOutlook, ReasonNoProfile, ReasonBitness, ReasonServiceAccount, ReasonPlatform} {
			y := checkingStory(t)
			y.s.Account = true
			y.sees(append(late, broken(why))...).is(Unsupported, why)
		}
	})
	t.Run("the service's own logon", func(t *testing.T) {
		y := checkingStory(t)
		y.s.Refuted, y.s.Account = 3, true
		y.sees(late...).is(Session0Broken, ReasonServiceContext)
	})
	t.Run("account", func(t *testing.T) {
		freshStory(t).after(hour).step(Event{Kind: EventReportBad, HResult: 0x80040124, Class: ClassAccount}).
			sees(late...).is(NeedsUser, ReasonAccount)
	})
	t.Run("session", func(t *testing.T) {
		checkingStory(t).sees(nobody).is(WaitSession, ReasonNone)
	})
	t.Run("agent", func(t *testing.T) {
		checkingStory(t).sees(noAgent).is(WaitAgent, ReasonNone)
		checkingStory(t).sees(noAgent, func(w *Sight) { w.Sessions = SessionsUnknown }).is(WaitAgent, ReasonNone)
	})
	t.Run("else it triggers", func(t *testing.T) {
		checkingStory(t).looks().is(Trigger, ReasonNone)
	})
}

func TestPrecheckWaitsForAFreshLook(t *testing.T) {
	t.Run("nothing is done on what was seen before", func(t *testing.T) {
		y := checkingStory(t)
		y.stale = true
		y.after(29*second).is(Precheck, ReasonNone).after(second).is(Backoff, ReasonNoAnswer)
		if y.s.Failures != 0 {
			t.Error("counted as a failure")
		}
	})
	t.Run("nor on a look from before the clock was set back", func(t *testing.T) {
		y := checkingStory(t)
		y.stale = true
		y.in.Sight.On = y.now.Add(hour)
		y.after(10*second).is(Precheck, ReasonNone)
	})
	t.Run("the network is waited for where somebody looks at it", func(t *testing.T) {
		y := freshStory(t).after(hour)
		y.in.Sight.ReachOn = y.now
		y.refused().after(5*second).is(Precheck, ReasonNone)
		y.sees(noNetwork, func(w *Sight) { w.ReachOn = y.now }).is(Backoff, ReasonNetwork)
	})
	t.Run("but not for longer than half a minute", func(t *testing.T) {
		y := freshStory(t).after(hour)
		y.in.Sight.ReachOn = y.now
		y.refused().after(30*second).is(Trigger, ReasonNone)
	})
}

func TestPrecheckFindsNothingToDo(t *testing.T) {
	t.Run("the consumer works again", func(t *testing.T) {
		checkingStory(t).worked().is(Idle, ReasonNone).freshness(Fresh)
	})
	t.Run("Outlook has just renewed by itself", func(t *testing.T) {
		checkingStory(t).renews().is(Idle, ReasonNone).freshness(Fresh)
	})
}

func TestPrecheckChoosesTheAction(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		world  func(*Sight)
		phase  Phase
		why    Reason
		action ActionKind
	}{
		{"not running: it is started", Nudge, absent, Trigger, ReasonNone, ActionStart},
		{"running: one send and receive", Nudge, connected, Trigger, ReasonNone, ActionSend},
		{"running, disconnected: the same", Nudge, disconnected, Trigger, ReasonNone, ActionSend},
		{"another profile: a person", Nudge, otherProfile, NeedsUser, ReasonWrongProfile, ""},
		{"another session: a person", Nudge, otherSession, NeedsUser, ReasonOtherSession, ""},
		{"deaf: it is only observed", Nudge, deaf, Observe, ReasonNone, ActionObserve},
		{"not known: the same", Nudge, func(w *Sight) { w.Outlook = OutlookUnknown }, Observe, ReasonNone, ActionObserve},
		{"supervise starts", Supervise, absent, Trigger, ReasonNone, ActionStart},
		{"notify_only starts nothing", NotifyOnly, absent, NeedsUser, ReasonOpenOutlook, ""},
		{"notify_only asks nothing of Outlook either", NotifyOnly, connected, Observe, ReasonNone, ActionObserve},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := checkingStory(t)
			y.in.Target.Policy = c.policy
			c.world(&y.in.Sight)
			y.looks().is(c.phase, c.why)
			if c.action == "" {
				return
			}
			if a := y.s.Attempt; a == nil || a.Action != c.action || a.Cause.ID == "" {
				t.Fatalf("attempt %+v, want %s", a, c.action)
			}
			for kind, want := range map[DoKind]bool{DoStart: c.action == ActionStart, DoSend: c.action == ActionSend} {
				if y.wants(kind) != want {
					t.Errorf("%s: %v", kind, !want)
				}
			}
		})
	}
	t.Run("a window asks for something: a person", func(t *testing.T) {
		freshStory(t).sees(deaf, asking(desktop.AskingSignIn)).after(hour).refused().looks().is(NeedsUser, ReasonSignIn)
		freshStory(t).sees(deaf, asking(desktop.AskingProfile)).after(hour).refused().looks().is(NeedsUser, ReasonDialog)
	})
}

func TestNoticeBeforeAStart(t *testing.T) {
	for name, c := range map[string]struct{ inUse, notice, ask bool }{
		"somebody works there": {true, true, true}, "nobody does": {false, true, false}, "not wanted": {true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			y := checkingStory(t)
			y.in.Sight.InUse, y.in.Target.Notice = c.inUse, c.notice
			y.looks().did(DoStart)
			for _, d := range y.dos {
				if d.Kind == DoStart && d.Ask != c.ask {
					t.Errorf("asks: %v", d.Ask)
				}
			}
		})
	}
	t.Run("not now is one step of the backoff, and no failure", func(t *testing.T) {
		y := startingStory(t).answers(Declined, "").is(Backoff, ReasonDeclined).retriesIn(5 * minute)
		y.retries().looks().is(Backoff, ReasonBudget).retries().looks().is(Trigger, ReasonNone)
		y.answers(Declined, "").is(Backoff, ReasonDeclined).retriesIn(10 * minute)
		if y.s.Failures != 0 {
			t.Error("counted as a failure")
		}
	})
}

func TestTrigger(t *testing.T) {
	t.Run("done is observed", func(t *testing.T) {
		startingStory(t).answers(Done, "").is(Observe, ReasonNone)
		sendingStory(t).answers(Done, "").is(Observe, ReasonNone)
	})
	t.Run("an error of the start is a failure", func(t *testing.T) {
		y := startingStory(t).answers(Failed, "").is(Backoff, ReasonStartFailed)
		if y.s.Failures != 1 {
			t.Error("not counted")
		}
	})
	t.Run("what was never begun is nobody's failure", func(t *testing.T) {
		for _, why := range []string{FailedLate, FailedWithdrawn} {
			if y := startingStory(t).answers(Failed, why).is(Backoff, ReasonNoAnswer); y.s.Failures != 0 {
				t.Errorf("%s is counted", why)
			}
		}
	})
	for refusal, want := range map[string]struct {
		phase Phase
		why   Reason
	}{
		desktop.RefusedRunning:    {Observe, ReasonNone},
		desktop.RefusedProfile:    {NeedsUser, ReasonWrongProfile},
		desktop.RefusedNoOutlook:  {Unsupported, ReasonNoOutlook},
		desktop.RefusedNewOutlook: {Unsupported, ReasonNewOutlook},
		desktop.RefusedNoProfile:  {Unsupported, ReasonNoProfile},
		desktop.RefusedElevated:   {Unsupported, ReasonElevated},
		desktop.RefusedService:    {Unsupported, ReasonElevated},
		desktop.RefusedPlatform:   {Unsupported, ReasonPlatform},
		"something new":           {Backoff, ReasonStartFailed},
	} {
		t.Run("refused: "+refusal, func(t *testing.T) {
			startingStory(t).answers(Refused, refusal).is(want.phase, want.why)
			startingStory(t).restarts(0).is(Observe, ReasonNone).answers(Refused, refusal).is(want.phase, want.why)
		})
	}
	t.Run("no answer within 90 s is a failure", func(t *testing.T) {
		y := startingStory(t).after(89*second).is(Trigger, ReasonNone).after(second).is(Backoff, ReasonNoAnswer)
		if y.s.Failures != 1 {
			t.Error("not counted")
		}
	})
	t.Run("but not where the agent went away", func(t *testing.T) {
		y := startingStory(t).sees(noAgent).is(Trigger, ReasonNone).after(90*second).is(Backoff, ReasonBlind)
		if y.s.Failures != 0 {
			t.Error("counted")
		}
	})
	t.Run("an answer that comes late, twice, or to another attempt changes nothing", func(t *testing.T) {
		y := startingStory(t)
		late := y.s.Attempt.ID
		y.step(Event{Kind: EventResult, Attempt: "a99", Outcome: Failed}).is(Trigger, ReasonNone)
		y.step(Event{Kind: EventResult, Outcome: Failed}).is(Trigger, ReasonNone)
		y.starts(7).step(Event{Kind: EventResult, Attempt: late, Outcome: Failed}).is(Observe, ReasonNone)
		y.until(5*minute, 5*second).is(Backoff, ReasonNoProof).step(Event{Kind: EventResult, Attempt: late, Outcome: Done, PID: 8}).is(Backoff, ReasonNoProof)
		if y.s.OursPID == 8 {
			t.Error("a late answer was taken")
		}
	})
	t.Run("the consumer works again before there is an answer", func(t *testing.T) {
		startingStory(t).worked().is(Idle, ReasonNone)
	})
}

func TestNewOutlookTakesOver(t *testing.T) {
	t.Run("within 40 s", func(t *testing.T) {
		observingStory(t).after(5*second).ends(0).is(Observe, ReasonNone).after(5*second).sees(newOutlook).is(Unsupported, ReasonNewOutlook)
	})
	t.Run("seen only later", func(t *testing.T) {
		observingStory(t).after(36*second).sees(newOutlook).is(Observe, ReasonNone).ends(0).is(Unsupported, ReasonNewOutlook)
		y := observingStory(t)
		on := y.now.Add(30 * second)
		y.after(45*second).sees(newOutlook, absent, func(w *Sight) {
			w.Ended = []desktop.Ended{{PID: 7, On: on}}
		}).is(Unsupported, ReasonNewOutlook)
	})
	t.Run("it is not tried again, until classic Outlook runs or the settings change", func(t *testing.T) {
		y := observingStory(t).after(5*second).sees(absent, newOutlook).is(Unsupported, ReasonNewOutlook)
		y.until(48*hour, hour).is(Unsupported, ReasonNewOutlook).ensures(true).refused().is(Unsupported, ReasonNewOutlook)
		y.sees(nobody).sees(agentBack("L2")).after(10*minute).is(Unsupported, ReasonNewOutlook)
		z := *y
		z.sees(connected).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone).did(DoSend)
		y.sees(marked("B")).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone).did(DoStart)
	})
	t.Run("new Outlook beside classic Outlook is none of it", func(t *testing.T) {
		observingStory(t).sees(newOutlook).after(20*second).is(Observe, ReasonNone).renews().is(Idle, ReasonNone)
	})
}

func TestProof(t *testing.T) {
	t.Run("a token written after the start, and connected", func(t *testing.T) {
		y := observingStory(t).after(20*second).renews().is(Idle, ReasonNone).freshness(Fresh)
		if y.s.Proof != ProofEvidence || !y.s.LastProof.Equal(y.now) {
			t.Errorf("proof %s of %s", y.s.Proof, y.s.LastProof)
		}
	})
	t.Run("one without the other is none", func(t *testing.T) {
		y := observingStory(t)
		y.after(20*second).sees(written(y.now)).is(Observe, ReasonNone)
		observingStory(t).after(20*second).sees(connected).is(Observe, ReasonNone)
	})
	t.Run("a token written before the start is none", func(t *testing.T) {
		y := checkingStory(t)
		y.in.Sight.CacheOn = y.now.Add(-minute)
		y.looks().starts(7).after(20*second).sees(connected).is(Observe, ReasonNone)
		y.sees(written(y.s.Attempt.On.Add(-2*second))).is(Observe, ReasonNone)
	})
	t.Run("nor is one that was there already, by a clock that was wrong", func(t *testing.T) {
		y := checkingStory(t)
		y.in.Sight.CacheOn = y.now.Add(minute)
		y.looks().starts(7).after(20*second).sees(connected).is(Observe, ReasonNone)
	})
	t.Run("times of files may be kept to the second", func(t *testing.T) {
		y := checkingStory(t)
		y.now = y.now.Add(second / 2)
		y.looks().starts(7).sees(connected, written(y.s.Attempt.On.Truncate(second))).is(Observe, ReasonNone)
		y.looks().is(Idle, ReasonNone) // seen after the start
	})
	t.Run("the probe, asked once when Outlook is connected", func(t *testing.T) {
		y := observingStory(t)
		y.in.Target.Probe = true
		y.after(5*second).didNot(DoProbe).sees(connected).did(DoProbe).after(5*second).didNot(DoProbe).probes(true).is(Idle, ReasonNone)
		if y.s.Proof != ProofProbe {
			t.Errorf("proof %s", y.s.Proof)
		}
	})
	t.Run("a probe that fails while Outlook is connected is of no use", func(t *testing.T) {
		y := observingStory(t)
		y.in.Target.Probe = true
		y.after(5*second).sees(connected).did(DoProbe).probes(false).is(Observe, ReasonNone)
		if !y.s.ProbeUnusable {
			t.Error("it is used again")
		}
	})
	t.Run("the consumer's word", func(t *testing.T) {
		y := observingStory(t).worked().is(Idle, ReasonNone)
		if y.s.Proof != ProofConsumer {
			t.Errorf("proof %s", y.s.Proof)
		}
	})
}

func TestObserveWithoutProof(t *testing.T) {
	t.Run("a sign-in, a profile or a first-run window", func(t *testing.T) {
		for what, why := range map[desktop.Asking]Reason{
			desktop.AskingSignIn: ReasonSignIn, desktop.AskingProfile: ReasonDialog, desktop.AskingFirst: ReasonDialog, desktop.AskingDialog: ReasonDialog,
		} {
			observingStory(t).after(5*second).sees(asking(what)).after(14*second).is(Observe, ReasonNone).after(second).is(NeedsUser, why)
			// one that goes by is no question
			observingStory(t).after(5*second).sees(asking(what)).after(10*second).sees(asking("")).after(minute).is(Observe, ReasonNone)
		}
	})
	t.Run("disconnected for 3 min with a good network", func(t *testing.T) {
		observingStory(t).after(5*second).sees(disconnected).did(DoLook).after(179*second).is(Observe, ReasonNone).after(second).is(NeedsUser, ReasonSignIn)
	})
	t.Run("disconnected for long before it was asked", func(t *testing.T) {
		freshStory(t).sees(disconnected).after(hour).refused().looks().did(DoSend).answers(Done, "").
			after(179*second).is(Observe, ReasonNone).after(second).is(NeedsUser, ReasonSignIn)
	})
	t.Run("disconnected by the network", func(t *testing.T) {
		y := observingStory(t).after(5*second).sees(disconnected, noNetwork).until(294*second, 5*second).is(Observe, ReasonNone)
		y.after(second).is(Backoff, ReasonNetwork)
		if y.s.Failures != 0 {
			t.Error("counted as a failure")
		}
	})
	t.Run("disconnected, and nobody has looked at the network since", func(t *testing.T) {
		y := observingStory(t).after(5 * second)
		y.in.Sight.ReachOn = y.now
		y.sees(disconnected).after(200*second).is(Observe, ReasonNone)
		y.sees(func(w *Sight) { w.ReachOn = y.now }).is(NeedsUser, ReasonSignIn)
	})
	t.Run("5 minutes", func(t *testing.T) {
		y := observingStory(t).until(299*second, 5*second).is(Observe, ReasonNone).after(second).is(Backoff, ReasonNoProof)
		if y.s.Failures != 1 {
			t.Error("not counted")
		}
	})
	t.Run("10 minutes after a logon", func(t *testing.T) {
		y := checkingStory(t)
		y.in.Sight.LogonOn = y.now.Add(-5 * minute)
		y.looks().starts(7).until(599*second, 5*second).is(Observe, ReasonNone).after(second).is(Backoff, ReasonNoProof)
	})
	t.Run("the agent went away", func(t *testing.T) {
		y := observingStory(t).sees(noAgent).until(299*second, 5*second).is(Observe, ReasonNone).after(second).is(Backoff, ReasonBlind)
		if y.s.Failures != 0 {
			t.Error("counted as a failure")
		}
		y.sees(agentBack("L1"), connected, written(y.s.LastFailure.Add(minute))).is(Idle, ReasonNone) // it had renewed
	})
	t.Run("Outlook crashed", func(t *testing.T) {
		y := observingStory(t).after(5*second).ends(0xC0000005).is(Backoff, ReasonCrashed)
		if y.s.Failures != 1 || y.s.Closings != 0 {
			t.Error("not counted, or taken for a person's wish")
		}
	})
	t.Run("Outlook was closed", func(t *testing.T) {
		observingStory(t).after(20*second).ends(0).is(Observe, ReasonNone).after(20*second).is(Backoff, ReasonClosed)
		observingStory(t).after(50*second).ends(0).is(Backoff, ReasonClosed)
	})
	t.Run("nothing is known of the start", func(t *testing.T) {
		startingStory(t).restarts(second).is(Observe, ReasonNone).until(5*minute, 5*second).is(Backoff, ReasonNoAnswer)
	})
}

// An Outlook that is connected and has nothing to renew has not failed; but a
// consumer that is refused all the same is a failure.
func TestNothingToRenew(t *testing.T) {
	t.Run("due by age: each time for longer, and not counted", func(t *testing.T) {
		y := freshStory(t).sees(connected).after(10 * hour)
		for _, wait := range []int{5, 10, 20, 40, 80, 160, 320, 360, 360} {
			y.looks()
			for y.s.Phase == Backoff && y.s.Reason == ReasonBudget {
				y.retries().looks()
			}
			y.is(Trigger, ReasonNone).answers(Done, "").until(5*minute, 5*second).is(Backoff, ReasonNoNewToken).retriesIn(time.Duration(wait) * minute)
			y.retries()
		}
		if y.s.Failures != 0 {
			t.Error("counted as a failure")
		}
	})
	t.Run("refused: it is counted", func(t *testing.T) {
		y := sendingStory(t).answers(Done, "").until(5*minute, 5*second).is(Backoff, ReasonNoNewToken)
		if y.s.Failures != 1 {
			t.Error("not counted")
		}
	})
	t.Run("asked for by force, and fresh: that is all", func(t *testing.T) {
		freshStory(t).sees(connected).ensures(true).looks().did(DoSend).answers(Done, "").until(5*minute, 5*second).is(Idle, ReasonNoNewToken).freshness(Fresh)
	})
}
