package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/notify"
	"github.com/m365-token-broker/broker/internal/sandbox"
	"github.com/m365-token-broker/broker/internal/token"
)

// finding is a check that must be there; text and remedy are parts of its own.
type finding struct {
	name, text, remedy string
	result             httpapi.DoctorCheckResult
}

func (f finding) is(c check) bool {
	return c.Name == f.name && c.Result == f.result && strings.Contains(c.Text, f.text) && strings.Contains(c.Remedy, f.remedy)
}

// Every planted fault of an Outlook target is found before a renewal needs it,
// with a sentence of its own that names account and host, and with what to do.
func TestDoctorFindsWhatIsPlanted(t *testing.T) {
	sb, err := sandbox.Start(t.Context(), sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := settle(t, worldOptions{yaml: "telemetry: {log_level: error}\nnotify: {event_log: false}\nmapi: {archive: {profile: Outlook, service: Archive}}\n"}, sb)
	const good = `"host": "APP01", "account": "CONTOSO\\svc", "session": "locked", "bitness": "x64", "profiles": ["Outlook"], "services": {"Archive": {"account": "CONTOSO\\svc", "bitness": "x64"}}`
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	archive := func(r httpapi.DoctorCheckResult, text, remedy string) finding {
		return finding{"outlook/archive", text, remedy, r}
	}
	tests := []struct {
		name, script string
		args         []string
		want         finding
	}{
		{"all is well", good, nil, finding{}},
		{"no Outlook", good + `, "outlook": false`, nil, archive(resultProblem, "Classic Outlook is not installed", "Install classic Outlook")},
		{"new Outlook", good + `, "new_outlook": true`, nil, archive(resultProblem, "uses new Outlook, which has no MAPI", "UseNewOutlook=0")},
		{"migration policy", good + `, "migrating": true`, nil, archive(resultWarning, "a step of its migration to new Outlook", "Set NewOutlookMigrationUserSetting to 0")},
		{"bitness", replace(`"x64"}}`, `"x86"}}`), nil, archive(resultProblem, "have different bitness", "in the bitness of the consumer's service")},
		{"profile missing", replace(`["Outlook"]`, `["Other"]`), nil, archive(resultProblem, "has no Outlook profile Outlook", "Make the profile Outlook")},
		{"wrong profile runs", replace(`["Outlook"]`, `["Outlook", "Other"]`) + `, "running": "Other"`, nil, archive(resultProblem, "runs with another profile than Outlook", "open it with the profile Outlook")},
		{"asks for a profile", good + `, "asks_profile": true`, nil, archive(resultWarning, "asks which profile to take", "Always use this profile")},
		{"another session", good + `, "elsewhere": "Outlook"`, nil, archive(resultProblem, "runs in another session", "close Outlook there")},
		{"a service account", replace(`{"Archive": {"account": "CONTOSO\\svc"`, `{"Archive": {"account": "LocalSystem"`), nil, archive(resultProblem, "can never log on", "move it to Microsoft Graph")},
		{"a managed account", replace(`{"Archive": {"account": "CONTOSO\\svc"`, `{"Archive": {"account": "CONTOSO\\gmsa$"`), nil, archive(resultProblem, "can never log on", "Let the consumer's service")},
		{"the service's account", replace(`{"Archive": {"account": "CONTOSO\\svc"`, `{"Archive": {"account": "CONTOSO\\else"`), nil, archive(resultProblem, "runs as another account than", "Run a broker on APP01")},
		{"the target's account", good, []string{"--set", `mapi.archive.account=CONTOSO\else`}, archive(resultProblem, "runs as another account than", "mapi.archive.account")},
		{"no such service", replace(`"Archive"`, `"Backup"`), nil, archive(resultWarning, "is not installed on APP01", "Correct mapi.archive.service")},
		{"notify_only", good, []string{"--set", "mapi.archive.policy=notify_only"}, archive(resultWarning, "a person must open Outlook", "Set mapi.archive.policy to nudge")},
		{"nobody is told", good, []string{"--set", "mapi.archive.policy=notify_only"}, finding{"notifications", "Nobody would be told", "notify.webhook", resultProblem}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.write("desktop.json", "{"+tt.script+"}")
			code, out, errs := w.run(append([]string{"doctor", "--output", "json", "--scripted-desktop", w.path("desktop.json")}, tt.args...)...)
			var r httpapi.DoctorReport
			if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailed || r.Ok || errs != "" {
				t.Fatalf("code %d, %v: %s%s", code, err, out, errs)
			}
			found := 0
			for _, c := range r.Checks {
				if tt.want.is(c) {
					found++
				}
				if c.Name == "outlook/archive" && c.Result == resultProblem && (!strings.Contains(c.Text+c.Remedy, "APP01") || !strings.Contains(c.Text+c.Remedy, `CONTOSO\`)) {
					t.Errorf("it does not say who and where: %+v", c)
				}
				if tt.want.name == "" && c.Result == resultProblem && c.Name != "broker" {
					t.Errorf("found where nothing is: %+v", c)
				}
			}
			if tt.want.name != "" && found != 1 {
				t.Errorf("%d findings of %+v in %s", found, tt.want, out)
			}
		})
	}
}

// Every phase of a target as the API gives it.
func TestMapiChecks(t *testing.T) {
	target := func(phase httpapi.MapiPhase, change ...func(*httpapi.MapiTarget)) httpapi.MapiTarget {
		m := httpapi.MapiTarget{Target: "archive", Phase: phase, Freshness: "fresh", Message: "It is so.", Action: "Do that.", Agent: httpapi.MapiAgent{Present: true}}
		if phase == "idle" || phase == "backoff" {
			m.Action = ""
		}
		for _, c := range change {
			c(&m)
		}
		return m
	}
	expired := func(m *httpapi.MapiTarget) { m.Freshness = "expired" }
	warned := func(m *httpapi.MapiTarget) {
		m.Warnings = []string{"This is odd; mend it.", "So is that. Look at it.", "And this.", "Cut; "}
	}
	because := func(why mapiadapter.Reason) func(*httpapi.MapiTarget) {
		return func(m *httpapi.MapiTarget) { m.Reason = string(why) }
	}
	tests := []struct {
		target httpapi.MapiTarget
		want   []finding
	}{
		{target("idle"), []finding{{result: resultOK, text: "It is so."}}},
		{target("idle", func(m *httpapi.MapiTarget) { m.Freshness = "due" }), []finding{{result: resultOK}}},
		{target("idle", expired), []finding{{result: resultWarning}}},
		{target("idle", func(m *httpapi.MapiTarget) { m.Freshness = "unknown" }), []finding{{result: resultWarning}}},
		{target("idle", func(m *httpapi.MapiTarget) { m.Agent.Present = false }), []finding{{result: resultOK}, {result: resultWarning, text: "Nothing has been seen", remedy: "two minutes"}}},
		{target("idle", func(m *httpapi.MapiTarget) {
			m.Agent.Present = false
			m.Obstacle = httpapi.MapiObstacle{Phase: "wait_session", Message: "Nobody is there.", Action: "Log on."}
		}), []finding{{result: resultOK}, {result: resultProblem, text: "Nobody is there.", remedy: "Log on."}}},
		{target("idle", warned), []finding{
			{result: resultOK},
			{result: resultWarning, text: "This is odd.", remedy: "Mend it."},
			{result: resultWarning, text: "So is that.", remedy: "Look at it."},
			{result: resultWarning, text: "And this."},
			{result: resultWarning, text: "Cut; "},
		}},
		{target("precheck", expired), []finding{{result: resultOK}}},
		{target("trigger", expired), []finding{{result: resultOK}}},
		{target("observe", expired), []finding{{result: resultOK}}},
		{target("backoff"), []finding{{result: resultWarning, remedy: "broker mapi history archive"}}},
		{target("backoff", expired, because(mapiadapter.ReasonNoProof)), []finding{{result: resultProblem, remedy: "broker mapi history archive"}}},
		{target("backoff", expired, because(mapiadapter.ReasonBudget)), []finding{{result: resultProblem, remedy: "Find out what closes Outlook"}}},
		{target("backoff", because(mapiadapter.ReasonNetwork)), []finding{{result: resultWarning, remedy: "login-host"}}},
		{target("backoff", because(mapiadapter.ReasonClock)), []finding{{result: resultWarning, remedy: "clock"}}},
		{target("needs_user"), []finding{{result: resultProblem, text: "It is so.", remedy: "Do that."}}},
		{target("wait_session"), []finding{{result: resultProblem, remedy: "Do that."}}},
		{target("wait_agent"), []finding{{result: resultProblem, remedy: "Do that."}}},
		{target("suspended", because(mapiadapter.ReasonPaused)), []finding{{result: resultProblem, remedy: "Do that."}}},
		{target("unsupported", because(mapiadapter.ReasonLedger)), []finding{{result: resultProblem, remedy: "Do that."}}},
		{target("session0_broken"), []finding{{result: resultProblem, remedy: "Do that."}}},
	}
	seen := map[httpapi.MapiPhase]bool{}
	for _, tt := range tests {
		seen[tt.target.Phase] = true
		got := mapiChecks(tt.target)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.target.Phase, got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if want.name = "outlook/archive"; !want.is(got[i]) {
				t.Errorf("%s: %+v, want %+v", tt.target.Phase, got[i], want)
			}
		}
	}
	if len(seen) != len(mapiadapter.Phases()) {
		t.Error("the table has not every phase")
	}
}

func TestAccountChecks(t *testing.T) {
	now := time.Now()
	account := func(state httpapi.AccountState, change func(*httpapi.Account)) []httpapi.Account {
		a := httpapi.Account{Account: "ops", Username: "secret@contoso.example", State: state, Persisted: true, SignedInAt: now.Add(-time.Hour), PredictedEndAt: now.Add(48 * time.Hour)}
		change(&a)
		return []httpapi.Account{a}
	}
	with := func(kind token.Kind, next time.Duration) func(*httpapi.Account) {
		return func(a *httpapi.Account) {
			a.Problem = httpapi.ProblemOf(&token.Error{Kind: kind, Detail: "It went wrong.", CorrelationID: "c0"})
			if kind == token.KindConfiguration {
				a.Problem.CorrelationID = ""
			}
			if next > 0 {
				a.NextTryAt = now.Add(next)
			}
		}
	}
	same := func(*httpapi.Account) {}
	for _, tt := range []struct {
		list    []httpapi.Account
		outlook bool
		want    finding
	}{
		{nil, false, finding{"accounts", "nobody can get a token", "broker login", resultWarning}},
		{nil, true, finding{"accounts", "need none", "", resultSkipped}},
		{account("ok", same), false, finding{"account/ops", "would end in 2 d", "", resultOK}},
		{account("ok", func(a *httpapi.Account) { a.PredictedEndAt = time.Time{} }), false, finding{"account/ops", "It is signed in.", "", resultOK}},
		{account("ok", func(a *httpapi.Account) { a.Persisted = false }), false, finding{"account/ops", "not in the secret store yet", "tries again", resultWarning}},
		{account("sign_in_required", func(a *httpapi.Account) { a.SignedInAt = time.Time{} }), false, finding{"account/ops", "Nobody has signed in", "broker login --account ops", resultProblem}},
		{account("sign_in_required", same), false, finding{"account/ops", "Its sign-in has ended", "broker login --account ops", resultProblem}},
		{account("sign_in_required", with(token.KindSignInRequired, 0)), false, finding{"account/ops", "It went wrong.", "broker login --account ops", resultProblem}},
		{account("degraded", same), false, finding{"account/ops", "renewing them fails", "", resultWarning}},
		{account("degraded", with(token.KindSignInRequired, 0)), false, finding{"account/ops", "It went wrong.", "broker login --account ops", resultWarning}},
		{account("degraded", with(token.KindPolicyBlocked, 0)), false, finding{"account/ops", "It went wrong.", "correlation ID c0", resultWarning}},
		{account("degraded", with(token.KindConfiguration, 0)), false, finding{"account/ops", "It went wrong.", "administrator", resultWarning}},
		{account("degraded", with(token.KindUnavailable, 5*time.Minute)), false, finding{"account/ops", "It went wrong.", "by itself, in 5 min", resultWarning}},
		{account("degraded", with(token.KindUnavailable, 0)), false, finding{"account/ops", "It went wrong.", "", resultWarning}},
	} {
		got := accountChecks(tt.list, tt.outlook, now)
		if len(got) != 1 || !tt.want.is(got[0]) || strings.Contains(got[0].Text+got[0].Remedy+got[0].Name, "secret@") {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

func TestClockCheck(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		on   time.Time
		want finding
	}{
		{time.Time{}, finding{"clock", "did not say its time", "", resultSkipped}},
		{now.Add(-30 * time.Second), finding{"clock", "is that of login.example", "", resultOK}},
		{now.Add(-2 * time.Minute), finding{"clock", "2 min ahead of that of login.example", "by the network", resultWarning}},
		{now.Add(10 * time.Minute), finding{"clock", "10 min behind that of login.example", "by the network", resultProblem}},
	} {
		if got := clockCheck("login.example", tt.on, now); !tt.want.is(got) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

func TestNoticeChecks(t *testing.T) {
	some := map[string]config.Target{"archive": {Policy: config.PolicyNudge}}
	person := map[string]config.Target{"archive": {Policy: config.PolicyNotifyOnly}}
	works, fails := notify.Status{Sink: "webhook"}, notify.Status{Sink: "command", Problem: "It cannot be started."}
	for _, tt := range []struct {
		sinks   []notify.Status
		targets map[string]config.Target
		want    []finding
	}{
		{nil, some, []finding{{result: resultWarning, text: "Nobody would be told", remedy: "notify.webhook"}}},
		{nil, person, []finding{{result: resultProblem, text: "Nobody would be told", remedy: "notify.webhook"}}},
		{[]notify.Status{works}, person, []finding{{result: resultOK, text: "by webhook when"}}},
		{[]notify.Status{works, fails}, person, []finding{{result: resultOK, text: "by webhook when"}, {result: resultWarning, text: "notify.command: It cannot be started."}}},
		{[]notify.Status{fails}, person, []finding{{result: resultWarning, text: "notify.command"}, {result: resultProblem, text: "no notification works"}}},
	} {
		got := noticeChecks(tt.sinks, tt.targets, false)
		if len(got) != len(tt.want) {
			t.Errorf("%+v, want %+v", got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if want.name = "notifications"; !want.is(got[i]) {
				t.Errorf("%+v, want %+v", got[i], want)
			}
		}
	}
}

// Accounts need people too.
func TestNoticeChecksOfAccounts(t *testing.T) {
	some := map[string]config.Target{"archive": {Policy: config.PolicyNudge}}
	webhook := []notify.Status{{Sink: "webhook"}}
	for _, tt := range []struct {
		sinks    []notify.Status
		targets  map[string]config.Target
		accounts bool
		want     finding
	}{
		{nil, nil, false, finding{result: resultSkipped, text: "no account and no Outlook target"}},
		{nil, nil, true, finding{result: resultWarning, text: "when an account needs a person", remedy: "broker notify test"}},
		{webhook, nil, true, finding{result: resultOK, text: "by webhook when an account needs one."}},
		{webhook, some, true, finding{result: resultOK, text: "when an account or Outlook needs one."}},
		{webhook, some, false, finding{result: resultOK, text: "when Outlook needs one."}},
	} {
		tt.want.name = "notifications"
		if got := noticeChecks(tt.sinks, tt.targets, tt.accounts); len(got) != 1 || !tt.want.is(got[0]) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

func TestEndsOfAccounts(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		reason httpapi.EndReason
		end    time.Duration
		want   finding
	}{
		{httpapi.EndReasonSignInFrequency, 5 * day, finding{result: resultOK, text: "It is signed in; about every 7 d the tenant asks for a new sign-in (learned once)"}},
		{httpapi.EndReasonSignInFrequency, 20 * time.Hour, finding{result: resultWarning, text: "about every 7 d", remedy: "Run before that: broker login --account ops"}},
		{httpapi.EndReasonIdle, 80 * day, finding{result: resultOK, text: "unused, the sign-in would end in 80 d."}},
		{httpapi.EndReasonIdle, 6 * day, finding{result: resultWarning, text: "would end in 6 d.", remedy: "Run before that"}},
	} {
		a := httpapi.Account{Account: "ops", State: httpapi.AccountStateOk, Persisted: true, PredictedEndReason: tt.reason, PredictedEndAt: now.Add(tt.end)}
		if a.SignedInAt, a.RefreshTokenAt = now, now.Add(tt.end-90*day); tt.reason == httpapi.EndReasonSignInFrequency {
			a.SignInFrequencySeconds, a.SignInFrequencyLearned, a.SignedInAt = 7*86400, 1, a.PredictedEndAt.Add(-7*day)
		}
		tt.want.name = "account/ops"
		if got := accountCheck(a, now); !tt.want.is(got) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

func TestStoreFault(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&credstore.Error{Op: "save secret", Reason: credstore.DiskFull, Err: errors.New("no space")}, "The secret store does not work: disk-full, save secret (no space)."},
		{&credstore.Error{Op: "save secret", Reason: credstore.Locked}, "The secret store does not work: locked."},
		{errors.New("anything"), "The secret store does not work: failed."},
	} {
		if got := storeFault(tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// The page for a person: one line for each, a summary last, and nothing that
// moves the cursor.
func TestShowChecks(t *testing.T) {
	var out strings.Builder
	if err := showChecks(&out, []check{
		{Name: "config", Result: resultOK, Text: "All is \x1b[31mvalid."},
		{Name: "account/ops", Result: resultProblem, Text: "It has ended.", Remedy: "Run: broker login --account ops"},
		{Name: "clock", Result: resultWarning, Text: "It is late."},
		{Name: "outlook", Result: resultSkipped, Text: "There is none."},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `ok       config       All is [31mvalid.
PROBLEM  account/ops  It has ended.
                      -> Run: broker login --account ops
WARNING  clock        It is late.
skipped  outlook      There is none.

1 problem, 1 warning; 1 ok, 1 skipped.
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	if got := summary([]check{{Result: resultProblem}, {Result: resultProblem}}); got != "2 problems; 0 ok." {
		t.Error(got)
	}
	if got := summary([]check{{Result: resultOK}}); got != "Nothing is wrong; 1 ok." {
		t.Error(got)
	}
}
