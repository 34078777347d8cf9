package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
	"github.com/m365-token-broker/broker/internal/token"
)

// Targets are the Outlook targets as consumers use them. A target that is not
// there is an error of KindNotFound.
type Targets interface {
	Targets() []mapiadapter.View // by name
	Target(name string) (mapiadapter.View, error)
	// Ensure asks for fresh access and waits for the end of the attempt, for at
	// most wait and until ctx ends; then it gives the view as it is.
	Ensure(ctx context.Context, name string, force bool, wait time.Duration) (mapiadapter.View, error)
	Report(ctx context.Context, name string, r mapiadapter.ConsumerReport) (mapiadapter.View, error)
}

// TargetKeeper looks after the Outlook targets.
type TargetKeeper interface {
	// History is the latest n entries, the newest last.
	History(name string, n int) ([]mapiadapter.Entry, error)
	Pause(ctx context.Context, name string) (mapiadapter.View, error)
	Resume(ctx context.Context, name string) (mapiadapter.View, error)
}

// AgentDesk is where an Outlook agent gets its work.
type AgentDesk interface {
	// Sync takes the report at once, then waits for work for as long as from says
	// and until ctx ends, and gives what there is.
	Sync(ctx context.Context, r mapiadapter.Report, from mapiadapter.From) (mapiadapter.Orders, error)
}

// Outlook is the whole Outlook fallback.
type Outlook interface {
	Targets
	TargetKeeper
	AgentDesk
}

// ListMapiTargets shows the targets that the caller may use.
func (s *Server) ListMapiTargets(c echo.Context) error {
	if s.cfg.Outlook == nil {
		return noOutlook()
	}
	return answer(c, http.StatusOK, MapiTargetList{Targets: s.targets(identityOf(c.Request().Context()))})
}

// targets are those that the identity may use; never nil.
func (s *Server) targets(id *consumer.Identity) []MapiTarget {
	out := []MapiTarget{}
	if s.cfg.Outlook == nil {
		return out
	}
	for _, v := range s.cfg.Outlook.Targets() {
		if id.HasTarget(v.Name) {
			out = append(out, targetOf(v))
		}
	}
	return out
}

// GetMapiTarget shows one target.
func (s *Server) GetMapiTarget(c echo.Context, name MapiTargetPath) error {
	v, err := s.target(c, name)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, targetOf(v))
}

// target is the target if the caller may use it. One that it may not use is as
// one that is not there; only the administrator is told which there are.
func (s *Server) target(c echo.Context, name string) (mapiadapter.View, error) {
	if s.cfg.Outlook == nil {
		return mapiadapter.View{}, noOutlook()
	}
	id := identityOf(c.Request().Context())
	if err := id.AllowsTarget(name); err != nil {
		return mapiadapter.View{}, err
	}
	v, err := s.cfg.Outlook.Target(name)
	if err != nil && id.Admin && token.KindOf(err) == token.KindNotFound {
		err = s.noTarget(name)
	}
	return v, err
}

func noOutlook() error {
	return token.NewError(token.KindNotFound, "find Outlook target", "No Outlook target is configured; name one under mapi in broker.yaml.")
}

func (s *Server) noTarget(name string) error {
	var names []string
	for _, v := range s.cfg.Outlook.Targets() {
		names = append(names, v.Name)
	}
	if len(names) == 0 {
		return noOutlook()
	}
	return token.NewError(token.KindNotFound, "find Outlook target",
		fmt.Sprintf("There is no Outlook target %s; configured are %s.", shown(name), strings.Join(names, ", ")))
}

// busyRetry is when a caller is to ask again while an attempt is being made.
const busyRetry = 15 * time.Second

// EnsureMapiTarget asks for fresh access.
func (s *Server) EnsureMapiTarget(c echo.Context, name MapiTargetPath, params EnsureMapiTargetParams) error {
	if _, err := s.target(c, name); err != nil {
		return err
	}
	var in MapiEnsureRequest
	if err := s.decode(c, "MapiEnsureRequest", true, &in); err != nil {
		return err
	}
	wait := time.Duration(params.Wait) * time.Second
	ctx, cancel := s.hold(c.Request().Context(), wait+busyRetry) // the wait itself is Ensure's; this ends it at a stop
	defer cancel()
	v, err := s.cfg.Outlook.Ensure(ctx, name, in.Force, wait)
	if err == nil {
		err = ensured(v)
	}
	if err != nil {
		return err
	}
	if v.Phase == mapiadapter.Idle && v.Freshness == mapiadapter.Fresh {
		return answer(c, http.StatusOK, targetOf(v))
	}
	c.Response().Header().Set("Retry-After", strconv.Itoa(wholeSeconds(busyRetry)))
	return answer(c, http.StatusAccepted, targetOf(v))
}

