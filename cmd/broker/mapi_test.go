package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeOutlook answers for one Outlook target, which goes through its phases as
// time passes.
type fakeOutlook struct {
	began  time.Time
	phases []timedPhase
	asked  []string // method, last part of the path, and body
	list   []httpapi.MapiEntry
}

// timedPhase is how the target is from some time on.
type timedPhase struct {
	from   time.Duration
	target httpapi.MapiTarget
	kind   token.Kind // of the problem that ensure gives; KindInternal: none
}

func (f *fakeOutlook) now() timedPhase {
	is := f.phases[0]
	for _, p := range f.phases {
		if time.Since(f.began) >= p.from {
			is = p
		}
	}
	return is
}

func (f *fakeOutlook) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	last := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	var body bytes.Buffer
	if req.Body != nil {
		_, _ = body.ReadFrom(req.Body)
	}
	f.asked = append(f.asked, strings.TrimSpace(req.Method+" "+last+" "+req.URL.RawQuery+body.String()))
	is := f.now()
	var answer any = is.target
	switch {
	case last == "ensure" && is.kind != token.KindInternal:
		raw, _ := json.Marshal(httpapi.Problem{Code: httpapi.ProblemCode(is.kind.Code()), Detail: is.target.Message + " " + is.target.Action})
		return answerWith(req, http.StatusConflict, string(raw)), nil
	case last == "history":
		h := httpapi.MapiHistory{Target: "archive"}
		for _, e := range f.list {
			if !e.At.After(time.Now()) {
				h.Entries = append(h.Entries, e)
			}
		}
		answer = h
	}
	raw, err := json.Marshal(answer)
	return answerWith(req, http.StatusOK, string(raw)), err
}

func (f *fakeOutlook) api() *api {
	f.began = time.Now()
	return &api{http: &http.Client{Transport: f}, base: "http://broker.test", key: token.NewSecret("bra_x")}
}

func targetIn(phase httpapi.MapiPhase, freshness httpapi.MapiFreshness) httpapi.MapiTarget {
	return httpapi.MapiTarget{
		Target: "archive", Phase: phase, Freshness: freshness, Message: fmt.Sprintf("It is %s.", phase),
		Profile: "Outlook", Mode: "cached", Policy: "nudge", SinceAt: time.Now(),
	}
}

func TestEnsureCommand(t *testing.T) {
	fresh := timedPhase{target: targetIn("idle", "fresh")}
	observe := timedPhase{target: targetIn("observe", "expired")}
	later := func(after time.Duration, p timedPhase) timedPhase { p.from = after; return p }
	user := timedPhase{target: targetIn("needs_user", "expired"), kind: token.KindMAPIUserAction}
	user.target.Reason, user.target.Action = "sign_in", "Sign in."
	starting := timedPhase{target: targetIn("idle", "unknown")}
	renewing := later(0, timedPhase{target: targetIn("trigger", "due")})
	const done, stillObserving = "archive is idle, its access fresh. It is idle.\n", "archive: observe. It is observe.\n"
	const mustAct = "broker: It is needs_user. Sign in. (mapi-user-action-required)\n"
	ask, force, look := "POST ensure {}", `POST ensure {"force":true}`, "GET archive"
	for _, tt := range []struct {
		name   string
		phases []timedPhase
		force  bool
		took   time.Duration
		code   int
		out    string
		bad    string // what stands on standard error
		asked  []string
	}{
		{name: "fresh", phases: []timedPhase{fresh}, out: done, asked: []string{ask}},
		{
			name: "renewed", phases: []timedPhase{renewing, later(10*time.Second, observe), later(20*time.Second+500*time.Millisecond, fresh)},
			force: true, took: 21 * time.Second, out: done, bad: "archive: trigger. It is trigger.\n" + stillObserving, asked: []string{force, look, ask},
		},
		{
			name: "a person must act", phases: []timedPhase{observe, later(5*time.Second, user)},
			took: 5 * time.Second, code: exitSignIn, bad: stillObserving + mustAct, asked: []string{ask, look, ask},
		},
		{name: "at once", phases: []timedPhase{user}, code: exitSignIn, bad: mustAct, asked: []string{ask}},
		{
			name: "too slow", phases: []timedPhase{observe}, took: 30 * time.Second, code: exitNoUpstream,
			bad:   stillObserving + "broker: archive is still observe. It is observe. Ask again, or give it longer with --wait.\n",
			asked: []string{ask, look},
		},
		{
			name: "right after the start", phases: []timedPhase{starting, later(2*time.Second, fresh)},
			took: 2 * time.Second, out: done, bad: "archive: idle. It is idle.\n", asked: []string{ask, look, ask},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeOutlook{phases: tt.phases}
				a, began := f.api(), time.Now()
				var out, bad bytes.Buffer
				e := &ensuring{o: &options{env: environment{stdout: &out, stderr: &bad, getenv: noEnv}}, target: "archive", force: tt.force, wait: 30 * time.Second, output: outputText}
				err := e.run(t.Context(), a)
				report(&bad, err)
				if took := time.Since(began); exitCode(err) != tt.code || took != tt.took {
					t.Errorf("exit code %d after %v, want %d after %v", exitCode(err), took, tt.code, tt.took)
				}
				if out.String() != tt.out || bad.String() != tt.bad {
					t.Errorf("printed %q and %q, want %q and %q", out.String(), bad.String(), tt.out, tt.bad)
				}
				if got := distinct(f.asked); strings.Join(got, "; ") != strings.Join(tt.asked, "; ") {
					t.Errorf("asked %q, want %q", got, tt.asked)
				}
			})
		})
	}
}

