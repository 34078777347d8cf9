package mapiadapter

import (
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// needingStory has an Outlook that waits for a sign-in.
func needingStory(t *testing.T) *story {
	t.Helper()
	return observingStory(t).after(5*second).sees(asking(desktop.AskingSignIn)).after(15*second).is(NeedsUser, ReasonSignIn)
}

func TestNeedsUser(t *testing.T) {
	t.Run("never starts Outlook", func(t *testing.T) {
		y := needingStory(t)
		for range 100 {
			y.after(hour).is(NeedsUser, ReasonSignIn).didNot(DoStart, DoSend, DoProbe)
			y.ensures(true).is(NeedsUser, ReasonSignIn).refused().is(NeedsUser, ReasonSignIn)
		}
	})
	t.Run("ends a minute after an unlock, a reconnect or a logon", func(t *testing.T) {
		for name, event := range map[string]func(*Sight){
			"unlock":    unlocked,
			"reconnect": func(w *Sight) { w.State = desktop.SessionActive },
			"logon":     func(w *Sight) { w.Logon = "L2" },
		} {
			y := needingStory(t).sees(locked, func(w *Sight) { w.State = desktop.SessionDisconnected }).after(hour)
			y.sees(event).after(59*second).is(NeedsUser, ReasonSignIn)
			if y.after(second); y.s.Phase != Precheck {
				t.Errorf("%s: still %s", name, y.s.Phase)
			}
			y.cause(CausePerson)
		}
	})
	t.Run("a lock or a disconnect is no sign of a person", func(t *testing.T) {
		needingStory(t).sees(unlocked).sees(locked).looks().is(NeedsUser, ReasonSignIn)
		y := observingStory(t).sees(unlocked).after(5*second).sees(asking(desktop.AskingSignIn)).after(15*second).is(NeedsUser, ReasonSignIn)
		y.sees(locked).after(hour).sees(func(w *Sight) { w.State = desktop.SessionDisconnected }).after(hour).is(NeedsUser, ReasonSignIn)
	})
	t.Run("ends with new evidence", func(t *testing.T) {
		y := needingStory(t).after(hour)
		y.sees(connected, asking(desktop.AskingDialog), written(y.now)).is(Idle, ReasonNone).freshness(Fresh)
	})
	t.Run("but not with evidence from before", func(t *testing.T) {
		y := needingStory(t)
		y.after(hour).sees(connected, asking(desktop.AskingDialog), written(y.s.LastFailure.Add(-second))).is(NeedsUser, ReasonSignIn)
	})
	t.Run("ends when the consumer works", func(t *testing.T) {
		needingStory(t).worked().is(Idle, ReasonNone)
	})
	t.Run("ends when an operator has seen to it", func(t *testing.T) {
		needingStory(t).resumes().is(Precheck, ReasonNone).cause(CausePerson)
	})
	t.Run("ends when what was asked is answered", func(t *testing.T) {
		needingStory(t).after(10*minute).sees(connected).is(Precheck, ReasonNone).looks().did(DoSend)
	})
	t.Run("ends when what was asked is gone together with Outlook", func(t *testing.T) {
		needingStory(t).sees(absent).after(119*second).is(NeedsUser, ReasonSignIn).after(second).is(Precheck, ReasonNone)
	})
	t.Run("ends when the other profile's Outlook is closed, and not before", func(t *testing.T) {
		y := checkingStory(t).sees(otherProfile).looks().is(NeedsUser, ReasonWrongProfile)
		y.until(hour, minute).is(NeedsUser, ReasonWrongProfile).sees(deaf).is(NeedsUser, ReasonWrongProfile)
		y.sees(absent).is(Precheck, ReasonNone).looks().did(DoStart)
	})
	t.Run("ends when Outlook of the other session is closed", func(t *testing.T) {
		checkingStory(t).sees(otherSession).looks().is(NeedsUser, ReasonOtherSession).looks().sees(absent).is(Precheck, ReasonNone)
	})
	t.Run("notify_only: ends when a person opened Outlook", func(t *testing.T) {
		y := checkingStory(t)
		y.in.Target.Policy = NotifyOnly
		y.looks().is(NeedsUser, ReasonOpenOutlook).until(hour, minute).is(NeedsUser, ReasonOpenOutlook).sees(deaf).is(NeedsUser, ReasonOpenOutlook)
		y.renews().is(Idle, ReasonNone).freshness(Fresh)
	})
	t.Run("what the agent refused is not ended by an older look", func(t *testing.T) {
		y := startingStory(t)
		y.stale = true
		y.answers(Refused, desktop.RefusedProfile).after(second).is(NeedsUser, ReasonWrongProfile)
		y.stale = false
		y.looks().is(Precheck, ReasonNone)
	})
	t.Run("losing the agent ends nothing", func(t *testing.T) {
		needingStory(t).sees(noAgent).after(10*hour).is(NeedsUser, ReasonSignIn).sees(nobody).after(10*hour).is(NeedsUser, ReasonSignIn)
	})
}

func TestWaitSession(t *testing.T) {
	waiting := func(t *testing.T) *story {
		t.Helper()
		return checkingStory(t).sees(nobody).is(WaitSession, ReasonNone)
	}
	t.Run("ends 90 s after a logon", func(t *testing.T) {
		waiting(t).after(10*hour).is(WaitSession, ReasonNone).sees(agentBack("L2")).after(89*second).is(WaitSession, ReasonNone).
			after(second).is(Precheck, ReasonNone).cause(CauseReport).looks().is(Trigger, ReasonNone)
	})
	t.Run("seen by the broker alone", func(t *testing.T) {
		waiting(t).sees(noAgent).after(89*second).is(WaitSession, ReasonNone).after(second).is(WaitAgent, ReasonNone)
	})
	t.Run("a logon that is gone again is none", func(t *testing.T) {
		waiting(t).sees(agentBack("L2")).after(minute).sees(nobody).after(hour).is(WaitSession, ReasonNone).
			sees(agentBack("L3")).after(89*second).is(WaitSession, ReasonNone)
	})
	t.Run("also where the broker alone saw it", func(t *testing.T) {
		waiting(t).sees(noAgent).after(minute).sees(nobody).after(hour).sees(noAgent).after(89*second).is(WaitSession, ReasonNone)
	})
	t.Run("an agent proves a session where nobody else can see any", func(t *testing.T) {
		waiting(t).sees(agentBack("L2"), func(w *Sight) { w.Sessions = SessionsUnknown }).after(90*second).is(Precheck, ReasonNone)
		waiting(t).sees(noAgent, func(w *Sight) { w.Sessions = SessionsUnknown }).after(10*hour).is(WaitSession, ReasonNone)
	})
}

func TestWaitAgent(t *testing.T) {
	waiting := func(t *testing.T) *story { t.Helper(); return checkingStory(t).sees(noAgent).is(WaitAgent, ReasonNone) }
	t.Run("ends with its hello", func(t *testing.T) {
		waiting(t).after(hour).sees(agentBack("L1")).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone)
	})
	t.Run("becomes no session", func(t *testing.T) {
		waiting(t).sees(nobody).is(WaitSession, ReasonNone)
	})
	t.Run("the agent is started three times, 10 min apart, then a person is asked", func(t *testing.T) {
		y := waiting(t).did(DoStartAgent)
		for range 2 {
			y.after(10*minute - second).didNot(DoStartAgent).after(second).did(DoStartAgent)
		}
		y.after(10*minute-second).is(WaitAgent, ReasonNone).after(second).is(NeedsUser, ReasonAgent)
		y.until(hour, minute).is(NeedsUser, ReasonAgent).sees(agentBack("L1")).is(Precheck, ReasonNone)
		// the same logon has had its three
		y.looks().answers(Failed, "").sees(noAgent).after(5*minute).is(NeedsUser, ReasonAgent).didNot(DoStartAgent)
	})
	t.Run("three times for each logon", func(t *testing.T) {
		y := waiting(t).until(30*minute, minute).is(NeedsUser, ReasonAgent)
		y.sees(nobody).sees(agentBack("L2")).is(Precheck, ReasonNone).sees(noAgent).is(WaitAgent, ReasonNone).did(DoStartAgent)
	})
	t.Run("not where we cannot, nor where no session is seen", func(t *testing.T) {
		y := checkingStory(t)
		y.in.StartAgent = false
		y.sees(noAgent).is(WaitAgent, ReasonNone)
		for range 100 {
			y.after(10*minute).is(WaitAgent, ReasonNone).didNot(DoStartAgent)
		}
		waiting(t).after(minute).sees(func(w *Sight) { w.Sessions = SessionsUnknown }).after(hour).is(WaitAgent, ReasonNone).didNot(DoStartAgent)
	})
}

