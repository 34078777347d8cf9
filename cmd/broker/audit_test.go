package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/notify"
)

// scriptTamper does what nobody should.
func scriptTamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tamper file N [text]")
	}
	path := ts.MkAbs(args[0])
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	text, err := os.ReadFile(path)
	ts.Check(err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	if n < 0 {
		n += len(lines) + 1
	}
	instead := []string{}
	if len(args) > 2 {
		instead = append(instead, strings.Join(args[2:], " ")+"\n")
	}
	lines = slices.Replace(lines, n-1, n, instead...)
	ts.Check(os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
}

// audited is what the audit log of a world has, in short.
func (w *world) audited() []string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "state", "audit")
	lines, err := audit.Tail(dir, 1000, func(audit.Line) bool { return true })
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, l := range lines {
		text := string(l.Event)
		for _, more := range []string{l.Consumer, l.Subject, l.Resource, l.Outcome, l.Route, strings.Join(l.Keys, " ")} {
			if more != "" {
				text += " " + more
			}
		}
		if l.Count > 0 {
			text += " x" + strconv.FormatInt(l.Count, 10)
		}
		all = append(all, text)
	}
	return all
}

// TestAuditLog: the lines of a broker's life, in order, and that they are whole.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, worldOptions{yaml: "listen: 127.0.0.1:8477\n"})
		defer w.close()
		w.ready()
		for range 5 {
			w.token("graph")
			w.call(w.key+"x", http.MethodGet, "/v1/token?resource=graph", "")
		}
		w.call(w.key, http.MethodGet, "/v1/accounts", "")
		time.Sleep(2 * time.Minute)
		w.call(w.admin, http.MethodDelete, "/v1/accounts/"+alice, "")
		w.call(w.key, http.MethodGet, "/v1/token?resource=graph", "")
		w.stop()
		got := w.audited()
		at := 0
		for _, want := range []string{
			"signin.started admin", "signin.succeeded admin ok", "consumer.added admin app ok", "token.issued app graph ok",
			"request.refused unauthenticated GET /v1/token", "request.refused app denied GET /v1/accounts",
			"request.refused.repeated unauthenticated GET /v1/token x4", "token.repeated app graph ok x4",
			"signout admin ok", "request.refused app sign-in-required GET /v1/token",
		} {
			i := slices.Index(got[at:], want)
			if i < 0 {
				t.Fatalf("%q is not there after %q; all: %q", want, got[:at], got)
			}
			at += i + 1
		}
		if r, err := audit.Verify(filepath.Join(w.dir, "state", "audit"), nil); err != nil || r.Fault != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Every event has an ID in the Windows event log, as docs/audit.md says.
func TestAuditEvents(t *testing.T) {
	t.Parallel()
	for event, want := range map[audit.Event]int{
		audit.RequestRefused: notify.IDAuditRefused, audit.RefusedRepeated: notify.IDAuditRefused,
		"signin.succeeded": notify.IDAuditSignIn, "signout": notify.IDAuditSignIn, "ui.entered": notify.IDAuditSignIn,
		"consumer.rotated": notify.IDAuditKey, audit.PolicyChanged: notify.IDAuditPolicy,
		audit.BrokerStarted: notify.IDAuditBroker, audit.BrokerStopped: notify.IDAuditBroker, audit.Pruned: notify.IDAuditBroker,
		audit.Lost: notify.IDAuditFault, audit.Torn: notify.IDAuditFault, audit.Damaged: notify.IDAuditFault,
	} {
		l := audit.Line{Seq: 7, Record: audit.Record{Event: event}, Hash: "h"}
		if e := auditEvent(l); e.ID != want || e.Text != l.String() || !strings.Contains(e.Text, `"seq":7`) {
			t.Errorf("%s: %+v", event, e)
		}
	}
	document, err := os.ReadFile(filepath.Join(root, "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{notify.IDAuditRefused, notify.IDAuditSignIn, notify.IDAuditKey, notify.IDAuditPolicy, notify.IDAuditBroker, notify.IDAuditFault} {
		if !strings.Contains(string(document), "| "+strconv.Itoa(id)+" | ") {
			t.Errorf("docs/audit.md does not have event %d", id)
		}
	}
}

func TestAuditLineForPeople(t *testing.T) {
	t.Parallel()
	on := audit.Stamp{Time: time.Date(2026, 11, 22, 8, 5, 0, 0, time.Local)}
	for want, r := range map[string]audit.Record{
		"2026-11-22 08:05:00  token.repeated            crm           graph of account 9f86d081884c7d65, ok, 41 times": {
			Event: audit.TokenRepeated, Consumer: "crm", Account: "9f86d081884c7d65", Resource: "graph", Outcome: "ok", Count: 41,
		},
		"2026-11-22 08:05:00  request.refused           -             unauthenticated, GET /v1/token, request 0123": {
			Event: audit.RequestRefused, Outcome: "unauthenticated", Route: "GET /v1/token", RequestID: "0123",
		},
		"2026-11-22 08:05:00  broker.stopped            -": {Event: audit.BrokerStopped},
	} {
		if got := auditLine(audit.Line{Time: on, Record: r}); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