func noEnv(string) string { return "" }

// distinct leaves out what was asked again at once.
func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// In JSON the target is printed however it ended, and nothing but that.
func TestEnsureInJSON(t *testing.T) {
	for _, p := range []timedPhase{
		{target: targetIn("idle", "fresh")},
		{target: targetIn("suspended", "expired"), kind: token.KindMAPISuspended},
		{target: targetIn("observe", "expired")},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeOutlook{phases: []timedPhase{p}}
			var out, bad bytes.Buffer
			e := &ensuring{o: &options{env: environment{stdout: &out, stderr: &bad, getenv: noEnv}}, target: "archive", wait: 2 * time.Second, output: outputJSON}
			err := e.run(t.Context(), f.api())
			var got httpapi.MapiTarget
			if json.Unmarshal(out.Bytes(), &got) != nil || got.Phase != p.target.Phase || (err == nil) != isFresh(p.target) {
				t.Errorf("%s: %v, printed %s", p.target.Phase, err, out.String())
			}
			if strings.Contains(bad.String(), "archive: ") {
				t.Errorf("progress in JSON mode: %q", bad.String())
			}
		})
	}
}

func TestEnsureIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeOutlook{phases: []timedPhase{{target: targetIn("observe", "expired")}}}
		var out, bad bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		e := &ensuring{o: &options{env: environment{stdout: &out, stderr: &bad, getenv: noEnv}}, target: "archive", wait: time.Minute, output: outputText}
		if err := e.run(ctx, f.api()); token.KindOf(err) != token.KindCancelled || !strings.Contains(err.Error(), "goes on") {
			t.Errorf("error %v", err)
		}
	})
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, screen: screen{width: 40, height: 20}}
	p.show(targetIn("trigger", "due"), 59*time.Second)
	p.show(targetIn("idle", "due"), 58*time.Second)
	p.done()
	want := "\rarchive: trigger. It is trigger. (59 s \rarchive: idle. It is idle. (58 s left) \r" + strings.Repeat(" ", 38) + "\r"
	if got := out.String(); got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestMapiExitCodes(t *testing.T) {
	for kind, want := range map[token.Kind]int{
		token.KindMAPIUserAction: exitSignIn, token.KindMAPINoSession: exitSignIn, token.KindMAPIUnsupported: exitDenied,
		token.KindMAPIBackoff: exitNoUpstream, token.KindMAPISuspended: exitNoUpstream,
	} {
		if got := exitCode(&token.Error{Kind: kind}); got != want {
			t.Errorf("%s: exit code %d, want %d", kind, got, want)
		}
	}
	if exitCode(notRunning()) != exitNoUpstream {
		t.Error("no broker is not exit code 5")
	}
}

