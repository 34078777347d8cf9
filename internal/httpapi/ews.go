package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// ewsEnd is the day on which Exchange Web Services end in Exchange Online.
const ewsEnd = "2027-04-01"

// GetEWSUsage says which consumers still call Exchange Web Services.
func (s *Server) GetEWSUsage(c echo.Context) error {
	u := EWSUsage{}
	if s.cfg.EWSUsage != nil {
		u = s.cfg.EWSUsage()
	}
	u.EndsOn = ewsEnd
	if u.Consumers == nil {
		u.Consumers = []EWSConsumer{}
	}
	return answer(c, http.StatusOK, u)
}
