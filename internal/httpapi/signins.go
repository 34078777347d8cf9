package httpapi

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// StartSignIn starts a sign-in, or finds the pending one.
func (s *Server) StartSignIn(c echo.Context) error {
	in := SignInRequest{Flow: FlowDevice}
	if err := s.decode(c, "SignInRequest", false, &in); err != nil {
		return err
	}
	ctx := c.Request().Context()
	ctx = signin.StartedBy(ctx, identityOf(ctx).Name)
	v, created, err := s.cfg.SignIns.Start(ctx, in.Account, token.Flow(in.Flow), in.Resource)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Location", c.Path()+"/"+v.ID)
	if created {
		return answer(c, http.StatusCreated, signInOf(v))
	}
	return answer(c, http.StatusOK, signInOf(v))
}

// GetSignIn shows a sign-in; with wait, once it has ended or the time is over.
func (s *Server) GetSignIn(c echo.Context, id SignInPath, params GetSignInParams) error {
	v, err := s.cfg.SignIns.SignIn(id)
	if err == nil && params.Wait > 0 && !v.State.Final() {
		v, err = s.nextSignIn(c, id, time.Duration(params.Wait)*time.Second)
	}
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, signInOf(v))
}

func (s *Server) nextSignIn(c echo.Context, id string, wait time.Duration) (signin.View, error) {
	ctx, cancel := s.hold(c.Request().Context(), wait)
	defer cancel()
	v, err := s.cfg.SignIns.Wait(ctx, id)
	if err != nil && ctx.Err() != nil {
		return s.cfg.SignIns.SignIn(id)
	}
	return v, err
}

// CancelSignIn ends a pending sign-in.
func (s *Server) CancelSignIn(c echo.Context, id SignInPath) error {
	v, err := s.cfg.SignIns.Cancel(id)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, signInOf(v))
}

func signInOf(v signin.View) SignIn {
	return SignIn{
		ID: v.ID, State: SignInState(v.State), Flow: Flow(v.Flow),
		UserCode: v.UserCode, VerificationURI: v.VerificationURI, Message: v.Message,
		ExpiresOn: epoch(v.ExpiresOn), Interval: wholeSeconds(v.Interval),
		Account: v.Account, Problem: ProblemOf(v.Problem),
	}
}

// epoch is a time for a member that ends in _on; zero, and so left out, for none.
func epoch(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// utc is a time for a member that ends in _at; zero, and so left out, for none.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