func TestTargetsPage(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	user := targetIn("needs_user", "expired")
	user.Reason, user.Action, user.Attempts = "sign_in", "Sign in\x1b[31m.", 2
	user.Agent = httpapi.MapiAgent{SeenAt: now.Add(-time.Hour)}
	fresh := targetIn("idle", "fresh")
	fresh.Target, fresh.LastProof, fresh.ProofKind, fresh.NextCheck = "crm", now.Add(-3*time.Hour), "consumer", now.Add(48*time.Second)
	fresh.Obstacle = httpapi.MapiObstacle{Phase: "wait_session", Message: "Nobody is logged on.", Action: "Log on."}
	fresh.Warnings = []string{"New Outlook is about to take over; switch that off."}
	fresh.Budget.StartsLeft, fresh.Agent = 1, httpapi.MapiAgent{Present: true, InBroker: true}
	var out bytes.Buffer
	if err := showTargets(&out, "", now, []httpapi.MapiTarget{user, fresh}); err != nil {
		t.Fatal(err)
	}
	want := `TARGET   PHASE                 ACCESS   LAST PROOF          NEXT LOOK  FAILED  STARTS LEFT  AGENT
archive  needs_user (sign_in)  expired  -                   -          2       0            gone 1 h ago
crm      idle                  fresh    3 h ago (consumer)  in 48 s    0       1            in the broker
archive: It is needs_user. Sign in[31m.
crm: The next renewal would fail: Nobody is logged on. Log on.
crm: New Outlook is about to take over; switch that off.
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTargetPage(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	v := targetIn("backoff", "expired")
	v.Reason, v.Action, v.SinceAt, v.LastProof, v.ProofKind = "no_proof", "", now.Add(-2*time.Minute), now.Add(-3*time.Hour), "evidence"
	v.DueAt, v.LearnedLifetime, v.NextCheck, v.RetryAt = now.Add(6*time.Hour), 39600, now.Add(time.Minute), now.Add(3*time.Minute)
	v.Attempts, v.Budget = 1, httpapi.MapiBudget{StartsLeft: 0, StartsMax: 8, NextStartAt: now.Add(4 * time.Minute)}
	v.Hresult, v.Account, v.Host = "0x8004011D", `CONTOSO\london`, "LONDON"
	v.Agent = httpapi.MapiAgent{
		Present: true, Version: "1.0.0", Pid: 7, SeenAt: now.Add(-20 * time.Second), ConnectionMode: 400,
		Session: httpapi.MapiSession{ID: 3, State: "disconnected", Locked: true, LogonAt: now.Add(-48 * time.Hour), LastInputAt: now.Add(-time.Hour)},
		Outlook: httpapi.MapiOutlook{Path: `C:\O\OUTLOOK.EXE`, Bitness: "x64", Version: "16.0.1", Running: "here"},
	}
	var out bytes.Buffer
	if err := showTarget(&out, now, v); err != nil {
		t.Fatal(err)
	}
	want := `archive is backoff (no_proof), its access expired
  It is backoff.
  since       2 min ago
  last proof  3 h ago (evidence)
  due         in 6 h
  lasts       11 h, as far as is known
  next look   in 1 min
  next try    in 3 min
  failed      1 in a row
  starts      0 left, 8 a day, the next in 4 min
  last error  0x8004011D MAPI_E_FAILONEPROVIDER
  profile     Outlook (cached, policy nudge)
  account     CONTOSO\london
  host        LONDON
  agent       present, version 1.0.0, process 7, heard of 20 s ago
  session     3, disconnected, locked, logged on 2 d ago, last used 1 h ago
  outlook     16.0.1, x64, here, connection mode 400, C:\O\OUTLOOK.EXE
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out.Reset()
	little := targetIn("needs_user", "unknown")
	little.Action, little.Warnings = "Sign in.", []string{"Look out."}
	if err := showTarget(&out, time.Now(), little); err != nil || !strings.Contains(out.String(), "  To do: Sign in.\n  Look out.\n") || !strings.Contains(out.String(), "agent    none\n") {
		t.Errorf("got\n%s (%v)", out.String(), err)
	}
}

