package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// StartType is when a service starts.
type StartType string

// The start types. A delayed service is an automatic one to the manager, with a
// setting of its own.
const (
	StartAuto     StartType = "auto"
	StartDelayed  StartType = "delayed"
	StartManual   StartType = "manual"
	StartDisabled StartType = "disabled"
)

// ServiceSpec is a service as it is to be installed.
type ServiceSpec struct {
	Name, DisplayName string
	Program           string // an absolute path
	Args              []string
	Account           string       // empty: an existing service keeps its own
	Password          token.Secret // of that account, where it has one
	Start             StartType    // empty: an existing service keeps its own
}

// ServiceFacts is a service as its manager knows it.
type ServiceFacts struct {
	State   ServiceState
	PID     uint32
	Win32   uint32      // why it ended, in the system's words: 1066 means that Code says it
	Code    ServiceCode // why it ended, in ours
	Account string
	Start   StartType

	Command string
}

// ServiceSetting is one thing about a service that is set after it was made, by
// itself: where one is refused, the service works without it.
type ServiceSetting string

// The settings, as people read them.
const (
	SettingDelayed     ServiceSetting = "delayed start"
	SettingRecovery    ServiceSetting = "recovery actions"
	SettingFailures    ServiceSetting = "recovery after a failure without a crash"
	SettingSID         ServiceSetting = "service SID"
	SettingDescription ServiceSetting = "description"
	SettingPreShutdown ServiceSetting = "time to stop at a shutdown"
)

// ServiceTuning is one setting and its value.
type ServiceTuning struct {
	Setting  ServiceSetting
	On       bool            // of delayed start, recovery after failures, service SID
	Text     string          // of the description
	Restarts []time.Duration // of recovery: the waits before the first, second and every further start
	Time     time.Duration   // of recovery: after which the count begins anew; of the shutdown
}

// ServiceOrder is what a manager can do with a service that is there.
type ServiceOrder string

// The orders. Start and stop only begin it; see StartService and StopService.
const (
	OrderStart  ServiceOrder = "start"
	OrderStop   ServiceOrder = "stop"
	OrderDelete ServiceOrder = "delete"
)

// ServiceManager is the system's manager of services. Its errors are
// *ManagerError.
type ServiceManager interface {
	// Look finds a service.
	Look(name string) (ServiceFacts, error)
	// Put makes a service, or changes the one of that name.
	Put(spec ServiceSpec) (made bool, err error)
	// Tune changes one setting.
	Tune(name string, t ServiceTuning) error
	// Order gives an order.
	Order(name string, o ServiceOrder) error
}

// ManagerError is what a service manager answered.
type ManagerError struct {
	Op   string // "start the service"
	Name string // of the service
	Code uint32 // the system's number
	Err  error  // the system's words
}

// The numbers that somebody decides by (winerror.h).
const (
	CodeAccessDenied  = 5
	CodeNotSupported  = 124 // ERROR_INVALID_LEVEL: the manager knows no such setting
	CodeRunning       = 1056
	CodeBadAccount    = 1057
	CodeDisabled      = 1058
	CodeNoService     = 1060
	CodeNotActive     = 1062
	CodeSpecific      = 1066 // ERROR_SERVICE_SPECIFIC_ERROR
	CodeLogonFailed   = 1069
	CodeMarkedForGone = 1072
)

// Error is the operation and what to do.
func (e *ManagerError) Error() string {
	remedies := map[uint32]string{
		CodeAccessDenied:  "it needs an administrator; open the terminal with \"Run as administrator\" and try again",
		CodeNotSupported:  "this Windows does not know it; the service works without it",
		CodeBadAccount:    "the account does not exist, or its password is wrong; write DOMAIN\\user, or .\\user for an account of this machine",
		CodeDisabled:      "the service is disabled; enable it with: sc config " + e.Name + " start= auto",
		CodeNoService:     "the service is not installed; run: broker service install",
		CodeLogonFailed:   "its account could not log on; check the password, and that the account has the right to log on as a service",
		CodeMarkedForGone: "the service is being deleted; close the Services window and other programs that show it, and try again",
	}
	text := e.Op
	if remedy := remedies[e.Code]; remedy != "" {
		return text + ": " + remedy
	}
	return fmt.Sprintf("%s: %v (Windows error %d)", text, e.Err, e.Code)
}

// Unwrap gives the system's error.
func (e *ManagerError) Unwrap() error { return e.Err }

// serviceAsked is how often a service is looked at that starts or stops.
const serviceAsked = 200 * time.Millisecond

// StartService starts a service and waits until it runs, or has ended again. The
// error is the manager's, or that of ctx; a service that ended is no error: its
// facts say why. tell hears of each look.
func StartService(ctx context.Context, m ServiceManager, name string, tell func(ServiceFacts)) (ServiceFacts, error) {
	if err := m.Order(name, OrderStart); err != nil {
		return ServiceFacts{}, err
	}
	return awaitService(ctx, m, name, tell, func(f ServiceFacts) bool {
		return f.State == ServiceRunning || f.State == ServiceStopped
	})
}

// StopService stops a service and waits until it has ended.
func StopService(ctx context.Context, m ServiceManager, name string, tell func(ServiceFacts)) (ServiceFacts, error) {
	if err := m.Order(name, OrderStop); err != nil {
		return ServiceFacts{}, err
	}
	return awaitService(ctx, m, name, tell, func(f ServiceFacts) bool { return f.State == ServiceStopped })
}

func awaitService(ctx context.Context, m ServiceManager, name string, tell func(ServiceFacts), over func(ServiceFacts) bool) (ServiceFacts, error) {
	for {
		f, err := m.Look(name)
		if err != nil {
			return f, err
		}
		if over(f) {
			return f, nil
		}
		tell(f)
		select {
		case <-ctx.Done():
			return f, ctx.Err()
		case <-time.After(serviceAsked):
		}
	}
}

// IsLocalSystem reports whether the account of a service is the system's own.
func IsLocalSystem(account string) bool {
	switch strings.ToLower(account) {
	case "localsystem", `.\localsystem`, `nt authority\system`, "system", "s-1-5-18":
		return true
	default:
		return false
	}
}

// HasPassword reports whether an account logs on with a password: the system's
// own, the virtual accounts of services and group-managed accounts (which end in
// a dollar sign) have none that anybody knows.
func HasPassword(account string) bool {
	lower := strings.ToLower(account)
	for _, of := range []string{`nt service\`, `nt authority\`} {
		if strings.HasPrefix(lower, of) {
			return false
		}
	}
	return lower != "" && !IsLocalSystem(account) && !strings.HasSuffix(account, "$")
}
