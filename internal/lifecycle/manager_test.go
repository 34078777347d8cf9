package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowManager has one service that takes its time.
type slowManager struct {
	ServiceManager
	state  ServiceState
	until  time.Time
	then   ServiceFacts
	denied uint32
}

func (m *slowManager) Order(name string, _ ServiceOrder) error {
	if m.denied != 0 {
		return &ManagerError{Op: "start the service", Name: name, Code: m.denied, Err: errors.New("no")}
	}
	m.until = time.Now().Add(3 * time.Second)
	return nil
}

func (m *slowManager) Look(string) (ServiceFacts, error) {
	if time.Now().Before(m.until) {
		return ServiceFacts{State: m.state}, nil
	}
	return m.then, nil
}

func TestStartService(t *testing.T) {
	for name, then := range map[string]ServiceFacts{
		"it runs":           {State: ServiceRunning, PID: 7},
		"it has ended":      {State: ServiceStopped, Win32: CodeSpecific, Code: 2},
		"it never gets far": {State: ServiceStarting},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			told := 0
			f, err := StartService(ctx, &slowManager{state: ServiceStarting, then: then}, "s", func(ServiceFacts) { told++ })
			if f != then || (err != nil) != (then.State == ServiceStarting) || told == 0 {
				t.Errorf("%s: %+v %v, told %d times", name, f, err, told)
			}
		})
	}
}

func TestStopService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f, err := StopService(t.Context(), &slowManager{state: ServiceStopping, then: ServiceFacts{State: ServiceStopped}}, "s", func(ServiceFacts) {})
		if f.State != ServiceStopped || err != nil || time.Since(began) > 4*time.Second {
			t.Errorf("%+v %v after %v", f, err, time.Since(began))
		}
	})
}

// What the manager refuses comes with what to do.
func TestManagerError(t *testing.T) {
	for code, want := range map[uint32]string{
		CodeAccessDenied: "Run as administrator", CodeNoService: "broker service install", CodeDisabled: "sc config x start= auto",
		CodeLogonFailed: "log on as a service", 1234: "no (Windows error 1234)",
	} {
		_, err := StartService(t.Context(), &slowManager{denied: code}, "x", nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestAccounts(t *testing.T) {
	for account, want := range map[string]struct{ system, password bool }{
		"LocalSystem": {true, false}, `NT AUTHORITY\SYSTEM`: {true, false}, `NT AUTHORITY\LocalService`: {},
		`NT SERVICE\M365TokenBroker`: {}, `CONTOSO\gmsa$`: {}, "": {},
		`CONTOSO\svc-mail`: {false, true}, `.\svc`: {false, true}, "svc@contoso.example": {false, true},
	} {
		if IsLocalSystem(account) != want.system || HasPassword(account) != want.password {
			t.Errorf("%s: LocalSystem %v, password %v", account, IsLocalSystem(account), HasPassword(account))
		}
	}
}