func TestHistoryLines(t *testing.T) {
	on := time.Date(2026, 11, 22, 8, 5, 0, 0, time.Local)
	for want, e := range map[string]httpapi.MapiEntry{
		"2026-11-22 08:05:00  report_error  idle -> precheck          0x8004011D MAPI_E_FAILONEPROVIDER, cause c1, OpenMsgStore": {
			Seq: 1, At: on, Event: "report_error", From: "idle", To: "precheck", Cause: "c1", Outcome: "0x8004011D", Detail: "Open\nMsgStore",
		},
		"2026-11-22 08:05:00  tick          idle": {Seq: 2, At: on, Event: "tick", From: "idle", To: "idle"},
	} {
		if got := entryLine(e); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestHistoryIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entry := func(seq int64, after time.Duration) httpapi.MapiEntry {
			return httpapi.MapiEntry{Seq: seq, At: time.Now().Add(after), Event: "tick", To: "idle"}
		}
		f := &fakeOutlook{phases: []timedPhase{{}}, list: []httpapi.MapiEntry{entry(1, 0), entry(2, 0), entry(3, 3*time.Second), entry(4, 3*time.Second)}}
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		var out bytes.Buffer
		o := &options{env: environment{stdout: &out}}
		if err := followHistory(ctx, o, f.api(), "archive", 20, outputJSON); err != nil {
			t.Fatal(err)
		}
		var seqs []string
		for line := range strings.Lines(out.String()) {
			var e httpapi.MapiEntry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, fmt.Sprint(e.Seq))
		}
		if got := strings.Join(seqs, " "); got != "1 2 3 4" {
			t.Errorf("entries %s", got)
		}
		if f.asked[0] != "GET history limit=20" || f.asked[1] != "GET history limit=1000" || len(f.asked) != 5 {
			t.Errorf("asked %q", f.asked)
		}
	})
}

func TestCheckReport(t *testing.T) {
	for _, tt := range []struct {
		hresult, operation string
		ok, named          bool
		want               string // the hresult that is sent, or what the error says
	}{
		{"0x8004011D", "", false, false, `"0x8004011D"`},
		{"8004011d", "Logon", false, true, `"0x8004011D"`},
		{"-2147221219", "", false, false, `"0x8004011D"`},
		{"", "", true, false, ""},
		{"0x8004011D", "", true, false, "exclude each other"},
		{"", "", false, false, "--hresult is missing"},
		{"", "Logon", false, true, "--hresult is missing"},
		{"0x8004011D", "", false, true, "--operation is empty"},
		{"E_FAIL", "", false, false, "is not an HRESULT"},
	} {
		in := httpapi.MapiReport{Ok: tt.ok, Operation: tt.operation}
		err := checkReport(&in, tt.hresult, tt.named)
		got := string(in.Hresult)
		if err != nil {
			got = err.Error()
			if exitCode(err) != exitUsage {
				t.Errorf("%+v: exit code %d", tt, exitCode(err))
			}
		}
		if !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// What a command changed, it says.
func TestChangesOfATarget(t *testing.T) {
	f := &fakeOutlook{phases: []timedPhase{{target: targetIn("suspended", "due")}}}
	a := f.api()
	for _, change := range []func(*api, context.Context, string) (httpapi.MapiTarget, error){(*api).pauseTarget, (*api).resumeTarget} {
		v, err := change(a, t.Context(), "archive")
		var out bytes.Buffer
		if err == nil {
			err = printTarget(&options{env: environment{stdout: &out}}, v, outputText, "Noted. ")
		}
		if err != nil || out.String() != "Noted. archive is suspended, its access due. It is suspended.\n" {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
	if _, err := a.reportTarget(t.Context(), "archive", httpapi.MapiReport{Ok: true}); err != nil {
		t.Error(err)
	}
	if got := strings.Join(f.asked, "; "); got != `POST pause; POST resume; POST report {"ok":true}` {
		t.Errorf("asked %s", got)
	}
}

func TestRightsNameOutlook(t *testing.T) {
	for want, c := range map[string]httpapi.Consumer{
		"graph of ops":                        {Resources: []string{"graph"}, Accounts: []string{"ops"}},
		"graph of ops, Outlook archive, 50/s": {Resources: []string{"graph"}, Accounts: []string{"ops"}, Mapi: []string{"archive"}, Rate: "50/s"},
		"Outlook archive, crm":                {Mapi: []string{"archive", "crm"}},
		"metrics only":                        {Metrics: true},
	} {
		if got := rights(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