func TestBackoff(t *testing.T) {
	failed := func(t *testing.T) *story {
		t.Helper()
		return startingStory(t).answers(Failed, "").is(Backoff, ReasonStartFailed)
	}
	t.Run("ends with its time", func(t *testing.T) {
		failed(t).retriesIn(5*minute).after(5*minute-second).is(Backoff, ReasonStartFailed).after(second).is(Precheck, ReasonNone).cause(CauseRetry)
	})
	t.Run("ends when the consumer works, or Outlook renewed by itself", func(t *testing.T) {
		failed(t).worked().is(Idle, ReasonNone)
		failed(t).renews().is(Idle, ReasonNone)
	})
	t.Run("asking does not shorten it", func(t *testing.T) {
		failed(t).ensures(true).is(Backoff, ReasonStartFailed).refused().is(Backoff, ReasonStartFailed)
	})
	t.Run("nor does an unlock or a logon", func(t *testing.T) {
		failed(t).sees(unlocked).after(2*minute).sees(func(w *Sight) { w.Logon = "L2" }).after(2*minute).is(Backoff, ReasonStartFailed)
	})
	t.Run("an operator does", func(t *testing.T) {
		y := failed(t).resumes().is(Precheck, ReasonNone).looks().is(Backoff, ReasonBudget) // but not the budget
		if y.s.Failures != 0 {
			t.Error("failures are still counted")
		}
	})
	t.Run("not being seen causes no attempt after it", func(t *testing.T) {
		y := freshStory(t).after(minute).sees(noAgent, noNetwork).is(Backoff, ReasonNetwork).sees(network).retriesIn(5 * minute).after(5 * minute)
		if y.is(WaitAgent, ReasonNone); y.s.Pending != nil {
			t.Errorf("a cause of nothing: %v", y.s.Pending)
		}
	})
}

