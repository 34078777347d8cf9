package mapiadapter

import (
	"testing"
	"time"
)

func TestBackoffSeries(t *testing.T) {
	l := DefaultLimits()
	for n, want := range []float64{5, 5, 10, 20, 40, 80, 160, 320, 360, 360} {
		if got := l.backoff(n, 0); got.Minutes() != want {
			t.Errorf("after failure %d: %s, not %v min", n, got, want)
		}
	}
	for _, c := range []struct {
		n      int
		jitter float64
		want   time.Duration
	}{{1, -1, 4 * minute}, {1, 1, 6 * minute}, {3, 0.5, 22 * minute}, {9, 1, 6 * hour}, {9, -1, 6 * hour * 8 / 10}} {
		if got := l.backoff(c.n, c.jitter); got != c.want {
			t.Errorf("after failure %d with jitter %v: %s, not %s", c.n, c.jitter, got, c.want)
		}
	}
	if got := l.backoff(1<<40, 0); got != 6*hour {
		t.Errorf("after very many failures: %s", got)
	}
}

func TestBudget(t *testing.T) {
	l := DefaultLimits()
	// starts are at these times before noon.
	for name, c := range map[string]struct {
		ago  []time.Duration
		left int
		in   time.Duration
	}{
		"none":                       {nil, 1, 0},
		"one just now":               {[]time.Duration{0}, 0, 10 * minute},
		"one 10 min ago":             {[]time.Duration{10 * minute}, 1, 0},
		"one a second later":         {[]time.Duration{10*minute - second}, 0, second},
		"four in 6 h":                {[]time.Duration{5 * hour, 3 * hour, 2 * hour, hour}, 0, hour},
		"four, the first 6 h ago":    {[]time.Duration{6 * hour, 3 * hour, 2 * hour, hour}, 1, 0},
		"eight in 24 h":              {[]time.Duration{23 * hour, 22 * hour, 21 * hour, 20 * hour, 16 * hour, 15 * hour, 14 * hour, 13 * hour}, 0, hour},
		"eight, the first 24 h ago":  {[]time.Duration{24 * hour, 22 * hour, 21 * hour, 20 * hour, 16 * hour, 15 * hour, 14 * hour, 13 * hour}, 1, 0},
		"the longest wait counts":    {[]time.Duration{23 * hour, 22 * hour, 21 * hour, 20 * hour, 3 * hour, 2 * hour, hour, 0}, 0, 3 * hour},
		"more than the budget, once": {[]time.Duration{5 * hour, 4 * hour, 3 * hour, 2 * hour, hour}, 0, 2 * hour},
	} {
		s := State{}
		for _, ago := range c.ago {
			s.Starts = append(s.Starts, noon.Add(-ago))
		}
		if got := l.startsLeft(s, noon); min(got, 1) != c.left {
			t.Errorf("%s: %d left", name, got)
		}
		if got := l.nextStart(s, noon).Sub(noon); got != c.in {
			t.Errorf("%s: the next one in %s, not in %s", name, got, c.in)
		}
		if at := noon.Add(c.in); l.startsLeft(s, at) < 1 {
			t.Errorf("%s: none is left when the next one is said to be possible", name)
		}
	}
}

func TestSpendKeepsWhatTheBudgetCounts(t *testing.T) {
	l, s := DefaultLimits(), State{}
	for i := range 30 {
		l.spend(&s, noon.Add(time.Duration(i)*hour))
	}
	if len(s.Starts) != 8 || !s.Starts[7].Equal(noon.Add(29*hour)) {
		t.Errorf("kept %v", s.Starts)
	}
}

// starter makes Outlook start as often as the machine allows: every start fails,
// and an operator resumes at once.
func starter(y *story, d time.Duration) (starts []time.Time) {
	y.t.Helper()
	for end := y.now.Add(d); y.now.Before(end); y.after(minute) {
		switch {
		case y.s.Phase == Trigger:
			starts = append(starts, y.s.Attempt.On)
			y.answers(Failed, "")
		case y.s.Phase == Backoff && y.s.Reason != ReasonBudget, y.s.Phase == Suspended:
			y.resumes()
		}
	}
	return starts
}

func most(starts []time.Time, in time.Duration) int {
	n := 0
	for i, from := range starts {
		k := 0
		for _, to := range starts[i:] {
			if to.Sub(from) < in {
				k++
			}
		}
		n = max(n, k)
	}
	return n
}

func TestNobodyGetsMoreThanTheBudget(t *testing.T) {
	y := checkingStory(t)
	starts := starter(y, 100*hour)
	for _, a := range DefaultLimits().Budget {
		if got := most(starts, a.In); got != a.Number {
			t.Errorf("%d starts in %s, not %d", got, a.In, a.Number)
		}
	}
	t.Run("force shares it", func(t *testing.T) {
		y := startingStory(t).starts(7).renews().is(Idle, ReasonNone).sees(absent).ensures(true).looks().is(Backoff, ReasonBudget)
		if y.s.Failures != 0 {
			t.Error("counted as a failure")
		}
		y.retries().looks().is(Trigger, ReasonNone).cause(CauseEnsure)
	})
	t.Run("a restart does not refill it", func(t *testing.T) {
		y := checkingStory(t)
		starts := starter(y, 3*hour)
		for range 100 {
			starts = append(starts, starter(y.restarts(second).looks(), 10*minute)...)
		}
		for _, a := range DefaultLimits().Budget {
			if got := most(starts, a.In); got > a.Number {
				t.Errorf("%d starts in %s", got, a.In)
			}
		}
	})
	t.Run("asking Outlook to send is no start, but keeps its distance", func(t *testing.T) {
		y := sendingStory(t).answers(Failed, "").retries().looks().is(Backoff, ReasonBudget).retriesIn(299 * second).retries().looks().did(DoSend)
		if len(y.s.Starts) != 0 {
			t.Error("it was counted as a start")
		}
	})
	t.Run("a start keeps its distance from that, too", func(t *testing.T) {
		sendingStory(t).answers(Failed, "").sees(absent).retries().looks().is(Backoff, ReasonBudget)
	})
}
