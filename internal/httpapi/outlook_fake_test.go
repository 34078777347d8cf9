package httpapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/token"
)

// agentReport is the least that an agent may say.
const agentReport = `{"agent":{"version":"1.0.0","pid":7,"started_on":"2000-01-01T00:00:00Z"},
	"facts":{"seen_on":"2000-01-01T00:00:00Z","host":"APP01","account":"CONTOSO\\svc","sid":"S-1-5-21-1","session":{"id":3,"state":"active"}}}`

// fakeOutlook has targets that change when a test says so.
type fakeOutlook struct {
	mu      sync.Mutex
	views   []mapiadapter.View
	changed chan struct{} // closed by set
	err     error
	entries []mapiadapter.Entry
	orders  mapiadapter.Orders
	calls   []string
	reports []mapiadapter.Report
}

func (f *fakeOutlook) set(views ...mapiadapter.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.views = views
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
}

func (f *fakeOutlook) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakeOutlook) Targets() []mapiadapter.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.views
}

func (f *fakeOutlook) Target(name string) (mapiadapter.View, error) {
	for _, v := range f.Targets() {
		if v.Name == name {
			return v, nil
		}
	}
	return mapiadapter.View{}, token.NewError(token.KindNotFound, "", "There is no such Outlook target in the configuration.")
}

func (f *fakeOutlook) Ensure(ctx context.Context, name string, force bool, wait time.Duration) (mapiadapter.View, error) {
	f.note("ensure %s %v %v", name, force, wait)
	if f.err != nil {
		return mapiadapter.View{}, f.err
	}
	over := time.After(wait)
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		v, err := f.Target(name)
		if err != nil || v.Phase != mapiadapter.Observe {
			return v, err
		}
		select {
		case <-changed:
		case <-over:
			return v, nil
		case <-ctx.Done():
			return v, nil
		}
	}
}

func (f *fakeOutlook) Report(_ context.Context, name string, r mapiadapter.ConsumerReport) (mapiadapter.View, error) {
	f.note("report %s %v 0x%08X %s", name, r.OK, r.HResult, r.Operation)
	return f.answer(name)
}

func (f *fakeOutlook) Pause(_ context.Context, name string) (mapiadapter.View, error) {
	f.note("pause %s", name)
	return f.answer(name)
}

func (f *fakeOutlook) Resume(_ context.Context, name string) (mapiadapter.View, error) {
	f.note("resume %s", name)
	return f.answer(name)
}

func (f *fakeOutlook) answer(name string) (mapiadapter.View, error) {
	if f.err != nil {
		return mapiadapter.View{}, f.err
	}
	return f.Target(name)
}

func (f *fakeOutlook) History(name string, n int) ([]mapiadapter.Entry, error) {
	f.note("history %s %d", name, n)
	return f.entries[max(0, len(f.entries)-n):], f.err
}

func (f *fakeOutlook) Sync(ctx context.Context, r mapiadapter.Report, from mapiadapter.From) (mapiadapter.Orders, error) {
	f.note("sync %s by %q for %v", r.Agent.Version, from.User, from.Wait)
	f.reports = append(f.reports, r)
	if len(f.orders.Work) == 0 && f.err == nil {
		select {
		case <-time.After(from.Wait):
		case <-ctx.Done():
		}
	}
	return f.orders, f.err
}

