package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/ews"
	"github.com/m365-token-broker/broker/internal/token"
)

// GetEWSUsage says which consumers still call Exchange Web Services.
func (s *Server) GetEWSUsage(c echo.Context) error {
	u := EWSUsage{}
	if s.cfg.EWSUsage != nil {
		u = s.cfg.EWSUsage()
	}
	u.EndsOn = ews.EndsOn
	if u.Consumers == nil {
		u.Consumers = []EWSConsumer{}
	}
	return answer(c, http.StatusOK, u)
}

// ResetEWSUsage begins counting anew.
func (s *Server) ResetEWSUsage(c echo.Context) error {
	if s.cfg.EWSReset == nil {
		return c.NoContent(http.StatusNoContent)
	}
	if err := s.cfg.EWSReset(); err != nil {
		return &token.Error{
			Kind: token.KindInternal, Op: "ews", Err: err,
			Detail: "Counting has begun anew, and that could not be written to the state directory; see the broker's log.",
		}
	}
	return c.NoContent(http.StatusNoContent)
}
