package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// TestNotifications sends a test event to everybody who is told.
func (s *Server) TestNotifications(c echo.Context) error {
	out := NotifyTest{}
	if s.cfg.NotifyTest != nil {
		out.Outcomes = s.cfg.NotifyTest(c.Request().Context())
	}
	if out.Outcomes == nil {
		out.Outcomes = []NotifyOutcome{}
	}
	return answer(c, http.StatusOK, out)
}