// phaseFacts are a reason and the sentences of each phase, as the machine gives
// them.
var phaseFacts = map[mapiadapter.Phase]struct {
	reason          mapiadapter.Reason
	message, action string
}{
	mapiadapter.Idle:           {"", "The mailbox access of CONTOSO\\svc on APP01 is fresh.", ""},
	mapiadapter.Precheck:       {"", "The broker checks whether Outlook of CONTOSO\\svc on APP01 can renew.", ""},
	mapiadapter.Trigger:        {"", "Outlook of CONTOSO\\svc on APP01 is being asked to renew.", ""},
	mapiadapter.Observe:        {"", "The broker waits for proof that Outlook of CONTOSO\\svc on APP01 has renewed.", ""},
	mapiadapter.NeedsUser:      {mapiadapter.ReasonSignIn, "Outlook of CONTOSO\\svc on APP01 waits for a sign-in.", "Log on to APP01 as CONTOSO\\svc (RDP is fine), answer the sign-in that Outlook shows, and leave the session locked."},
	mapiadapter.WaitSession:    {"", "CONTOSO\\svc is not logged on to APP01, so no Outlook can renew.", "Log on to APP01 as CONTOSO\\svc (RDP is fine), and leave the session locked."},
	mapiadapter.WaitAgent:      {"", "CONTOSO\\svc is logged on to APP01, and no agent there speaks to the broker.", "Log on to APP01 as CONTOSO\\svc (RDP is fine) and run: broker agent"},
	mapiadapter.Backoff:        {mapiadapter.ReasonNoProof, "Outlook of CONTOSO\\svc on APP01 runs and did not renew in time; the next attempt is at 00:07 UTC.", ""},
	mapiadapter.Suspended:      {mapiadapter.ReasonCircuit, "Five attempts to renew through Outlook of CONTOSO\\svc on APP01 failed, so no more are made.", "Log on to APP01 as CONTOSO\\svc (RDP is fine), open Outlook with the profile Archive and see what it says; then run: broker mapi resume archive"},
	mapiadapter.Unsupported:    {mapiadapter.ReasonNewOutlook, "CONTOSO\\svc on APP01 uses new Outlook, which has no MAPI.", "Switch CONTOSO\\svc on APP01 back to classic Outlook (UseNewOutlook=0), or move the consumer to Microsoft Graph."},
	mapiadapter.Session0Broken: {mapiadapter.ReasonServiceContext, "Outlook of CONTOSO\\svc on APP01 renews, and the consumer's service is still refused.", "Restart the consumer's service; then run: broker mapi resume archive"},
}

// archive is a target of which everything is known, in this phase.
func archive(p mapiadapter.Phase) mapiadapter.View {
	now, facts := time.Now(), phaseFacts[p]
	v := mapiadapter.View{
		Target: mapiadapter.Target{Name: "archive", Profile: "Archive", Mode: "cached", Policy: mapiadapter.Nudge},
		Phase:  p, Reason: facts.reason, Freshness: mapiadapter.Expired, Since: now.Add(-time.Minute),
		LastProof: now.Add(-3 * time.Hour), Proof: mapiadapter.ProofConsumer, DueOn: now.Add(6 * time.Hour), Lifetime: 11 * time.Hour,
		NextCheck: now.Add(time.Minute), Failures: 1, StartsMax: 8, StartsNow: 1, NextStart: now.Add(4 * time.Minute), HResult: 0x8004011D,
		Message: facts.message, Action: facts.action,
		Agent: mapiadapter.AgentView{
			Present: true, Info: mapiadapter.AgentInfo{Version: "1.0.0", PID: 4711}, SeenOn: now.Add(-20 * time.Second), Account: `CONTOSO\svc`, Host: "APP01",
			Session: desktop.Session{ID: 3, State: desktop.SessionDisconnected, Locked: true, LogonOn: now.Add(-48 * time.Hour)},
			Outlook: desktop.Installation{Path: `C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE`, Bitness: desktop.X64, Version: "16.0.18526.20144"},
			Running: mapiadapter.OutlookHere, Mode: 400,
		},
	}
	if p == mapiadapter.Idle {
		v.Freshness, v.Failures, v.Agent.Mode = mapiadapter.Fresh, 0, 700
		v.Obstacle = mapiadapter.Obstacle{
			Phase: mapiadapter.NeedsUser, Reason: mapiadapter.ReasonWrongProfile,
			Message: "Outlook of CONTOSO\\svc on APP01 runs with another profile than Archive.", Action: "Close it there.",
		}
		v.Warnings = []string{"Outlook of CONTOSO\\svc on APP01 asks which profile to take when it starts."}
	}
	if p == mapiadapter.Backoff {
		v.Retry = now.Add(6*time.Minute + 30*time.Second)
	}
	if p == mapiadapter.WaitSession || p == mapiadapter.WaitAgent {
		v.Agent = mapiadapter.AgentView{Account: `CONTOSO\svc`, Host: "APP01"}
	}
	return v
}

// little is a target of which next to nothing is known.
func little() mapiadapter.View {
	return mapiadapter.View{
		Target: mapiadapter.Target{Name: "other", Profile: "Outlook", Mode: "online", Policy: mapiadapter.Supervise, Account: `CONTOSO\robot`},
		Phase:  mapiadapter.Idle, Freshness: mapiadapter.Unknown, Since: time.Now(), StartsMax: 8, StartsNow: 1,
		Message: "Whether CONTOSO\\robot on APP01 has mailbox access is not known yet.", Agent: mapiadapter.AgentView{Host: "APP01"},
	}
}