// ensured is why there will be no fresh access soon; nil where there may be.
func ensured(v mapiadapter.View) error {
	e := &token.Error{Op: "ensure Outlook target", Detail: strings.TrimSpace(v.Message + " " + v.Action)}
	switch v.Phase {
	case mapiadapter.Idle, mapiadapter.Precheck, mapiadapter.Trigger, mapiadapter.Observe:
		return nil
	case mapiadapter.Backoff:
		e.Kind, e.RetryAfter = token.KindMAPIBackoff, max(time.Until(v.Retry), time.Second)
	case mapiadapter.WaitSession, mapiadapter.WaitAgent:
		e.Kind = token.KindMAPINoSession
	case mapiadapter.NeedsUser:
		e.Kind = token.KindMAPIUserAction
	case mapiadapter.Suspended:
		e.Kind = token.KindMAPISuspended
	case mapiadapter.Unsupported, mapiadapter.Session0Broken:
		e.Kind = token.KindMAPIUnsupported
	default:
		e.Kind, e.Detail = token.KindInternal, ""
	}
	return &targetError{err: e, view: v}
}

// targetError is an error about a target in a phase that a program should know.
type targetError struct {
	err  *token.Error
	view mapiadapter.View
}

func (e *targetError) Error() string { return e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

func (e *targetError) into(p *Problem) {
	p.Target, p.Phase, p.Freshness, p.Reason = e.view.Name, MapiPhase(e.view.Phase), MapiFreshness(e.view.Freshness), string(e.view.Reason)
}

// forLog is the error without its sentence, which names an account and a
// profile: those belong into no log.
func (e *targetError) forLog() *token.Error {
	out := *e.err
	out.Detail = "target " + e.view.Name + " is in phase " + string(e.view.Phase)
	if e.view.Reason != "" {
		out.Detail += " (" + string(e.view.Reason) + ")"
	}
	return &out
}

// ReportMapiTarget takes what a consumer met at its mailbox.
func (s *Server) ReportMapiTarget(c echo.Context, name MapiTargetPath) error {
	if _, err := s.target(c, name); err != nil {
		return err
	}
	var in MapiReport
	if err := s.decode(c, "MapiReport", false, &in); err != nil {
		return err
	}
	r, err := reportOf(in)
	if err != nil {
		return err
	}
	v, err := s.cfg.Outlook.Report(c.Request().Context(), name, r)
	if err != nil {
		return err
	}
	return answer(c, http.StatusAccepted, targetOf(v))
}

func reportOf(in MapiReport) (mapiadapter.ConsumerReport, error) {
	r := mapiadapter.ConsumerReport{OK: in.Ok, Operation: in.Operation}
	switch {
	case in.Ok && len(in.Hresult) > 0:
		return r, badRequest("The members hresult and ok exclude each other; send one of them.")
	case in.Ok:
		return r, nil
	case len(in.Hresult) == 0:
		return r, badRequest("The member hresult is missing; send the HRESULT that MAPI gave, for example 0x8004011D, or ok with true.")
	}
	var err error
	if r.HResult, err = hresult(in.Hresult); err != nil {
		return r, badRequest("The member hresult is no HRESULT; write it as 0x8004011D, or as a 32-bit number.")
	}
	if r.HResult&0x80000000 == 0 { // FAILED of winerror.h
		return r, badRequest("The member hresult is no failure; send ok with true where MAPI succeeded.")
	}
	return r, nil
}

// hresult reads a text or a number.
func hresult(raw json.RawMessage) (uint32, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return mapiprobe.ParseHResult(text)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64) // never hexadecimal, as eight digits in a text are
	if err != nil {
		return 0, err
	}
	return mapiprobe.ParseHResult(fmt.Sprintf("%010d", n))
}

// defaultHistory is how many entries are given to a caller who names no limit.
const defaultHistory = 100

// GetMapiHistory shows what happened to a target.
func (s *Server) GetMapiHistory(c echo.Context, name MapiTargetPath, params GetMapiHistoryParams) error {
	if _, err := s.target(c, name); err != nil {
		return err
	}
	if params.Limit == 0 {
		params.Limit = defaultHistory
	}
	entries, err := s.cfg.Outlook.History(name, params.Limit)
	if err != nil {
		return err
	}
	out := MapiHistory{Target: name, Entries: make([]MapiEntry, len(entries))}
	for i, e := range entries {
		out.Entries[i] = entryOf(e)
	}
	return answer(c, http.StatusOK, out)
}

// PauseMapiTarget stops all attempts.
func (s *Server) PauseMapiTarget(c echo.Context, name MapiTargetPath) error {
	if _, err := s.target(c, name); err != nil {
		return err
	}
	v, err := s.cfg.Outlook.Pause(c.Request().Context(), name)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, targetOf(v))
}

// ResumeMapiTarget allows attempts again.
func (s *Server) ResumeMapiTarget(c echo.Context, name MapiTargetPath) error {
	if _, err := s.target(c, name); err != nil {
		return err
	}
	v, err := s.cfg.Outlook.Resume(c.Request().Context(), name)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, targetOf(v))
}
