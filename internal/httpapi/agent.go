package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
)

// leastSync is how long the machines of the targets have to take a report, also
// of an agent that does not wait for work.
const leastSync = time.Second

// SyncAgent takes an agent's report and gives it work.
func (s *Server) SyncAgent(c echo.Context, params SyncAgentParams) error {
	if s.cfg.Outlook == nil {
		return noOutlook()
	}
	if err := s.checkAgent(c.Request()); err != nil {
		return err
	}
	var in AgentReport
	if err := s.decode(c, "AgentReport", false, &in); err != nil {
		return err
	}
	ctx, cancel := s.hold(c.Request().Context(), max(time.Duration(params.Wait)*time.Second, leastSync))
	defer cancel()
	orders, err := s.cfg.Outlook.Sync(ctx, in, false)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, ordersOf(orders))
}

// checkAgent looks at the process at the other end. A request that came over no
// connection is from this process.
func (s *Server) checkAgent(r *http.Request) error {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if s.cfg.Agent == nil || !ok {
		return nil
	}
	ours, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return err
	}
	theirs, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return err
	}
	return s.cfg.Agent(r.Context(), ours, theirs)
}

func ordersOf(o mapiadapter.Orders) AgentOrders {
	out := AgentOrders{Work: o.Work, Services: list(o.Services), LookEvery: max(1, wholeSeconds(o.LookEvery))}
	if out.Work == nil {
		out.Work = []AgentWork{}
	}
	return out
}