func TestCircuit(t *testing.T) {
	// open fails five times in a row.
	open := func(t *testing.T) *story {
		t.Helper()
		y := checkingStory(t)
		for n, wait := range []time.Duration{5 * minute, 10 * minute, 20 * minute, 40 * minute, 0} {
			for y.looks(); y.s.Reason == ReasonBudget; {
				y.retries().looks()
			}
			y.is(Trigger, ReasonNone).answers(Failed, "")
			if n < 4 {
				y.is(Backoff, ReasonStartFailed).retriesIn(wait).retries()
			}
		}
		return y.is(Suspended, ReasonCircuit)
	}
	t.Run("opens after five counted failures", func(t *testing.T) {
		y := open(t)
		for range 50 {
			y.after(hour).is(Suspended, ReasonCircuit).didNot(DoStart, DoSend).ensures(true).refused().is(Suspended, ReasonCircuit)
		}
	})
	t.Run("is closed by resume", func(t *testing.T) {
		y := open(t).after(hour).resumes().is(Precheck, ReasonNone)
		if y.s.Failures != 0 {
			t.Error("failures are still counted")
		}
	})
	t.Run("a new logon, new evidence or the consumer closes it, with two failures left", func(t *testing.T) {
		for name, act := range map[string]func(*story){
			"logon":    func(y *story) { y.sees(func(w *Sight) { w.Logon = "L2" }).after(90*second).is(Precheck, ReasonNone) },
			"evidence": func(y *story) { y.renews().is(Idle, ReasonNone) },
			"consumer": func(y *story) { y.worked().is(Idle, ReasonNone) },
		} {
			y := open(t).after(10 * hour)
			if act(y); y.s.Failures != 3 {
				t.Errorf("%s: %d failures are counted, not 3", name, y.s.Failures)
			}
		}
	})
	t.Run("an unlock does not close it", func(t *testing.T) {
		open(t).sees(unlocked).after(hour).is(Suspended, ReasonCircuit)
	})
	t.Run("success in between closes nothing and counts anew", func(t *testing.T) {
		y := startingStory(t).answers(Failed, "").retries().looks().retries().looks().is(Trigger, ReasonNone).starts(7).renews().is(Idle, ReasonNone)
		if y.s.Failures != 0 {
			t.Error("failures are still counted")
		}
	})
}

func TestPause(t *testing.T) {
	t.Run("from every phase, and only resume ends it", func(t *testing.T) {
		for _, p := range Phases() {
			y := freshStory(t)
			y.s.Phase = p
			y.pauses().is(Suspended, ReasonPaused)
			y.after(minute).refused().ensures(true).worked().renews().sees(func(w *Sight) { w.Logon = "L2" }).after(hour).is(Suspended, ReasonPaused)
			y.pauses().is(Suspended, ReasonPaused)
			if len(y.steps) > 0 {
				t.Error("paused twice")
			}
			y.resumes().is(Idle, ReasonNone)
		}
	})
	t.Run("what is needed then is done after resume", func(t *testing.T) {
		freshStory(t).pauses().after(hour).refused().resumes().is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone)
	})
	t.Run("resume says nothing where nothing waits", func(t *testing.T) {
		freshStory(t).resumes().is(Idle, ReasonNone)
		startingStory(t).resumes().is(Trigger, ReasonNone)
	})
}

