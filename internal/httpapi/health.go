package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// GetStatus says what is true now.
func (s *Server) GetStatus(c echo.Context) error {
	st := s.cfg.Status(c.Request().Context())
	st.StartedAt = utc(st.StartedAt)
	st.UptimeSeconds = max(0, int64(time.Since(st.StartedAt)/time.Second))
	st.Listen = list(st.Listen)
	st.Accounts = s.accounts()
	st.Consumers = len(s.cfg.Consumers.List())
	st.Mapi = s.targets(consumer.AdminIdentity())
	if st.Problems == nil {
		st.Problems = []LastProblem{}
	}
	return answer(c, http.StatusOK, st)
}

// GetDoctor says what the broker finds wrong with itself.
func (s *Server) GetDoctor(c echo.Context, params GetDoctorParams) error {
	var checks []DoctorCheck
	if s.cfg.Doctor != nil {
		only := strings.FieldsFunc(params.Check, func(r rune) bool { return r == ',' })
		checks = s.cfg.Doctor(c.Request().Context(), only)
	}
	return answer(c, http.StatusOK, ReportOf(checks))
}

// ReportOf is a report of these checks: ok where none is a problem.
func ReportOf(checks []DoctorCheck) DoctorReport {
	if checks == nil {
		checks = []DoctorCheck{}
	}
	bad := func(c DoctorCheck) bool { return c.Result == DoctorCheckResultProblem }
	return DoctorReport{Ok: !slices.ContainsFunc(checks, bad), Checks: checks}
}

// GetLive answers while the process does.
func (s *Server) GetLive(c echo.Context) error {
	return answer(c, http.StatusOK, Live{Status: LiveStatusOk})
}

// GetReady says whether tokens can be served, and which check says no.
func (s *Server) GetReady(c echo.Context) error {
	out := Ready{Ready: true, Checks: s.cfg.Ready(c.Request().Context())}
	if out.Checks == nil {
		out.Checks = []Check{}
	}
	status := http.StatusOK
	for _, check := range out.Checks {
		if !check.Ok {
			out.Ready, status = false, http.StatusServiceUnavailable
		}
	}
	return answer(c, status, out)
}

// GetMetrics hands over to the metrics handler.
func (s *Server) GetMetrics(c echo.Context) error {
	if s.cfg.Metrics == nil {
		return token.NewError(token.KindNotFound, "metrics", "Metrics are off; turn the Prometheus exporter on with OTEL_METRICS_EXPORTER=prometheus.")
	}
	s.cfg.Metrics.ServeHTTP(c.Response(), c.Request())
	return nil
}
