package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// The MAPI service of the story.
const (
	demoTarget  = "archive"
	demoProfile = "Archive"
	demoAccount = `CONTOSO\svc-archive`
	demoHost    = "MAIL01"
	demoRefusal = "0x8004011D" // MAPI_E_FAILONEPROVIDER
)

// onWindows says what the demo cannot show.
const onWindows = "On Windows only, so not shown: real sessions and Outlook (registry, start, COM, notices), the probe by\n" +
	"MAPI, the event log, Credential Manager.\n"

// demoDesktop is what changes of the scripted desktop, see desktop.LoadScript.
type demoDesktop struct {
	Session    desktop.Seat `json:"session"`
	NewOutlook bool         `json:"new_outlook"`

	Host     string   `json:"host"`
	Account  string   `json:"account"`
	SID      string   `json:"sid"`
	Profiles []string `json:"profiles"`
	Start    struct {
		Does  desktop.Doing `json:"does"`
		After string        `json:"after"`
	} `json:"start"`
}

// desktop is the file of the scripted desktop.
func (s *story) desktop() string { return filepath.Join(s.dir, "desktop.json") }

// setDesktop makes the scripted desktop be like d, for all processes.
func (s *story) setDesktop(d demoDesktop) error {
	d.Host, d.Account, d.Profiles = demoHost, demoAccount, []string{demoProfile}
	if here, err := desktop.Here(); err == nil {
		d.SID = here.SID // on Windows the broker compares it with that of the agent's process
	}
	d.Start.Does, d.Start.After = desktop.Connects, "1s"
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode the scripted desktop: %w", err)
	}
	if err := ownerfile.Write(s.desktop(), data); err != nil {
		return fmt.Errorf("write the scripted desktop: %w", err)
	}
	return nil
}

// nobodyThere shows what a person must do when no program can.
func (s *story) nobodyThere(ctx context.Context) error {
	usual, here := mapiadapter.DefaultLimits().SettleLogon, seat{brisk: true}.limits().SettleLogon
	s.say("for MAPI there is no token to hand out: Outlook must renew, in a session of the service's own account")
	s.say("a script plays Windows and Outlook here; broker, agent, ledger and API are real, with shorter waits (%.0f s after a logon, not %.0f)",
		here.Seconds(), usual.Seconds())
	made, err := s.child.admin.addConsumer(ctx, httpapi.ConsumerRequest{Name: "archiver", Mapi: []string{demoTarget}})
	if err != nil {
		return err
	}
	s.service = s.consumer(token.NewSecret(made.Key))
	report := httpapi.MapiReport{Hresult: json.RawMessage(`"` + demoRefusal + `"`), Operation: "OpenMsgStore"}
	t, err := s.service.reportTarget(ctx, demoTarget, report)
	if err != nil {
		return err
	}
	s.say("POST /v1/mapi/%s/report %s: 202, its access is %s", demoTarget, demoRefusal, t.Freshness)
	if _, err := s.until(ctx, func(t httpapi.MapiTarget) bool { return t.Phase == httpapi.MapiPhase(mapiadapter.WaitSession) }); err != nil {
		return err
	}
	e, err := s.refused(ctx, false, token.KindMAPINoSession)
	if err != nil {
		return err
	}
	s.say("POST /v1/mapi/%s/ensure: 503 %s: %s", demoTarget, e.Kind.Code(), e.Detail)
	return s.started(0)
}

