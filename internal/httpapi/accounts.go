package httpapi

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/token"
)

// ListAccounts shows all accounts.
func (s *Server) ListAccounts(c echo.Context) error {
	return answer(c, http.StatusOK, AccountList{Accounts: s.accounts()})
}

func (s *Server) accounts() []Account {
	views := s.cfg.Accounts.Accounts()
	out := make([]Account, len(views))
	for i, v := range views {
		out[i] = accountOf(v)
	}
	return out
}

// GetAccount shows one account.
func (s *Server) GetAccount(c echo.Context, name AccountPath) error {
	v, err := s.cfg.Accounts.Account(name)
	if err != nil {
		return inPath(err)
	}
	return answer(c, http.StatusOK, accountOf(v))
}

// SignOut forgets an account on this machine.
func (s *Server) SignOut(c echo.Context, name AccountPath) error {
	if err := s.cfg.Accounts.SignOut(c.Request().Context(), name); err != nil {
		return inPath(err)
	}
	s.did(c, "signout", name)
	return c.NoContent(http.StatusNoContent)
}

// inPath makes an unknown account a 404: here the path names it, elsewhere a
// parameter does.
func inPath(err error) error {
	if token.KindOf(err) == token.KindUnknownAccount {
		return &statusError{http.StatusNotFound, err}
	}
	return err
}

func accountOf(v account.View) Account {
	a := Account{
		Account: v.Name, Username: v.Username, Tenant: v.Tenant, ClientID: v.ClientID,
		State: AccountState(v.State), Problem: ProblemOf(v.Problem), SinceAt: utc(v.Since), NextTryAt: utc(v.NextTry),
		Flow: Flow(v.Flow), SignedInAt: utc(v.SignedInOn), LastRefreshAt: utc(v.LastRefresh),
		RefreshTokenAt: utc(v.RefreshTokenOn), PredictedEndAt: utc(v.PredictedEnd), Persisted: v.Persisted,
		PredictedEndReason: EndReason(v.PredictedWhy), SignInFrequencySeconds: int64(v.Frequency.Every / time.Second), SignInFrequencyLearned: v.Frequency.Times,
		Resources: make([]AccountResource, len(v.Resources)),
	}
	if !v.RefreshTokenOn.IsZero() {
		a.RefreshTokenAge = max(0, int64(time.Since(v.RefreshTokenOn)/time.Second))
	}
	for i, r := range v.Resources {
		a.Resources[i] = AccountResource{
			Resource: r.Name, ExpiresOn: epoch(r.ExpiresOn), RefreshOn: epoch(r.RefreshOn),
			LastAskedAt: utc(r.LastAsked), Problem: ProblemOf(r.Problem),
		}
	}
	return a
}
