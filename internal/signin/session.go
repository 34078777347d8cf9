package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// opSignIn names what is done here in errors.
const opSignIn = "sign in"

// Pauses between calls of DeviceCode.Wait that failed in passing.
const (
	firstPause = 5 * time.Second
	lastPause  = 30 * time.Second
)

// grace is how long past its expiry a device code may still be waited for, so
// that the authority has the last word.
const grace = 10 * time.Second

// session is one sign-in. Its fields after over are guarded by Desk.mu.
type session struct {
	id     string
	key    string
	req    Request
	by     string
	cancel context.CancelFunc
	ready  chan struct{} // closed when the person can act, or the start failed
	over   chan struct{} // closed when the state is final

	state   State
	keeping bool // the person is done, the store is at work
	refused *token.Error
	problem *token.Error
	name    string // of the account, after success
	endedOn time.Time

	userCode  string
	uri       string
	message   string
	expiresOn time.Time
	interval  time.Duration
	fault     func() *token.Error
}

// shown reports whether the start has come to its end, well or not.
func (s *session) shown() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// appendShown adds s to views where anybody knows of it. Call it with Desk.mu
// held.
func (s *session) appendShown(views []View) []View {
	if s.refused != nil {
		return views
	}
	return append(views, s.view())
}

// view is the session as it is. Call it with Desk.mu held.
func (s *session) view() View {
	v := View{
		ID: s.id, State: s.state, Flow: s.req.Flow, ExpiresOn: s.expiresOn, Interval: s.interval,
		Account: s.req.Account, By: s.by,
	}
	problem := s.problem
	if s.fault != nil && !s.state.Final() {
		problem = s.fault()
	}
	if problem != nil {
		e := *problem // a copy: the view belongs to the caller
		v.Problem = &e
	}
	switch {
	case !s.state.Final():
		v.UserCode, v.VerificationURI, v.Message = s.userCode, s.uri, s.message
	case s.state == StateSucceeded:
		v.Account, v.Message = s.name, fmt.Sprintf("Signed in as %s.", s.name)
	case s.problem != nil:
		v.Message = s.problem.Detail
	}
	return v
}

// run is a session's goroutine: from the start to the final state.
func (d *Desk) run(ctx context.Context, s *session) {
	var grant token.Grant
	var err error
	if s.req.Flow == token.FlowBrowser {
		grant, err = d.browser(ctx, s)
	} else {
		grant, err = d.device(ctx, s)
	}
	if err == nil {
		err = d.keep(ctx, s, grant)
	}
	if err != nil {
		d.fail(s, token.AsError(err))
	}
}

// show publishes what the person needs. It reports whether anybody still wants
// it.
func (d *Desk) show(s *session, set func()) bool {
	d.mu.Lock()
	if s.state.Final() {
		d.mu.Unlock()
		return false
	}
	set()
	close(s.ready)
	v := s.view()
	d.mu.Unlock()
	d.tell(v)
	return true
}

// device runs the device flow until there is a grant or an end.
func (d *Desk) device(ctx context.Context, s *session) (token.Grant, error) {
	start, cancel := context.WithTimeout(ctx, startTimeout)
	code, err := d.cfg.Authority.DeviceCode(start, s.req.App, s.req.Scopes)
	cancel()
	if err != nil {
		return token.Grant{}, err
	}
	wanted := d.show(s, func() {
		s.userCode, s.uri, s.message = code.UserCode, code.VerificationURI, code.Message
		s.expiresOn, s.interval, s.fault = code.ExpiresOn, code.Interval, code.Fault
	})
	if !wanted {
		return token.Grant{}, context.Canceled
	}
	ctx, cancel = context.WithDeadline(ctx, code.ExpiresOn.Add(grace))
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		grant, err := code.Wait(ctx)
		if err == nil {
			return grant, nil
		}
		e := token.AsError(err)
		if ctx.Err() == nil && passing(e) && time.Now().Before(code.ExpiresOn) {
			// The code is still good; the fault is not the person's.
			d.standing(s, e)
			rest(ctx, max(pause, e.RetryAfter))
			continue
		}
		if !time.Now().Before(code.ExpiresOn) && (passing(e) || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
			return token.Grant{}, &token.Error{
				Kind: token.KindExpired, Op: opSignIn, Err: e,
				Detail: "The code expired while the authority could not be asked; start the sign-in again.",
			}
		}
		return token.Grant{}, err
	}
}

// passing reports whether a call of DeviceCode.Wait that failed with e is worth
// repeating. An answer that cannot be used is not: Wait polls on by itself where
// something else than the authority gave it, so that the code is redeemed now.
func passing(e *token.Error) bool {
	return e.Kind.Retryable() && e.Kind != token.KindInvalid
}

// standing notes what stands in the way of a pending sign-in.
func (d *Desk) standing(s *session, e *token.Error) {
	d.mu.Lock()
	if !s.state.Final() {
		s.problem = e
	}
	d.mu.Unlock()
	d.cfg.Log.Warn("waiting for the sign-in failed; the same code goes on", slog.Any("problem", e))
}

// rest waits for pause, or until ctx ends.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// browser runs the browser flow until there is a grant or an end.
func (d *Desk) browser(ctx context.Context, s *session) (token.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, browserTimeout)
	defer cancel()
	late := time.AfterFunc(startTimeout, cancel) // until there is a URL
	defer late.Stop()
	grant, err := d.cfg.Authority.Browser(ctx, s.req.App, s.req.Scopes, s.req.LoginHint, func(url string) error {
		if !late.Stop() {
			return context.DeadlineExceeded
		}
		wanted := d.show(s, func() {
			s.uri, s.message = url, "Open the link in a browser on this machine and sign in."
			s.expiresOn, s.interval = time.Now().Add(browserTimeout), time.Second
		})
		if !wanted {
			return context.Canceled
		}
		return nil
	})
	switch {
	case err == nil:
		return grant, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return token.Grant{}, token.NewError(token.KindExpired, opSignIn, "Nobody finished the sign-in in the browser within ten minutes; start it again.")
	case ctx.Err() != nil && !s.shown():
		return token.Grant{}, token.NewError(token.KindTimeout, opSignIn, "The authority did not answer within ten seconds; try again.")
	}
	return token.Grant{}, err
}

// keep makes the grant durable. From here on nothing but the store can fail the
// sign-in: it goes on through Cancel and Stop, because the person has done their
// part.
func (d *Desk) keep(ctx context.Context, s *session, grant token.Grant) error {
	d.mu.Lock()
	if s.state.Final() {
		d.mu.Unlock()
		return nil
	}
	s.keeping, s.problem, s.fault = true, nil, nil
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	name, err := d.cfg.Keep(ctx, s.req.Account, grant)
	if err != nil {
		return err
	}
	d.mu.Lock()
	s.name = name
	d.mu.Unlock()
	d.finish(s, StateSucceeded, nil)
	return nil
}

// fail ends s for the reason e.
func (d *Desk) fail(s *session, e *token.Error) {
	var state State
	switch e.Kind {
	case token.KindDeclined:
		state = StateDeclined
	case token.KindExpired:
		state = StateExpired
	default:
		state = StateFailed
	}
	d.finish(s, state, e)
}
