package mapiadapter

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// reread is a state as it comes back from the ledger.
func reread(t testing.TB, s State) State {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestNextIsPure(t *testing.T) {
	y := observingStory(t)
	before := reread(t, y.s)
	s := y.s
	for range 3 {
		in := y.in
		in.Event = Event{Kind: EventResume}
		Next(s, in, y.now.Add(-hour))
		Next(s, in, y.now.Add(hour))
	}
	if !reflect.DeepEqual(before, reread(t, s)) {
		t.Error("Next changed the state that it was given")
	}
}

func TestStateSurvivesTheLedger(t *testing.T) {
	y := observingStory(t).ends(3)
	if back := reread(t, y.s); !reflect.DeepEqual(back, reread(t, back)) {
		t.Error("a state does not come back as it was written")
	}
}

// What the machine compares must not depend on a reading of the monotonic clock,
// which is gone after a restart.
func TestNextTakesTheWallClockAlone(t *testing.T) {
	y := newStory(t)
	y.now = time.Now()
	y.tick()
	if y.s.Since != y.s.Since.Round(0) || y.s.Latest != y.s.Latest.Round(0) {
		t.Error("the state has a reading of the monotonic clock")
	}
}

func TestAPhaseOfANewerBroker(t *testing.T) {
	y := freshStory(t)
	y.s.Phase = "levitate"
	y.t = t
	in := y.in
	in.Event = Event{Kind: EventTick}
	if s, _, _ := Next(y.s, in, y.now); s.Phase != Idle {
		t.Errorf("an unknown phase led to %s", s.Phase)
	}
}

// Every cause and every attempt has an ID of its own, and the ledger's lines
// carry them.
func TestCausesAndAttemptsHaveIDs(t *testing.T) {
	y := startingStory(t)
	seen := map[string]bool{}
	for range 6 {
		if id := y.s.Attempt.Cause.ID; seen[id] {
			t.Fatalf("the cause %s triggered twice", id)
		} else {
			seen[id] = true
		}
		y.answers(Failed, "")
		if y.s.Phase == Suspended {
			y.resumes()
		} else {
			y.retries()
		}
		for y.looks(); y.s.Phase == Backoff; {
			y.retries().looks()
		}
		if last := y.steps[len(y.steps)-1]; last.To != Trigger || last.Cause != y.s.Attempt.Cause.ID || last.Attempt != y.s.Attempt.ID {
			t.Fatalf("the line %+v does not name %+v", last, y.s.Attempt)
		}
	}
}

func TestRemindersDoNotPileUp(t *testing.T) {
	y := checkingStory(t).sees(nobody).is(WaitSession, ReasonNone)
	y.tells = nil
	y.restarts(30 * hour)
	y.until(hour, minute)
	if len(y.tells) != 1 {
		t.Errorf("%d reminders after a night without a broker", len(y.tells))
	}
}

func TestReminders(t *testing.T) {
	wait := func(t *testing.T, y *story, want ...time.Duration) {
		t.Helper()
		begin := y.now
		y.tells = nil
		var got []time.Duration
		for n := 0; y.now.Sub(begin) < 60*hour; {
			y.after(minute)
			if len(y.tells) > n {
				n = len(y.tells)
				got = append(got, y.now.Sub(begin))
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("reminded after %v, want %v", got, want)
		}
	}
	people := []time.Duration{30 * minute, 2 * hour, 6 * hour, 30 * hour, 54 * hour}
	daily := []time.Duration{24 * hour, 48 * hour}
	t.Run("of a session", func(t *testing.T) { wait(t, checkingStory(t).sees(nobody).did(DoTell), people...) })
	t.Run("of a person", func(t *testing.T) {
		wait(t, checkingStory(t).sees(otherProfile).looks().is(NeedsUser, ReasonWrongProfile).did(DoTell), people...)
	})
	t.Run("of an agent", func(t *testing.T) {
		y := checkingStory(t)
		y.in.StartAgent = false
		wait(t, y.sees(noAgent).is(WaitAgent, ReasonNone).did(DoTell), people...)
	})
	t.Run("of a pause", func(t *testing.T) { wait(t, freshStory(t).pauses().did(DoTell), daily...) })
	t.Run("of what cannot work", func(t *testing.T) {
		wait(t, checkingStory(t).sees(broken(ReasonBitness)).looks().is(Unsupported, ReasonBitness).did(DoTell), daily...)
	})
}

// moments is how many times a state holds, within what it points to.
func moments(s *State) int {
	var count func(v reflect.Value) int
	count = func(v reflect.Value) (n int) {
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			return 1
		case v.Kind() == reflect.Pointer && !v.IsNil():
			return count(v.Elem())
		case v.Kind() == reflect.Struct:
			for _, f := range v.Fields() {
				n += count(f)
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				n += count(v.Index(i))
			}
		}
		return n
	}
	return count(reflect.ValueOf(*s))
}