// A person who closes the Outlook that we opened, twice within 10 min of its
// start, wants it closed.
func TestPersonClosesOutlook(t *testing.T) {
	again := func(y *story) *story {
		y.t.Helper()
		for y.retries().looks(); y.s.Reason == ReasonBudget; {
			y.retries().looks()
		}
		return y.is(Trigger, ReasonNone).did(DoStart).starts(y.s.OursPID + 1)
	}
	t.Run("twice, while proof is awaited", func(t *testing.T) {
		y := observingStory(t).after(minute).ends(0).is(Backoff, ReasonClosed)
		again(y).after(minute).ends(0).is(Suspended, ReasonUserClosed).
			after(hour).sees(func(w *Sight) { w.Logon = "L2" }).after(hour).worked().is(Suspended, ReasonUserClosed).resumes().is(Idle, ReasonNone)
	})
	t.Run("twice, the second time before new Outlook could have come up", func(t *testing.T) {
		y := observingStory(t).after(20*second).ends(0).until(20*second, 5*second).is(Backoff, ReasonClosed)
		again(y).after(20*second).ends(0).is(Observe, ReasonNone).until(20*second, 5*second).is(Suspended, ReasonUserClosed)
	})
	t.Run("after it had renewed", func(t *testing.T) {
		y := observingStory(t).renews().after(5*minute).ends(0).is(Idle, ReasonNone).after(hour).refused().looks().starts(8).renews().is(Idle, ReasonNone)
		y.after(5*minute).ends(0).is(Suspended, ReasonUserClosed)
	})
	t.Run("in the backoff", func(t *testing.T) {
		y := observingStory(t).after(minute).ends(0).is(Backoff, ReasonClosed)
		again(y).until(5*minute, 5*second).is(Backoff, ReasonNoProof).after(minute).ends(0).is(Backoff, ReasonNoProof)
		y.after(y.s.Retry.Sub(y.now)).looks().is(Suspended, ReasonUserClosed)
	})
	t.Run("not when it had run for 10 minutes in between", func(t *testing.T) {
		y := observingStory(t).renews().after(5*minute).ends(0).is(Idle, ReasonNone).after(hour).refused().looks().starts(8).renews()
		y.until(10*minute, minute).ends(0).after(hour).refused().looks().starts(9).renews().after(minute).ends(0).is(Idle, ReasonNone)
	})
	t.Run("nor where nobody saw how it ended after that", func(t *testing.T) {
		y := observingStory(t).renews().after(5*minute).ends(0).is(Idle, ReasonNone).after(hour).refused().looks().starts(8).renews()
		y.after(10*minute).sees(noAgent).sees(agentBack("L1")).after(hour).refused().looks().starts(9).renews().after(minute).ends(0).is(Idle, ReasonNone)
	})
	t.Run("not when it crashed", func(t *testing.T) {
		y := observingStory(t).renews().after(minute).ends(1).is(Idle, ReasonNone).after(hour).refused().looks().starts(8).renews().after(minute).ends(1)
		y.is(Idle, ReasonNone)
	})
}