// outlookRenews goes from the trigger to the proof.
func (s *story) outlookRenews(ctx context.Context) (err error) {
	if err := s.setDesktop(demoDesktop{Session: desktop.SeatActive}); err != nil {
		return err
	}
	began := time.Now()
	s.agent, err = startProcess(ctx, "agent", "--config", s.config, "--state-dir", filepath.Join(s.dir, "state"), "--scripted-desktop", s.desktop())
	if err != nil {
		return err
	}
	s.say("%s logs on to %s, which starts broker agent there, as a process of its own", demoAccount, demoHost)
	t, err := s.until(ctx, func(t httpapi.MapiTarget) bool { return t.Freshness == httpapi.MapiFreshness(mapiadapter.Fresh) })
	if err != nil {
		return err
	}
	took := time.Since(began)
	history, err := s.service.history(ctx, demoTarget, 100)
	if err != nil {
		return err
	}
	s.say("GET /v1/mapi/%s/history: %s", demoTarget, wayOf(history.Entries))
	if err := s.started(1); err != nil {
		return err
	}
	s.say("started once, as: OUTLOOK.EXE %s", strings.Join(desktop.Arguments(demoProfile), " "))
	s.say("Outlook is connected and wrote a token cache: proof (%s), %.1f s after the logon", t.ProofKind, took.Seconds())
	if t, err = s.service.ensureTarget(ctx, demoTarget, false); err != nil {
		return err
	}
	s.say("POST /v1/mapi/%s/ensure: 200, %s; nothing is done, and the next start is allowed in %.0f min",
		demoTarget, t.Freshness, time.Until(t.Budget.NextStartAt).Minutes())
	return nil
}

// newOutlook shows what cannot work.
func (s *story) newOutlook(ctx context.Context) error {
	if err := s.setDesktop(demoDesktop{Session: desktop.SeatActive, NewOutlook: true}); err != nil {
		return err
	}
	t, err := s.until(ctx, func(t httpapi.MapiTarget) bool { return t.Obstacle.Reason == string(mapiadapter.ReasonNewOutlook) })
	if err != nil {
		return err
	}
	s.say("GET /v1/mapi/%s: %s still, and %s is in the way of the next renewal", demoTarget, t.Freshness, t.Obstacle.Reason)
	e, err := s.refused(ctx, true, token.KindMAPIUnsupported)
	if err != nil {
		return err
	}
	s.say("POST /v1/mapi/%s/ensure, by force: 501 %s: %s", demoTarget, e.Kind.Code(), e.Detail)
	if err := s.started(1); err != nil {
		return err
	}
	s.say("Outlook was not started again")
	return nil
}

// until looks at the target ten times a second until it is as wanted.
func (s *story) until(ctx context.Context, so func(httpapi.MapiTarget) bool) (httpapi.MapiTarget, error) {
	for {
		t, err := s.service.target(ctx, demoTarget)
		if err != nil || so(t) {
			return t, err
		}
		if s.agent != nil {
			if err := s.agent.alive(); err != nil {
				return t, err
			}
		}
		select {
		case <-ctx.Done():
			return t, fmt.Errorf("the target stays in %s, %s: %w", t.Phase, t.Freshness, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// refused asks for access, and for the error that is to come.
func (s *story) refused(ctx context.Context, force bool, want token.Kind) (*token.Error, error) {
	var t httpapi.MapiTarget
	in := httpapi.MapiEnsureRequest{Force: force}
	err := s.service.call(ctx, http.MethodPost, targetPath(demoTarget)+"/ensure", url.Values{"wait": {"20"}}, in, &t)
	e, ok := errors.AsType[*token.Error](err)
	switch {
	case ok && e.Kind == want:
		return e, nil
	case err == nil:
		return nil, fmt.Errorf("want %s, the target is in %s, %s", want.Code(), t.Phase, t.Freshness)
	default:
		return nil, fmt.Errorf("want %s, got %w", want.Code(), err)
	}
}

// started checks how often Outlook was started, and that nothing was tried that
// must never be done to it.
func (s *story) started(want int) error {
	acts, err := desktop.ReadActs(s.desktop())
	if err != nil {
		return err
	}
	starts := 0
	for _, a := range acts {
		switch a.Did {
		case desktop.DidStart:
			starts++
		case desktop.DidViolate:
			return fmt.Errorf("the agent tried what it must never do: %s", a.Reason)
		}
	}
	if starts != want {
		return fmt.Errorf("starts of Outlook: %d, want %d", starts, want)
	}
	return nil
}

// wayOf is the phases that a target went through since nobody was logged on.
func wayOf(entries []httpapi.MapiEntry) string {
	var way []string
	for _, e := range entries {
		switch {
		case e.To == string(mapiadapter.WaitSession):
			way = []string{e.To}
		case e.To != e.From:
			way = append(way, e.To)
		}
	}
	return strings.Join(way, " > ")
}
