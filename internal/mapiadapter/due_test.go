package mapiadapter

import (
	"fmt"
	"testing"
	"time"
)

func TestFreshness(t *testing.T) {
	proved := func(ago time.Duration) State { return State{Phase: Idle, LastProof: noon.Add(-ago)} }
	for name, c := range map[string]struct {
		change func(*State)
		ago    time.Duration
		want   Freshness
	}{
		"proved just now":                 {func(*State) {}, 0, Fresh},
		"just before 0.8 of 12 h":         {func(*State) {}, 9*hour + 36*minute - 1, Fresh},
		"0.8 of 12 h":                     {func(*State) {}, 9*hour + 36*minute, Due},
		"0.8 of a learned 5 h":            {func(s *State) { s.Lifetime = 5 * hour }, 4 * hour, Due},
		"before that":                     {func(s *State) { s.Lifetime = 5 * hour }, 4*hour - 1, Fresh},
		"very old is due, and not more":   {func(*State) {}, 1000 * hour, Due},
		"never proved":                    {func(s *State) { s.LastProof = time.Time{} }, 0, Unknown},
		"not seen since after the proof":  {func(s *State) { s.BlindSince = noon }, minute, Unknown},
		"proved after it was last seen":   {func(s *State) { s.BlindSince = noon.Add(-hour) }, minute, Fresh},
		"refused is expired, seen or not": {func(s *State) { s.Failed, s.BlindSince = true, noon }, minute, Expired},
	} {
		s := proved(c.ago)
		c.change(&s)
		if got := freshnessOf(s, DefaultLimits(), noon); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}

// The lifetime is learned from the last proof to the first failure, between 45
// min and 26 h; it grows where the consumer works for longer.
func TestLearnedLifetime(t *testing.T) {
	for _, c := range []struct{ worked, want time.Duration }{
		{16 * minute, 45 * minute},
		{45 * minute, 45 * minute},
		{90 * minute, 90 * minute},
		{20 * hour, 20 * hour},
		{26*hour + second, 26 * hour},
		{500 * hour, 26 * hour},
	} {
		t.Run(fmt.Sprint(c.worked), func(t *testing.T) {
			y := freshStory(t)
			y.now = y.now.Add(c.worked)
			if y.refused(); y.s.Lifetime != c.want {
				t.Errorf("learned %s, not %s", y.s.Lifetime, c.want)
			}
			if y.after(time.Minute).refused(); y.s.Lifetime != c.want {
				t.Errorf("learned %s from the second failure", y.s.Lifetime)
			}
			y.worked()
			if due := DefaultLimits().dueOn(y.s); due.Sub(y.now) != c.want*8/10 {
				t.Errorf("due after %s, not after 0.8 of %s", due.Sub(y.now), c.want)
			}
		})
	}
	t.Run("a failure right after a proof teaches nothing", func(t *testing.T) {
		if y := freshStory(t).after(15*minute - second).refused(); y.s.Lifetime != 0 {
			t.Errorf("learned %s", y.s.Lifetime)
		}
	})
	t.Run("nor one without a proof before it", func(t *testing.T) {
		if y := newStory(t).after(hour).refused(); y.s.Lifetime != 0 {
			t.Errorf("learned %s", y.s.Lifetime)
		}
	})
	t.Run("a consumer that works for longer shows that it was too short", func(t *testing.T) {
		y := freshStory(t).after(hour).refused().worked()
		if y.s.Lifetime != hour {
			t.Fatalf("learned %s", y.s.Lifetime)
		}
		y.now = y.now.Add(3 * hour)
		if y.worked(); y.s.Lifetime != 3*hour {
			t.Errorf("still %s", y.s.Lifetime)
		}
		y.now = y.now.Add(100 * hour)
		if y.worked(); y.s.Lifetime != 26*hour {
			t.Errorf("it grew to %s", y.s.Lifetime)
		}
	})
}

func TestReportsAreDebounced(t *testing.T) {
	t.Run("many are one cause", func(t *testing.T) {
		y := freshStory(t).after(hour)
		for range 100 {
			y.refused()
		}
		if y.is(Precheck, ReasonNone); y.s.Serial != 1 {
			t.Errorf("%d causes", y.s.Serial)
		}
	})
	t.Run("one right after a success is heard when 30 s are over", func(t *testing.T) {
		freshStory(t).after(hour).refused().worked().is(Idle, ReasonNone).after(10*second).refused().is(Idle, ReasonNone).freshness(Expired).
			after(19*second).is(Idle, ReasonNone).after(second).is(Precheck, ReasonNone).cause(CauseReport)
	})
	t.Run("and forgotten when the consumer works before that", func(t *testing.T) {
		freshStory(t).after(hour).refused().worked().after(10*second).refused().after(10*second).worked().after(30*minute).is(Idle, ReasonNone)
	})
	t.Run("one that came while nothing could be done is not lost", func(t *testing.T) {
		freshStory(t).after(minute).sees(nobody).is(WaitSession, ReasonNone).after(hour).refused().
			sees(agentBack("L2")).after(90*second).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone).cause(CauseReport)
	})
}

