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

// syncSlack is how much longer than its wait a sync may take.
const syncSlack = 10 * time.Second

// SyncAgent takes an agent's report and gives it work.
func (s *Server) SyncAgent(c echo.Context, params SyncAgentParams) error {
	if s.cfg.Outlook == nil {
		return noOutlook()
	}
	var in AgentReport
	if err := s.decode(c, "AgentReport", false, &in); err != nil {
		return err
	}
	from := mapiadapter.From{User: s.agentUser(c.Request()), Wait: max(time.Duration(params.Wait)*time.Second, leastSync)}
	ctx, cancel := s.hold(c.Request().Context(), from.Wait+syncSlack)
	defer cancel()
	orders, err := s.cfg.Outlook.Sync(ctx, in, from)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, ordersOf(orders))
}

// agentUser is who is at the other end; empty where that is not known, as for a
// request that came over no connection.
func (s *Server) agentUser(r *http.Request) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if s.cfg.AgentUser == nil || !ok {
		return ""
	}
	ours, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return ""
	}
	theirs, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return s.cfg.AgentUser(r.Context(), ours, theirs)
}

func ordersOf(o mapiadapter.Orders) AgentOrders {
	out := AgentOrders{Work: o.Work, Services: list(o.Services), LookEvery: max(1, wholeSeconds(o.LookEvery))}
	if out.Work == nil {
		out.Work = []AgentWork{}
	}
	return out
}
