package mapiadapter

import (
	"fmt"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// moved is a transition, or something told or done, with its time.
type moved struct {
	on   time.Time
	what string
}

// tale takes the machine through a story that begins with first, then stays as it
// is for so long. The machine is called when wake says so; each call is a fresh
// look.
func tale(first *story, d time.Duration, wake func(State, Limits, time.Time) time.Time) []moved {
	y := *first
	var all []moved
	for end := y.now.Add(d); ; {
		next := wake(y.s, y.in.Limits, y.now)
		if y.wants(DoLook) { // which comes at once
			next = minTime(next, y.now.Add(second))
		}
		y.now = next
		if y.now.After(end) {
			return all
		}
		y.tick()
		for _, s := range y.steps {
			all = append(all, moved{y.now, fmt.Sprintf("%s -> %s(%s)", s.From, s.To, s.Reason)})
		}
		for _, k := range y.dos {
			if k.Kind != DoLook && k.Kind != DoTell || k.Remind > 0 {
				all = append(all, moved{y.now, fmt.Sprintf("%s %d", k.Kind, k.Remind)})
			}
		}
	}
}

// Calling the machine when Wake says so brings about the same, at the same time,
// as calling it every second.
func TestWakeIsInTimeForEverything(t *testing.T) {
	everySecond := func(_ State, _ Limits, now time.Time) time.Time { return now.Add(second) }
	probing := func(y *story) *story { y.in.Target.Probe = true; return y }
	supervised := func(y *story) *story { y.in.Target.Policy = Supervise; return y }
	for name, begin := range map[string]func(*testing.T) *story{
		"idle, then due":                   freshStory,
		"idle, then due, with a probe":     func(t *testing.T) *story { return probing(freshStory(t)) },
		"a probe that failed once":         func(t *testing.T) *story { return probing(freshStory(t)).after(10 * hour).probes(false) },
		"idle, under a connected Outlook":  func(t *testing.T) *story { return freshStory(t).sees(connected) },
		"Outlook is gone, under supervise": func(t *testing.T) *story { return supervised(freshStory(t)).sees(connected).sees(absent) },
		"refused right after a success":    func(t *testing.T) *story { return checkingStory(t).worked().after(second).refused() },
		"precheck without a look":          func(t *testing.T) *story { y := checkingStory(t); y.stale = true; return y },
		"trigger":                          startingStory,
		"observe":                          observingStory,
		"observe right after a logon": func(t *testing.T) *story {
			y := checkingStory(t)
			y.in.Sight.LogonOn = y.now
			return y.looks().starts(7)
		},
		"observe, and a window asks":          func(t *testing.T) *story { return observingStory(t).sees(asking(desktop.AskingSignIn)) },
		"observe, disconnected":               func(t *testing.T) *story { return observingStory(t).sees(disconnected) },
		"observe, closed at once":             func(t *testing.T) *story { return observingStory(t).ends(0) },
		"backoff":                             func(t *testing.T) *story { return startingStory(t).answers(Failed, "") },
		"a person at work":                    func(t *testing.T) *story { return needingStory(t).sees(unlocked) },
		"nobody at work":                      needingStory,
		"what was asked is gone with Outlook": func(t *testing.T) *story { return needingStory(t).sees(absent) },
		"no session":                          func(t *testing.T) *story { return checkingStory(t).sees(nobody) },
		"a logon":                             func(t *testing.T) *story { return checkingStory(t).sees(nobody).sees(agentBack("L2")) },
		"no agent":                            func(t *testing.T) *story { return checkingStory(t).sees(noAgent) },
		"paused":                              func(t *testing.T) *story { return freshStory(t).pauses() },
		"it cannot work":                      func(t *testing.T) *story { return checkingStory(t).sees(broken(ReasonBitness)).looks() },
	} {
		t.Run(name, func(t *testing.T) {
			y, d := begin(t), 3*hour
			switch y.s.Phase {
			case Idle:
				d = 10 * hour
			case Suspended, Unsupported:
				d = 25 * hour
			default:
			}
			want, got := tale(y, d, everySecond), tale(y, d, Wake)
			for i := range max(len(want), len(got)) {
				if i >= len(want) || i >= len(got) || want[i] != got[i] {
					t.Fatalf("from number %d on:\nevery second %v\nby Wake      %v", i, want[i:min(i+3, len(want))], got[min(i, len(got)):min(i+3, len(got))])
				}
			}
			if len(want) == 0 {
				t.Error("nothing happened")
			}
		})
	}
}

func TestWakeIsNeverInThePast(t *testing.T) {
	l := DefaultLimits()
	for _, p := range Phases() {
		s := State{Phase: p, Since: noon, Retry: noon, Settle: noon, NextReminder: noon, LastProof: noon, OursOn: noon, AgentStartOn: noon}
		for _, after := range []time.Duration{-1000 * hour, -1, 0, 1, second, 1000 * hour} {
			now := noon.Add(after)
			if wake := Wake(s, l, now); !wake.After(now) || wake.Sub(now) > minute {
				t.Errorf("%s, %s after: woken in %s", p, after, wake.Sub(now))
			}
		}
		busy := Wake(State{Phase: p}, l, noon).Sub(noon)
		if want := map[bool]time.Duration{true: 5 * second, false: minute}[p.running()]; busy != want {
			t.Errorf("%s: looked at every %s, not every %s", p, busy, want)
		}
	}
}

func TestNextCheck(t *testing.T) {
	check := func(y *story) time.Duration { return NextCheck(y.s, y.in.Limits, y.now).Sub(y.now) }
	for name, c := range map[string]struct {
		y    *story
		want time.Duration
	}{
		"fresh: when it is due":             {freshStory(t), 9*hour + 36*minute},
		"also where nobody looks":           {freshStory(t).after(hour).sees(deaf), 8*hour + 36*minute},
		"backoff: its end":                  {startingStory(t).answers(Failed, ""), 5 * minute},
		"a backoff that is over":            {func() *story { y := startingStory(t).answers(Failed, ""); y.now = y.now.Add(hour); return y }(), minute},
		"refused, and about to be heard":    {checkingStory(t).worked().after(second).refused(), 29 * second},
		"an attempt is made: the next look": {observingStory(t), 5 * second},
		"a person is needed: the next look": {needingStory(t).after(hour), minute},
	} {
		if got := check(c.y); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}
