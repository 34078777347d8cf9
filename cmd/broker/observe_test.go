package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/telemetry"
)

// What telemetry is told of an attempt at Outlook: times as they were, the parts
// that came, and no profile.
func TestRenewalForTelemetry(t *testing.T) {
	on := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return on.Add(time.Duration(seconds) * time.Second) }
	target := mapiadapter.Target{Name: "archive", Profile: "CANARY", Account: `CONTOSO\svc`}
	attr := func(key, value string) telemetry.Attr { return telemetry.Attr{Key: key, Value: value} }
	for name, tc := range map[string]struct {
		given mapiadapter.Renewal
		want  telemetry.Renewal
	}{
		"proved": {
			mapiadapter.Renewal{
				Target: target, Cause: mapiadapter.CauseAge, Action: mapiadapter.ActionStart, To: mapiadapter.Idle, Proof: mapiadapter.ProofEvidence,
				Precheck: after(0), Trigger: after(5), Observe: after(20), Ended: after(60),
				Sight: mapiadapter.Sight{State: desktop.SessionDisconnected, Locked: true},
			},
			telemetry.Renewal{
				Target: "archive", Account: `CONTOSO\svc`, Action: "start", Result: "idle", OK: true,
				Parts: []telemetry.RenewalPart{
					{Name: telemetry.SpanMAPIRenewal, Began: after(0), Ended: after(60)},
					{Name: telemetry.SpanMAPIPrecheck, Began: after(0), Ended: after(5)},
					{Name: telemetry.SpanMAPITrigger, Began: after(5), Ended: after(20)},
					{Name: telemetry.SpanMAPIObserve, Began: after(20), Ended: after(60)},
				},
				Details: []telemetry.Attr{
					attr(telemetry.AttrMAPICause, "age"), attr(telemetry.AttrMAPIProof, "evidence"),
					attr(telemetry.AttrMAPISession, "disconnected"), attr(telemetry.AttrMAPILocked, "true"),
				},
			},
		},
		"failed before anything could be observed, and nobody sees the session": {
			mapiadapter.Renewal{
				Target: mapiadapter.Target{Name: "archive"}, Cause: mapiadapter.CauseReport, Action: mapiadapter.ActionSend,
				To: mapiadapter.Backoff, Reason: mapiadapter.ReasonNoAnswer, HResult: 0x8004011D,
				Precheck: after(0), Trigger: after(5), Ended: after(95),
			},
			telemetry.Renewal{
				Target: "archive", Action: "send", Result: "backoff", Reason: "no_answer",
				Parts: []telemetry.RenewalPart{
					{Name: telemetry.SpanMAPIRenewal, Began: after(0), Ended: after(95)},
					{Name: telemetry.SpanMAPIPrecheck, Began: after(0), Ended: after(5)},
					{Name: telemetry.SpanMAPITrigger, Began: after(5), Ended: after(95)},
				},
				Details: []telemetry.Attr{
					attr(telemetry.AttrMAPICause, "report"), attr(telemetry.AttrMAPIProof, ""), attr(telemetry.AttrMAPIHResult, "0x8004011D"),
				},
			},
		},
		"nothing to renew: an earlier proof holds, which this attempt did not give": {
			mapiadapter.Renewal{
				Target: target, Cause: mapiadapter.CauseGone, Action: mapiadapter.ActionStart,
				To: mapiadapter.Idle, Reason: mapiadapter.ReasonNoNewToken, Proof: mapiadapter.ProofProbe, HResult: 0x1D,
				Sight: mapiadapter.Sight{State: desktop.SessionActive},
			},
			telemetry.Renewal{
				Target: "archive", Account: `CONTOSO\svc`, Action: "start", Result: "idle", Reason: "no_new_token", OK: true,
				Details: []telemetry.Attr{
					attr(telemetry.AttrMAPICause, "gone"), attr(telemetry.AttrMAPIProof, ""), attr(telemetry.AttrMAPIHResult, "0x0000001D"),
					attr(telemetry.AttrMAPISession, "active"), attr(telemetry.AttrMAPILocked, "false"),
				},
			},
		},
		"no proof ever": {
			mapiadapter.Renewal{To: mapiadapter.Idle},
			telemetry.Renewal{Result: "idle", Details: []telemetry.Attr{attr(telemetry.AttrMAPICause, ""), attr(telemetry.AttrMAPIProof, "")}},
		},
	} {
		if diff := cmp.Diff(tc.want, renewal(tc.given)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The gauges of a target of which nothing is known yet.
func TestSamplesOfOutlookTargets(t *testing.T) {
	p := &parts{outlook: mapiadapter.New(mapiadapter.Config{Dir: t.TempDir(), Limits: mapiadapter.DefaultLimits()})}
	if got := p.mapiSamples(); len(got) != 0 {
		t.Errorf("without targets there is %v", got)
	}
	if err := p.outlook.Configure([]mapiadapter.Target{{Name: "b"}, {Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.outlook.Close() }()
	want := []telemetry.MAPISample{
		{Target: "a", Phase: "idle", Freshness: "unknown"},
		{Target: "b", Phase: "idle", Freshness: "unknown"},
	}
	if diff := cmp.Diff(want, p.mapiSamples()); diff != "" {
		t.Error(diff)
	}
}

// A probe that was asked for while proof was awaited is a part of its own.
func TestRenewalPartsWithAProbe(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 22, 12, 0, s, 0, time.UTC) }
	r := mapiadapter.Renewal{Precheck: at(0), Trigger: at(1), Observe: at(2), Probe: at(3), Probed: at(5), Ended: at(5)}
	parts := renewalParts(r)
	if last := parts[len(parts)-1]; last.Name != telemetry.SpanMAPIProbe || !last.Began.Equal(at(3)) || !last.Ended.Equal(at(5)) {
		t.Errorf("%+v", last)
	}
	r.Probed = time.Time{} // nobody answered
	if last := renewalParts(r)[4]; !last.Ended.Equal(at(5)) {
		t.Errorf("%+v", last)
	}
}
