package lifecycle

import (
	"context"
	"errors"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
)

// accepts are the controls that a running service takes. A service that accepts
// the early shutdown is not sent the late one as well.
const accepts = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown | svc.AcceptSessionChange | svc.AcceptPowerEvent

// RunAsService runs s under the Service Control Manager, which must have started
// this process for the service of this name. The error is a *NotAServiceError
// where it has not, else that of s.
func RunAsService(ctx context.Context, name string, s *Service) error {
	h := &handler{ctx: ctx, service: s}
	switch err := svc.Run(name, h); {
	case errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT):
		return &NotAServiceError{System: "Windows"}
	case err != nil:
		return err
	}
	return h.err
}

// handler is a Service as x/sys runs it.
type handler struct {
	ctx     context.Context //nolint:containedctx // Execute has no room for one
	service *Service
	err     error
}

// Execute implements svc.Handler. The data of an event is not looked at: it is a
// pointer into memory that is gone by the time the request gets here.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, statuses chan<- svc.Status) (specific bool, code uint32) {
	controls, done := make(chan ServiceRequest), make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case r := <-requests:
				select {
				case controls <- ServiceRequest{Control: controlOf(r.Cmd), Event: r.EventType}:
				case <-done:
					return
				}
			}
		}
	}()
	h.err = h.service.Host(h.ctx, controls, func(s ServiceStatus) { statuses <- statusOf(s) })
	return true, uint32(h.service.Code(h.err))
}

func controlOf(c svc.Cmd) Control {
	switch c {
	case svc.Stop:
		return ControlStop
	case svc.Shutdown:
		return ControlShutdown
	case svc.PreShutdown:
		return ControlPreShutdown
	case svc.SessionChange:
		return ControlSession
	case svc.PowerEvent:
		return ControlPower
	case svc.Interrogate:
		return ControlInterrogate
	default:
		return ""
	}
}

func statusOf(s ServiceStatus) svc.Status {
	out := svc.Status{CheckPoint: s.CheckPoint, WaitHint: uint32(s.WaitHint.Milliseconds())}
	switch s.State {
	case ServiceStarting:
		out.State = svc.StartPending
	case ServiceRunning:
		out.State, out.Accepts = svc.Running, accepts
	case ServiceStopping:
		out.State = svc.StopPending
	case ServiceStopped, ServiceOther:
		out.State = svc.Stopped
	}
	return out
}