// What an HRESULT means: see docs/mapi.md.
func TestAuthenticationErrors(t *testing.T) {
	report := func(hr uint32) Event { return Event{Kind: EventReportBad, HResult: hr, Class: classOf(hr)} }
	for hr, want := range map[uint32]Phase{
		0x8004011D: Precheck, // MAPI_E_FAILONEPROVIDER
		0x80040113: Precheck, // MAPI_E_USER_CANCEL
		0x80040120: NeedsUser, 0x80040121: NeedsUser, 0x80040122: NeedsUser, 0x80040123: NeedsUser, 0x80040124: NeedsUser,
		0x80040111: Idle, // MAPI_E_LOGON_FAILED, while the agent's context does not fail
		0x80040115: Idle, // network
		0x80040401: Idle, // timeout
		0x8004010F: Idle, 0x8004011C: Idle, 0x80070005: Idle, 0x80040154: Idle, 0x80004005: Idle, 0: Idle,
	} {
		t.Run(fmt.Sprintf("0x%08X", hr), func(t *testing.T) {
			y := freshStory(t).after(hour).step(report(hr))
			if y.s.HResult != hr {
				t.Errorf("the view has 0x%08X", y.s.HResult)
			}
			if want == NeedsUser {
				y.is(Precheck, ReasonNone).looks().is(NeedsUser, ReasonAccount).freshness(Expired)
				return
			}
			if y.is(want, ReasonNone); y.s.Failed != (want != Idle) {
				t.Errorf("failed: %v", y.s.Failed)
			}
		})
	}
	t.Run("0x80040111 where the agent's context fails too", func(t *testing.T) {
		y := freshStory(t)
		y.in.Target.Probe = true
		y.after(10*hour).did(DoProbe).probes(false).step(report(0x80040111)).is(Precheck, ReasonNone).freshness(Expired)
	})
	t.Run("a person with an account that is well again", func(t *testing.T) {
		y := freshStory(t).after(hour).step(report(0x80040124)).looks().is(NeedsUser, ReasonAccount)
		y.after(hour).is(NeedsUser, ReasonAccount).sees(unlocked).after(minute).is(Precheck, ReasonNone).looks().is(Trigger, ReasonNone)
	})
}

