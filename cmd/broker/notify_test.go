package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/reminder"
	"github.com/m365-token-broker/broker/internal/token"
)

// hookEvent is what a webhook gets.
type hookEvent struct {
	ID       int    `json:"id"`
	Severity string `json:"severity"`
	Subject  string `json:"subject"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
	Text     string `json:"text"`
	Action   string `json:"action"`
	Repeat   int    `json:"repeat"`
	Key      string `json:"key"`
}

// hook is a webhook's receiver.
type hook struct {
	mu     sync.Mutex
	events []hookEvent
	status int // of the answer; zero is 204
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	var e hookEvent
	if json.Unmarshal(body, &e) != nil || e.Key != r.Header.Get("Idempotency-Key") {
		e.Text = "not understood: " + string(body)
	}
	h.events = append(h.events, e)
	if h.status == 0 {
		h.status = http.StatusNoContent
	}
	w.WriteHeader(h.status)
}

// took gives the events since it was last asked.
func (h *hook) took() []hookEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := h.events
	h.events = nil
	return events
}

const day = 24 * time.Hour

// A tenant that asks for a new sign-in every five days: the first time it comes
// as a surprise, and people are told; from then on they are told before. None of
// it is told twice, whatever restarts in between.
func TestTheEndOfASignInIsLearnedAndToldBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		people := &hook{}
		w := newBubble(t, worldOptions{hooks: people, yaml: "listen: 127.0.0.1:8477\nnotify: {webhook: \"https://hooks.example/x\"}\n"})
		defer w.close()
		w.sb.SetSignInFrequency(5 * day)
		w.ready()
		live := func(d time.Duration) { // a program asks every hour
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Hour) {
				w.get("graph")
			}
		}
		if v := w.account(alice); v.PredictedEndReason != httpapi.EndReasonIdle || v.SignInFrequencySeconds != 0 {
			t.Errorf("at first: %+v", v)
		}
		live(5*day - time.Hour)
		if events := people.took(); len(events) > 0 {
			t.Errorf("told of nothing: %+v", events)
		}
		var events []hookEvent
		for end := time.Now().Add(3 * time.Hour); len(events) == 0 && time.Now().Before(end); time.Sleep(time.Minute) {
			w.get("graph")
			events = people.took()
		}
		if len(events) != 1 || events[0].ID != 500 || events[0].Reason != "sign_in_frequency" || events[0].Severity != "error" {
			t.Fatalf("after the end: %+v", events)
		}
		hash := w.parts.tel.AccountHash(alice)
		if e := events[0]; e.Subject != "account/"+hash || !strings.Contains(e.Text, alice) || !strings.HasSuffix(e.Action, "run: broker login --account "+alice) {
			t.Errorf("the event: %+v", e)
		}
		w.restart()
		w.get("graph")
		time.Sleep(10 * time.Minute)
		if events := people.took(); len(events) > 0 {
			t.Errorf("told again after a restart: %+v", events)
		}
		time.Sleep(30 * time.Minute)
		if events := people.took(); len(events) != 1 || events[0].ID != 500 || events[0].Repeat != 1 {
			t.Errorf("the reminder: %+v", events)
		}
		w.signIn(alice)
		time.Sleep(time.Minute)
		if events := people.took(); len(events) != 1 || events[0].ID != 530 {
			t.Errorf("after the sign-in: %+v", events)
		}
		v := w.account(alice)
		if v.PredictedEndReason != httpapi.EndReasonSignInFrequency || v.PredictedEndAt.Sub(v.SignedInAt) != 5*day || v.SignInFrequencySeconds != int64(5*day/time.Second) || v.SignInFrequencyLearned != 1 {
			t.Errorf("learned: %+v", v)
		}
		live(4*day - 2*time.Hour)
		if events := people.took(); len(events) > 0 {
			t.Errorf("too early: %+v", events)
		}
		live(3 * time.Hour)
		events = people.took()
		if len(events) != 1 || events[0].ID != 520 || events[0].State != "ending" || !strings.Contains(events[0].Text, "about every 5 days") {
			t.Fatalf("a day before the end: %+v", events)
		}
		var s httpapi.Status
		w.call(w.admin, http.MethodGet, "/v1/status", "").into(&s)
		if warnings := strings.Join(s.Warnings, "\n"); !strings.Contains(warnings, "The sign-in of "+alice+" ends in about 23 hours") {
			t.Errorf("status: %s", warnings)
		}
		w.restart()
		live(3 * time.Hour)
		if events := people.took(); len(events) > 0 {
			t.Errorf("told again after a restart: %+v", events)
		}
		w.signIn(alice) // in time
		live(2 * time.Hour)
		if events := people.took(); len(events) != 1 || events[0].ID != 530 {
			t.Errorf("a sign-in in time: %+v", events)
		}
		if log := w.log.String(); strings.Count(log, "a sign-in ends soon") != 1 || strings.Contains(log, alice) {
			t.Errorf("the log names the account, or did not warn once")
		}
		if file := w.read("state/" + reminder.FileName); strings.Contains(file, alice) {
			t.Errorf("the file names the account: %s", file)
		}
	})
}

// Nobody asks for the account, with the broker off for most of the 90 days in
// between: it goes on.
func TestAnAccountThatNobodyUsesLivesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		people := &hook{}
		w := newBubble(t, worldOptions{hooks: people, yaml: "listen: 127.0.0.1:8477\nnotify: {webhook: \"https://hooks.example/x\"}\n"})
		w.signIn(alice)
		time.Sleep(8 * day)
		w.stop()
		time.Sleep(82 * day)
		w.startHere()
		defer w.close()
		time.Sleep(8 * day)
		if v := w.account(alice); v.State != httpapi.AccountStateOk || v.RefreshTokenAge > int64(7*day/time.Second) {
			t.Errorf("after 98 days: %+v", v)
		}
		if n := w.redemptions(); n < 2 || n > 4 {
			t.Errorf("%d redemptions in 16 days", n)
		}
		if events := people.took(); len(events) > 0 {
			t.Errorf("people were told: %+v", events)
		}
	})
}

// What a problem needs of people.
func TestNeeds(t *testing.T) {
	t.Parallel()
	on := time.Now()
	for _, tt := range []struct {
		kind   token.Kind
		aadsts int
		signed time.Time
		want   reminder.Need
		reason string
	}{
		{token.KindSignInRequired, 50173, on, reminder.SignIn, "revoked"},
		{token.KindSignInRequired, 700082, on, reminder.SignIn, "idle"},
		{token.KindSignInRequired, 50076, on, reminder.SignIn, "other"},
		{token.KindSignInRequired, 0, time.Time{}, reminder.SignIn, "not_signed_in"},
		{token.KindPolicyBlocked, 53003, on, reminder.Admin, "policy_blocked"},
		{token.KindConfiguration, 700016, on, reminder.Admin, "configuration"},
		{token.KindUnavailable, 0, on, reminder.Unknown, ""},
		{token.KindThrottled, 0, on, reminder.Unknown, ""},
		{token.KindStore, 0, on, reminder.Unknown, ""},
	} {
		need, reason, _ := needOf(account.View{SignedInOn: tt.signed, State: account.StateDegraded, ProblemOn: on, Problem: &token.Error{Kind: tt.kind, AADSTS: tt.aadsts, Detail: "Why."}}, on)
		if need != tt.want || reason != tt.reason {
			t.Errorf("%s %d: %s %s, want %s %s", tt.kind, tt.aadsts, need, reason, tt.want, tt.reason)
		}
	}
	if need, _, _ := needOf(account.View{SignedInOn: on}, on); need != reminder.Nothing {
		t.Errorf("no problem: %s", need)
	}
}

// A resource that was tried once is not what people are reminded of for weeks.
func TestAnOldProblemOfOneResourceNeedsNobody(t *testing.T) {
	t.Parallel()
	on := time.Now()
	v := account.View{SignedInOn: on, State: account.StateDegraded, ProblemOn: on, Problem: &token.Error{Kind: token.KindPolicyBlocked}}
	if need, _, _ := needOf(v, on.Add(staleAfter)); need != reminder.Admin {
		t.Errorf("after a day: %s", need)
	}
	if need, _, _ := needOf(v, on.Add(2*day)); need != reminder.Nothing {
		t.Errorf("after two days: %s", need)
	}
	v.State, v.Problem = account.StateSignInRequired, &token.Error{Kind: token.KindSignInRequired}
	if need, _, _ := needOf(v, on.Add(2*day)); need != reminder.SignIn {
		t.Errorf("of the whole account: %s", need)
	}
}

func TestNotifyTest(t *testing.T) {
	t.Parallel()
	people := &hook{}
	server := httptest.NewServer(people)
	defer server.Close()
	none := newWorld(t, worldOptions{yaml: "notify: {event_log: false}\n"}) // on by default, which counts on Windows
	if code, out, _ := none.run("notify", "test"); code != exitFailed || !strings.Contains(out, "notify.webhook") {
		t.Errorf("nobody is told: code %d, %s", code, out)
	}
	w := newWorld(t, worldOptions{yaml: "notify: {event_log: false, webhook: \"" + server.URL + "/hook\"}\n"})
	for range 2 { // by the running broker, and without one
		code, out, errs := w.run("notify", "test")
		if events := people.took(); code != exitDone || !strings.HasPrefix(out, "webhook  ok  127.0.0.1 took the test event.") || len(events) != 1 || events[0].ID != 1 {
			t.Errorf("code %d, %s%s, events %+v", code, out, errs, events)
		}
		w.stop()
	}
	people.status = http.StatusNotFound
	code, out, _ := w.run("notify", "test", "--output", "json")
	var test httpapi.NotifyTest
	if err := json.Unmarshal([]byte(out), &test); err != nil || code != exitFailed || len(test.Outcomes) != 1 || test.Outcomes[0].Ok {
		t.Errorf("code %d, %s", code, out)
	}
	if code, out, _ := w.run("notify", "test"); code != exitFailed || !strings.Contains(out, "FAILED") || !strings.Contains(out, "404") {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestFrequencyInWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 14, 0, 0, 0, time.Local)
	learned := httpapi.Account{SignInFrequencySeconds: 7 * 86400, SignInFrequencyLearned: 2, PredictedEndReason: httpapi.EndReasonSignInFrequency, PredictedEndAt: now.Add(day)}
	once, over := learned, learned
	once.SignInFrequencyLearned, once.PredictedEndReason = 1, ""
	over.PredictedEndAt = now
	for _, tt := range []struct {
		account httpapi.Account
		want    string
	}{
		{httpapi.Account{}, ""},
		{learned, "about every 7 d the tenant asks for a new sign-in (learned 2 times); the next time is about 30 Nov 14:00."},
		{once, "about every 7 d the tenant asks for a new sign-in (learned once)."},
		{over, "about every 7 d the tenant asks for a new sign-in (learned 2 times); the next time is now."},
	} {
		if got := frequencyOf(now, tt.account); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