func TestUnsupported(t *testing.T) {
	t.Run("ends when the installation or the settings change, and is tried again by nothing else", func(t *testing.T) {
		y := checkingStory(t).sees(broken(ReasonBitness)).looks().is(Unsupported, ReasonBitness)
		for range 50 {
			y.after(hour).is(Unsupported, ReasonBitness).ensures(true).refused().worked().sees(unlocked).sees(locked)
		}
		y.sees(noAgent).after(hour).sees(nobody).after(hour).is(Unsupported, ReasonBitness)
		y.sees(agentBack("L2"), broken(ReasonBitness), marked("B")).after(hour).is(Unsupported, ReasonBitness)
		y.refused().sees(broken(""), marked("C")).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone)
	})
	t.Run("also when it becomes again what it was before it broke", func(t *testing.T) {
		startingStory(t).answers(Refused, desktop.RefusedNoProfile).is(Unsupported, ReasonNoProfile).
			sees(broken(ReasonNoProfile), marked("B")).after(hour).is(Unsupported, ReasonNoProfile).
			sees(broken(""), marked("A")).is(Precheck, ReasonNone)
	})
	t.Run("what broke in its place is said", func(t *testing.T) {
		checkingStory(t).sees(broken(ReasonBitness)).looks().sees(broken(ReasonNoOutlook), marked("B")).is(Precheck, ReasonNone).looks().is(Unsupported, ReasonNoOutlook)
	})
	t.Run("without an agent, the configuration alone", func(t *testing.T) {
		y := checkingStory(t).sees(noAgent, broken(ReasonOtherAccount)).is(Unsupported, ReasonOtherAccount)
		y.after(hour).is(Unsupported, ReasonOtherAccount).sees(broken(""), marked("other")).is(WaitAgent, ReasonNone)
	})
	t.Run("what only the agent's refusal showed is tried after a new logon", func(t *testing.T) {
		y := startingStory(t).answers(Refused, desktop.RefusedNoOutlook).is(Unsupported, ReasonNoOutlook).until(48*hour, hour).is(Unsupported, ReasonNoOutlook)
		y.sees(nobody).sees(agentBack("L2")).after(90*second).is(Precheck, ReasonNone)
	})
	t.Run("an elevated agent: after a new logon, or with a new agent", func(t *testing.T) {
		y := startingStory(t).answers(Refused, desktop.RefusedElevated).is(Unsupported, ReasonElevated).after(hour).is(Unsupported, ReasonElevated)
		y.sees(func(w *Sight) { w.AgentOn = y.now }).is(Precheck, ReasonNone)
	})
}

// Three proofs in a row that the consumer contradicts at once show that what
// helps Outlook does not help the service.
func TestSession0Broken(t *testing.T) {
	renewing := func(y *story) *story { // an hour later, the consumer is refused again
		y.t.Helper()
		return y.after(hour).refused().looks().did(DoSend).answers(Done, "").renews().is(Idle, ReasonNone)
	}
	refuted := func(t *testing.T) *story {
		t.Helper()
		y := freshStory(t).sees(connected)
		renewing(y).after(minute).refused().is(Precheck, ReasonNone).looks().is(Backoff, ReasonBudget)
		for y.renews().is(Idle, ReasonNone); y.s.Refuted < 2; {
			y.after(minute).refused()
		}
		return y.is(Precheck, ReasonNone).looks().is(Backoff, ReasonBudget).renews().is(Idle, ReasonNone).
			after(minute).refused().is(Precheck, ReasonNone).looks().is(Session0Broken, ReasonServiceContext)
	}
	t.Run("nothing that Outlook does ends it", func(t *testing.T) {
		y := refuted(t)
		for range 30 {
			y.after(hour).renews().is(Session0Broken, ReasonServiceContext).freshness(Expired).didNot(DoStart, DoSend)
			y.ensures(true).refused().probes(true).sees(unlocked).sees(locked).is(Session0Broken, ReasonServiceContext)
		}
		y.sees(nobody).sees(agentBack("L2")).after(hour).is(Session0Broken, ReasonServiceContext)
	})
	t.Run("the consumer ends it", func(t *testing.T) { refuted(t).worked().is(Idle, ReasonNone) })
	t.Run("the service's probe ends it", func(t *testing.T) {
		refuted(t).step(Event{Kind: EventProbe, Service: true, OK: true}).is(Idle, ReasonNone)
	})
	t.Run("resume ends it", func(t *testing.T) {
		refuted(t).resumes().is(Precheck, ReasonNone).after(10*minute).is(Trigger, ReasonNone)
	})
	t.Run("another installation ends it", func(t *testing.T) {
		refuted(t).after(hour).sees(marked("B")).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone)
	})
	t.Run("an agent that comes back does not", func(t *testing.T) {
		refuted(t).sees(noAgent).sees(agentBack("L1")).is(Session0Broken, ReasonServiceContext)
	})
	t.Run("two are not enough, and the consumer's own success contradicts nothing", func(t *testing.T) {
		y := freshStory(t).sees(connected)
		for range 5 {
			renewing(y).after(minute).refused().renews().is(Idle, ReasonNone).after(hour).worked()
		}
		for range 5 {
			y.worked().after(minute).refused().looks()
		}
		if y.s.Refuted != 0 || y.s.Phase == Session0Broken {
			t.Errorf("%d times refuted, in %s", y.s.Refuted, y.s.Phase)
		}
	})
	t.Run("the service's probe contradicts like the consumer", func(t *testing.T) {
		y := freshStory(t).sees(connected)
		renewing(y).after(minute).step(Event{Kind: EventProbe, Service: true, HResult: 0x8004011D, Class: ClassAuth})
		if y.is(Precheck, ReasonNone).freshness(Expired); y.s.Refuted != 1 {
			t.Error("not taken as a contradiction")
		}
	})
}