func TestProbeWhenDue(t *testing.T) {
	due := func(t *testing.T) *story {
		t.Helper()
		y := freshStory(t)
		y.in.Target.Probe = true
		return y.after(9*hour).didNot(DoProbe).after(36*minute).is(Idle, ReasonNone).freshness(Due).did(DoProbe)
	}
	t.Run("it may find that nobody needs Outlook", func(t *testing.T) {
		y := due(t).after(20*second).probes(true).is(Idle, ReasonNone).freshness(Fresh)
		if y.s.Proof != ProofProbe {
			t.Errorf("proof %s", y.s.Proof)
		}
	})
	t.Run("twice, a minute apart, is expired", func(t *testing.T) {
		y := due(t).after(20*second).probes(false).is(Idle, ReasonNone).freshness(Due)
		y.after(59*second).didNot(DoProbe).after(second).did(DoProbe).after(20*second).probes(false).is(Precheck, ReasonNone).freshness(Expired).cause(CauseProbe)
	})
	t.Run("failed, then well", func(t *testing.T) {
		due(t).probes(false).after(minute).did(DoProbe).probes(true).is(Idle, ReasonNone).freshness(Fresh)
	})
	t.Run("a failure for another reason counts for nothing", func(t *testing.T) {
		other := Event{Kind: EventProbe, HResult: 0x80040401, Class: ClassOther}
		due(t).after(10*second).step(other).is(Precheck, ReasonNone).freshness(Due).cause(CauseAge)
		due(t).probes(false).after(minute).did(DoProbe).step(other).is(Idle, ReasonNone).freshness(Due).after(minute).did(DoProbe).
			probes(false).freshness(Expired)
	})
	t.Run("without the network neither is it asked nor heard", func(t *testing.T) {
		y := due(t).probes(false).sees(noNetwork).probes(false)
		if y.s.ProbeFails != 1 {
			t.Errorf("%d failures", y.s.ProbeFails)
		}
		y = freshStory(t)
		y.in.Target.Probe = true
		y.sees(noNetwork).after(10*hour).didNot(DoProbe).is(Precheck, ReasonNone).cause(CauseAge).looks().is(Backoff, ReasonNetwork)
	})
	t.Run("one that does not answer is not waited for", func(t *testing.T) {
		due(t).after(2*minute-second).is(Idle, ReasonNone).didNot(DoProbe).after(second).is(Precheck, ReasonNone).cause(CauseAge)
	})
	t.Run("one that fails while Outlook is connected is not used any more", func(t *testing.T) {
		y := freshStory(t).sees(connected)
		y.in.Target.Probe = true
		y.after(10*hour).did(DoProbe).probes(false).is(Precheck, ReasonNone).freshness(Due).cause(CauseAge)
		y.worked().after(26*hour).is(Precheck, ReasonNone).didNot(DoProbe)
	})
	t.Run("never more often than every 10 min, and not beside an Outlook that starts", func(t *testing.T) {
		freshStory(t).sees(deaf).after(10 * hour).didNot(DoProbe)
		y := due(t).probes(true)
		y.until(20*hour, minute)
		asked := y.s.ProbeAskedOn
		y.probes(false).until(hour, 10*second)
		if asked.IsZero() {
			t.Error("never asked again")
		}
	})
}

// A renewal of Outlook's own is noted, but not every file that Office writes.
func TestRenewalByItself(t *testing.T) {
	y := freshStory(t).sees(connected, written(noon))
	noted := 0
	for range 12 * 60 {
		y.now = y.now.Add(minute)
		before := y.s.LastProof
		if y.sees(written(y.now)); !y.s.LastProof.Equal(before) {
			noted++
		}
		y.is(Idle, ReasonNone).freshness(Fresh)
	}
	if noted != 72 {
		t.Errorf("noted %d times in 12 h, not every 10 min", noted)
	}
	t.Run("one from before the consumer was refused proves nothing", func(t *testing.T) {
		y := freshStory(t).sees(disconnected, written(noon)).after(hour)
		y.sees(written(y.now)).after(10 * minute).refused().sees(connected).freshness(Expired)
	})
	t.Run("nor one from before it was refused again", func(t *testing.T) {
		y := freshStory(t).sees(disconnected, written(noon), noNetwork).after(hour).refused().looks().is(Backoff, ReasonNetwork)
		y.in.Sight.CacheOn = y.now.Add(minute)
		y.after(2 * minute).refused().after(minute).sees(connected).freshness(Expired)
	})
	t.Run("nor one from before an attempt that it did not help", func(t *testing.T) {
		y := freshStory(t).after(hour).sees(noNetwork).refused().looks().is(Backoff, ReasonNetwork)
		y.in.Sight.CacheOn = y.now.Add(minute) // and no Outlook to connect with it
		y.sees(network).retries().looks().starts(7).sees(connected).until(5*minute, 5*second).is(Backoff, ReasonNoNewToken).freshness(Expired)
	})
	t.Run("one of a clock that was wrong does not hide the next", func(t *testing.T) {
		y := freshStory(t).sees(connected, written(noon.Add(20*minute)))
		y.after(hour).sees(written(y.now)).freshness(Fresh)
		if !y.s.LastProof.Equal(y.now) {
			t.Errorf("last proof %s", y.s.LastProof)
		}
	})
}

func TestDeafButFresh(t *testing.T) {
	freshStory(t).after(minute).sees(deaf).freshness(Unknown).sees(connected).freshness(Fresh)
}
