package reminder

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// life plays an account through time, looked at every half minute, and lists what
// people are told: "since start: need, the how-manieth reminder".
func life(length time.Duration, at func(since time.Duration) Account) []string {
	var t told
	var events []string
	for since := time.Duration(0); since <= length; since += lookEvery {
		after, news := step(at(since), t, start.Add(since))
		t = after
		if news {
			need := t.Need
			if need == "" {
				need = Nothing
			}
			events = append(events, strings.TrimSpace(fmt.Sprint(since, " ", need, strings.Repeat("'", t.Repeat))))
		}
	}
	return events
}

func TestWhenPeopleAreTold(t *testing.T) {
	t.Parallel()
	good := func(since time.Duration) Account { return Account{Need: Nothing, GoodOn: start.Add(since)} }
	bad := func(n Need, from, to time.Duration) func(time.Duration) Account {
		return func(since time.Duration) Account {
			if since >= from && since < to {
				return Account{Need: n, GoodOn: start}
			}
			return good(since)
		}
	}
	for _, tt := range []struct {
		name   string
		length time.Duration
		at     func(time.Duration) Account
		want   []string
	}{
		{"a good life", 30 * day, good, nil},
		{"over before it counts", day, bad(SignIn, hour, hour+2*time.Minute), nil},
		{
			"told once, reminded, and the end of it", 2 * day, bad(SignIn, hour, 35*hour),
			[]string{"1h2m0s sign_in_required", "1h32m0s sign_in_required'", "3h2m0s sign_in_required''", "7h2m0s sign_in_required'''", "31h2m0s sign_in_required''''", "35h0m0s ok"},
		},
		{
			"an administrator is not reminded within hours", 2 * day, bad(Admin, 0, 30*hour),
			[]string{"20m0s admin_required", "24h20m0s admin_required'", "30h0m0s ok"},
		},
		{"the network is nobody's business", 10 * day, bad(Unknown, hour, 9*day), nil},
		{"a new account has time", day, func(since time.Duration) Account {
			if since < 9*time.Minute {
				return Account{Need: SignIn, Reason: ReasonNotSignedIn}
			}
			return good(since)
		}, nil},
		{"a person is at it", hour, func(since time.Duration) Account {
			a := bad(SignIn, 0, 12*time.Minute)(since)
			a.Busy = since < 11*time.Minute
			return a
		}, []string{"11m0s sign_in_required", "12m0s ok"}},
		{"a restart proves nothing", 40 * time.Minute, func(since time.Duration) Account {
			if since < 10*time.Minute {
				return Account{Need: SignIn, GoodOn: start.Add(-hour)}
			}
			return Account{Need: Nothing, GoodOn: start.Add(-hour)} // the next broker has not tried yet
		}, []string{"2m0s sign_in_required", "32m0s sign_in_required'"}},
		{"nor does the network, which holds the reminder", hour, func(since time.Duration) Account {
			if since < 10*time.Minute || since > 50*time.Minute {
				return Account{Need: SignIn, GoodOn: start.Add(-hour)}
			}
			return Account{Need: Unknown, GoodOn: start.Add(-hour)}
		}, []string{"2m0s sign_in_required", "50m30s sign_in_required'"}},
	} {
		if got := life(tt.length, tt.at); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Nobody is told daily for ever.
func TestTheRhythmSlowsDown(t *testing.T) {
	t.Parallel()
	got := life(60*day, func(time.Duration) Account { return Account{Need: SignIn} })
	if len(got) != 1+3+14+6 {
		t.Errorf("%d events in 60 days: %q", len(got), got)
	}
}

// A broker that was off reminds once, not for each time that it missed.
func TestWhatWasMissedIsOneReminder(t *testing.T) {
	t.Parallel()
	a := Account{Need: SignIn}
	was, _ := step(a, told{}, start)
	was, _ = step(a, was, start.Add(settleSignIn))
	later := start.Add(3 * hour)
	was, news := step(a, was, later)
	if !news || was.Repeat != 1 || !was.Next.Equal(start.Add(settleSignIn+6*hour)) {
		t.Errorf("after three hours: %v, %+v", news, was)
	}
	if was, news = step(a, was, later.Add(9*day)); !news || was.Repeat != 2 || was.Next.Sub(later) != 10*day {
		t.Errorf("after nine days: %v, %+v", news, was)
	}
}

func TestWarningsOfAnEnd(t *testing.T) {
	t.Parallel()
	for every, want := range map[time.Duration][]time.Duration{
		90 * day: {7 * day, 3 * day, day},
		30 * day: {3 * day, day},
		7 * day:  {day},
		5 * day:  {day},
		day:      {4*hour + 48*time.Minute},
		5 * hour: {hour},
		4 * hour: nil,
		-hour:    nil,
	} {
		if got := (End{On: start.Add(every), From: start}).warnings(); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", every, got, want)
		}
	}
}

func TestAnEndIsToldBefore(t *testing.T) {
	t.Parallel()
	weekly := func(since time.Duration) End {
		from := start.Add(since.Truncate(7 * day)) // a person signs in just in time
		return End{On: from.Add(7 * day), From: from, Reason: "sign_in_frequency", Every: 7 * day}
	}
	good := func(since time.Duration) Account {
		return Account{Need: Nothing, GoodOn: start.Add(since), End: weekly(since)}
	}
	month := End{On: start.Add(30 * day), From: start, Reason: "sign_in_frequency", Every: 30 * day}
	for _, tt := range []struct {
		name   string
		length time.Duration
		at     func(time.Duration) Account
		want   []string
	}{
		{"each week", 15 * day, good, []string{"144h2m0s ending", "168h0m0s ok", "312h2m0s ending", "336h0m0s ok"}},
		{"three and one days before, then it ends", 31 * day, func(since time.Duration) Account {
			if since >= 30*day {
				return Account{Need: SignIn, GoodOn: start.Add(30*day - time.Hour)}
			}
			return Account{Need: Nothing, GoodOn: start.Add(since), End: month}
		}, []string{"648h2m0s ending", "696h0m0s ending'", "720h2m0s sign_in_required", "720h32m0s sign_in_required'", "722h2m0s sign_in_required''", "726h2m0s sign_in_required'''"}},
		{"with the network away", 30 * day, func(time.Duration) Account {
			return Account{Need: Unknown, GoodOn: start, End: month}
		}, []string{"648h2m0s ending", "696h0m0s ending'"}},
		{"a policy that is gone", 35 * day, func(since time.Duration) Account {
			a := Account{Need: Nothing, GoodOn: start.Add(since), End: month}
			if since > 31*day {
				a.End = End{}
			}
			return a
		}, []string{"648h2m0s ending", "696h0m0s ending'", "744h0m30s ok"}},
		{"an old sign-in that the broker uses at once", day, func(since time.Duration) Account {
			if since < 6*time.Minute {
				return Account{Need: Nothing, GoodOn: start.Add(-86 * day), End: End{On: start.Add(4 * day), From: start.Add(-86 * day), Reason: "idle"}}
			}
			return Account{Need: Nothing, GoodOn: start.Add(since), End: End{On: start.Add(since + 90*day), From: start.Add(since), Reason: "idle"}}
		}, nil},
		{"an old sign-in that it cannot use", 5 * day, func(time.Duration) Account {
			return Account{Need: Unknown, GoodOn: start.Add(-86 * day), End: End{On: start.Add(4 * day), From: start.Add(-86 * day), Reason: "idle"}}
		}, []string{"30m0s ending", "24h0m0s ending'", "72h0m0s ending''"}},
		{"after a restart, with an end that is past", hour, func(since time.Duration) Account {
			a := Account{Need: SignIn, GoodOn: start.Add(-hour), Reason: "sign_in_frequency"}
			if since >= 10*time.Minute {
				a.Need, a.Reason, a.End = Nothing, "", End{On: start.Add(-time.Minute), From: start.Add(-7 * day), Every: 7 * day}
			}
			return a
		}, []string{"2m0s sign_in_required", "32m0s sign_in_required'"}},
	} {
		if got := life(tt.length, tt.at); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What was told by a clock that was years ahead keeps nobody from hearing more.
func TestAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	ahead := start.Add(1000 * day)
	a := Account{Need: SignIn}
	was, _ := step(a, told{}, ahead)
	was, news := step(a, was, ahead.Add(hour))
	if !news {
		t.Fatal("it was not told at all")
	}
	now := start
	for want := range 2 { // it goes on as if it had been told now
		if was, news = step(a, was, now); news != (want == 1) || was.Since.After(now) || was.Next.Sub(now) > day {
			t.Errorf("at %v: %v, %+v", now, news, was)
		}
		now = now.Add(30 * time.Minute)
	}
	for _, at := range []time.Time{ahead, now.Add(day)} { // it was ahead for a reminder only
		was, _ = step(a, was, at)
	}
	if was.Next.Sub(now) > 2*day {
		t.Errorf("after a day: %+v", was)
	}
	now = now.Add(2 * day)
	if was, news = step(Account{Need: Nothing, GoodOn: now}, was, now.Add(time.Minute)); !news || was != (told{}) {
		t.Errorf("well again: %v, %+v", news, was)
	}
}

// What a file says that can be read, the rule goes on from and the next file holds.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"accounts":{"9f3c":{"need":"sign_in_required","since":"2026-11-22T08:00:00Z","said_on":"2026-11-22T08:02:00Z","repeat":2,"next":"2026-11-22T10:02:00Z"}}}`))
	f.Add([]byte(`{"version":1,"accounts":{"77aa":{"need":"ending","since":"9999-12-31T23:59:59Z","from":"0001-01-01T00:00:00Z","ahead_nanoseconds":-1}}}`))
	end := End{On: start.Add(day), From: start.Add(-9 * day)}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decode(data)
		if err != nil {
			return
		}
		for id, was := range s.Accounts {
			for _, need := range []Need{Nothing, SignIn, Admin, Unknown} {
				a := Account{ID: id, Name: "ops", Need: need, GoodOn: start, End: end}
				after, _ := step(a, was, start)
				if after.Since.After(start) || after.Next.After(start.Add(weekly)) {
					t.Errorf("%+v: after it %+v", was, after)
				}
				eventOf(a, was, after, place{"BOX", start})
				s.Accounts[id] = after
				if _, err := json.Marshal(s); err != nil {
					t.Errorf("%+v: %v", after, err)
				}
			}
		}
	})
}
