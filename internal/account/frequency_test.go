package account

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const day = 24 * time.Hour

var errTooOld = &token.Error{Kind: token.KindSignInRequired, OAuthError: "invalid_grant", SubError: "token_expired", AADSTS: codeFrequency}

// What can be said of the policy from the two bounds.
func TestTheBoundsOfAFrequency(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		least, most, every, end time.Duration
		ok                      bool
	}{
		{7*day - time.Hour, 7*day + 20*time.Minute, 7 * day, 7 * day, true},
		{7*day - time.Hour, 7*day - 3*time.Minute, 7 * day, 7*day - 3*time.Minute, true}, // the password came before the tokens
		{23*time.Hour - 40*time.Minute, 23*time.Hour + 8*time.Minute, 23 * time.Hour, 23 * time.Hour, true},
		{23*time.Hour + 10*time.Minute, day + 10*time.Minute, day, day, true},
		{20 * time.Hour, day + time.Hour, 20 * time.Hour, 20 * time.Hour, true}, // 21 to 24 hours are possible
		{84 * day, 91 * day, 84 * day, 84 * day, true},
		{6*day + time.Hour, 6*day + 10*time.Hour, 6*day + time.Hour, 6*day + time.Hour, true}, // no policy has that
		{0, 7 * day, 0, 0, false},
		{0, 45 * time.Minute, 0, 0, false}, // "every time"
		{2 * day, 5 * day, 2 * day, 2 * day, false},
	} {
		f := frequency{least: tt.least, most: tt.most, times: 1}
		every, ok := f.span()
		if ok != tt.ok || ok && every != tt.every {
			t.Errorf("from %v to %v: %v, %v; want %v, %v", tt.least, tt.most, every, ok, tt.every, tt.ok)
		}
		if end := f.end(time.Time{}.Add(time.Hour)).Sub(time.Time{}.Add(time.Hour)); ok && end != tt.end {
			t.Errorf("from %v to %v: it ends after %v, want %v", tt.least, tt.most, end, tt.end)
		}
	}
}

// lived is an account of a tenant that demands a new sign-in after each span,
// renewed every hour; it gives the book and its store after the refusals.
func lived(t *testing.T, b *Book, spans ...time.Duration) string {
	t.Helper()
	var name string
	for _, span := range spans {
		name = keep(t, b, "", "a@x")
		redeem(t, b, name, "graph", span)
	}
	return name
}

// redeem renews every hour until the policy refuses.
func redeem(t *testing.T, b *Book, name, resource string, policy time.Duration) {
	t.Helper()
	g, err := b.Grant(name)
	if err != nil {
		t.Fatal(err)
	}
	for time.Since(g.SignedInOn) < policy {
		b.Rotated(name, g, token.NewSecret(fmt.Sprint("rotated ", time.Now().UnixNano())))
		b.Report(t.Context(), name, g, resource, nil)
		time.Sleep(50 * time.Minute)
	}
	for range 3 { // and again every two minutes
		b.Report(t.Context(), name, g, resource, errTooOld)
		time.Sleep(2 * time.Minute)
	}
}

func view(t *testing.T, b *Book, name string) View {
	t.Helper()
	v, err := b.View(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestASignInFrequencyIsLearnedAndKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := open(t, s, nil)
		name := lived(t, b, 7*day)
		if v := view(t, b, name); v.State != StateSignInRequired || !v.PredictedEnd.IsZero() || v.Frequency != (Frequency{7 * day, 1}) {
			t.Errorf("after the first refusal: %+v", v)
		}
		keep(t, b, "", "a@x")
		if v := view(t, b, name); v.PredictedWhy != EndFrequency || v.PredictedEnd.Sub(v.SignedInOn) != 7*day {
			t.Errorf("the next sign-in: %+v", v)
		}
		redeem(t, b, name, "graph", 7*day)
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		b = open(t, s, nil)
		g, err := b.Grant(name)
		if err != nil {
			t.Fatal(err)
		}
		b.Report(t.Context(), name, g, "graph", errTooOld) // the same end, met by the next broker
		if v := view(t, b, name); v.Frequency != (Frequency{7 * day, 2}) {
			t.Errorf("after a restart: %+v", v)
		}
		if n := len(b.Names()); n != 1 {
			t.Errorf("%d accounts", n)
		}
	})
}

func TestAChangedPolicyIsLearnedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newStore(), nil)
		name := lived(t, b, 7*day, 2*day)
		if v := view(t, b, name); v.Frequency != (Frequency{2 * day, 1}) {
			t.Errorf("a shorter one: %+v", v)
		}
		keep(t, b, "", "a@x")
		g, _ := b.Grant(name)
		for range 60 { // the policy is gone
			time.Sleep(time.Hour)
			b.Report(t.Context(), name, g, "graph", nil)
		}
		if v := view(t, b, name); v.Frequency != (Frequency{}) || v.PredictedWhy != EndIdle {
			t.Errorf("after a success beyond it: %+v", v)
		}
		lived(t, b, 14*day)
		if v := view(t, b, name); v.Frequency != (Frequency{14 * day, 1}) {
			t.Errorf("a longer one: %+v", v)
		}
	})
}

// A policy for Exchange Online says nothing of Graph, whose renewals do not
// contradict it.
func TestEachResourceHasItsOwnFrequency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newStore(), nil)
		name := keep(t, b, "", "a@x")
		g, _ := b.Grant(name)
		redeem(t, b, name, "ews", 3*day)
		for range 10 {
			time.Sleep(day)
			b.Report(t.Context(), name, g, "graph", nil)
		}
		for range 3 { // no going back and forth
			b.Report(t.Context(), name, g, "ews", errTooOld)
			if v := view(t, b, name); v.State != StateDegraded || v.Problem != errTooOld {
				t.Errorf("with Graph at work: %+v", v)
			}
			b.Report(t.Context(), name, g, "graph", nil)
		}
		keep(t, b, "", "a@x")
		if v := view(t, b, name); v.Frequency != (Frequency{3 * day, 1}) || v.PredictedEnd.Sub(v.SignedInOn) != 3*day {
			t.Errorf("view %+v", v)
		}
	})
}

func TestAnotherPersonInheritsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newStore(), nil)
		lived(t, b, 2*day)
		keep(t, b, "", "b@x")
		if v := view(t, b, "b@x"); v.Frequency != (Frequency{}) || v.PredictedWhy != EndIdle || v.PredictedEnd.Sub(v.SignedInOn) != 90*day {
			t.Errorf("view %+v", v)
		}
	})
}

// What was learned never makes a record larger than a few hundred bytes, and
// what cannot be is not read.
func TestWhatIsLearnedIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newStore(), nil)
		name := keep(t, b, "", "a@x")
		g, _ := b.Grant(name)
		for i := range 3 * maxLearned {
			time.Sleep(time.Hour)
			err := errTooOld
			if i > 1 {
				err = nil
			}
			b.Report(t.Context(), name, g, fmt.Sprint("resource", i), err)
		}
		e := b.entries[name]
		if len(e.rec.learned) != maxLearned || e.rec.learned["resource0"].times != 1 || e.rec.learned["resource1"].times != 1 {
			t.Errorf("learned %v", e.rec.learned)
		}
		e.rec.grant.RefreshToken = token.NewSecret(strings.Repeat("A1b2C3d4", 150))
		with, err := e.rec.encode()
		e.rec.learned = nil
		without, err2 := e.rec.encode()
		if err != nil || err2 != nil || len(with)-len(without) > 300 {
			t.Errorf("%d bytes and %d, %v, %v", len(with), len(without), err, err2)
		}
	})
	signedIn := time.Unix(1_800_000_000, 5)
	got := learnedIn(map[string]learnedJSON{
		"good": {Least: 3600, Most: 7200, Times: 1, Last: 1_800_000_000}, "negative": {Least: -1, Most: 1, Times: 1},
		"crossed": {Least: 2, Most: 1}, "endless": {Most: 1 << 62}, "times": {Times: -1},
	}, signedIn)
	if len(got) != 1 || !got["good"].last.Equal(signedIn) {
		t.Errorf("read %v", got)
	}
}

func TestWhySignInsEnd(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]End{70043: EndFrequency, 700082: EndIdle, 70008: EndIdle, 50173: EndRevoked, 50076: EndOther, 0: EndOther} {
		if got := EndOf(&token.Error{AADSTS: code}); got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
}

// Of two problems the one that needs somebody is shown.
func TestTheUrgentProblemIsShown(t *testing.T) {
	t.Parallel()
	b := open(t, newStore(), nil)
	name := keep(t, b, "", "a@x")
	g, _ := b.Grant(name)
	b.Report(context.Background(), name, g, "ews", &token.Error{Kind: token.KindUnavailable})
	b.Report(context.Background(), name, g, "graph", &token.Error{Kind: token.KindPolicyBlocked})
	if v := view(t, b, name); v.State != StateDegraded || v.Problem.Kind != token.KindPolicyBlocked || v.ProblemOn.IsZero() || len(b.entries[name].met) != 2 {
		t.Errorf("view %+v", v)
	}
}
