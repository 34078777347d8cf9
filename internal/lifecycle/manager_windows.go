package lifecycle

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

// NewServiceManager is the Service Control Manager of this machine. It asks for
// no more rights than each call needs, so that everybody can look.
func NewServiceManager() ServiceManager { return scm{} }

type scm struct{}

// with calls do with the manager.
func with(op, name string, access uint32, do func(manager windows.Handle) error) error {
	manager, err := windows.OpenSCManager(nil, nil, access)
	if err == nil {
		defer func() { _ = windows.CloseServiceHandle(manager) }()
		err = do(manager)
	}
	if err == nil {
		return nil
	}
	code, _ := errors.AsType[windows.Errno](err)
	return &ManagerError{Op: op, Name: name, Code: uint32(code), Err: err}
}

// service calls do with a service that is there.
func service(op, name string, access uint32, do func(s *mgr.Service) error) error {
	return with(op, name, windows.SC_MANAGER_CONNECT, func(manager windows.Handle) error {
		return opened(manager, name, access, do)
	})
}

func opened(manager windows.Handle, name string, access uint32, do func(s *mgr.Service) error) error {
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	h, err := windows.OpenService(manager, wide, access)
	if err != nil {
		return err
	}
	s := &mgr.Service{Name: name, Handle: h}
	defer func() { _ = s.Close() }()
	return do(s)
}

// Look implements ServiceManager.
func (scm) Look(name string) (f ServiceFacts, err error) {
	err = service("look at the service", name, windows.SERVICE_QUERY_STATUS|windows.SERVICE_QUERY_CONFIG, func(s *mgr.Service) error {
		status, err := s.Query()
		if err != nil {
			return err
		}
		f.State, f.PID = stateOf(status.State), status.ProcessId
		f.Win32, f.Code = status.Win32ExitCode, ServiceCode(status.ServiceSpecificExitCode)
		return lookAtConfig(s.Handle, &f)
	})
	return f, err
}

// lookAtConfig reads what has been there since Windows NT. Delayed start is
// asked for by itself, as not every manager knows it.
func lookAtConfig(h windows.Handle, f *ServiceFacts) error {
	size := uint32(8 << 10) // what the call takes at most
	buf := make([]byte, size)
	c := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buf[0])) //nolint:gosec // the call fills the buffer with this structure
	if err := windows.QueryServiceConfig(h, c, size, &size); err != nil {
		return err
	}
	f.Account, f.Command = windows.UTF16PtrToString(c.ServiceStartName), windows.UTF16PtrToString(c.BinaryPathName)
	switch c.StartType {
	case windows.SERVICE_AUTO_START:
		f.Start = StartAuto
	case windows.SERVICE_DISABLED:
		f.Start = StartDisabled
	default:
		f.Start = StartManual
	}
	var delayed windows.SERVICE_DELAYED_AUTO_START_INFO
	size = uint32(unsafe.Sizeof(delayed))
	err := windows.QueryServiceConfig2(h, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, (*byte)(unsafe.Pointer(&delayed)), size, &size) //nolint:gosec // as above
	if err == nil && delayed.IsDelayedAutoStartUp != 0 && f.Start == StartAuto {
		f.Start = StartDelayed
	}
	return nil
}

func stateOf(s svc.State) ServiceState {
	switch s {
	case svc.Stopped:
		return ServiceStopped
	case svc.StartPending:
		return ServiceStarting
	case svc.Running:
		return ServiceRunning
	case svc.StopPending:
		return ServiceStopping
	default:
		return ServiceOther
	}
}

// Put implements ServiceManager.
func (scm) Put(spec ServiceSpec) (made bool, err error) {
	command := windows.ComposeCommandLine(append([]string{spec.Program}, spec.Args...))
	c := mgr.Config{
		ServiceType: windows.SERVICE_WIN32_OWN_PROCESS, ErrorControl: mgr.ErrorNormal, StartType: startOf(spec.Start),
		DisplayName: spec.DisplayName, ServiceStartName: spec.Account, Password: spec.Password.Reveal(),
	}
	err = with("install the service", spec.Name, windows.SC_MANAGER_CONNECT|windows.SC_MANAGER_CREATE_SERVICE, func(manager windows.Handle) error {
		err := opened(manager, spec.Name, windows.SERVICE_CHANGE_CONFIG, func(s *mgr.Service) error {
			return change(s.Handle, command, c)
		})
		if !errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
			return err
		}
		if spec.Start == "" {
			c.StartType = windows.SERVICE_AUTO_START
		}
		s, err := (&mgr.Mgr{Handle: manager}).CreateService(spec.Name, spec.Program, c, spec.Args...)
		if err != nil {
			return err
		}
		made = true
		return s.Close()
	})
	return made, err
}

// change is mgr.Service.UpdateConfig without the settings that Tune sets, and
// which must not be in the way of each other.
func change(h windows.Handle, command string, c mgr.Config) error {
	var wide [4]*uint16 // nil keeps what is there
	for i, text := range []string{command, c.ServiceStartName, c.Password, c.DisplayName} {
		if text == "" {
			continue
		}
		var err error
		if wide[i], err = windows.UTF16PtrFromString(text); err != nil {
			return err
		}
	}
	return windows.ChangeServiceConfig(h, c.ServiceType, c.StartType, c.ErrorControl, wide[0], nil, nil, nil, wide[1], wide[2], wide[3])
}

func startOf(t StartType) uint32 {
	switch t {
	case StartAuto, StartDelayed:
		return windows.SERVICE_AUTO_START
	case StartManual:
		return windows.SERVICE_DEMAND_START
	case StartDisabled:
		return windows.SERVICE_DISABLED
	default:
		return windows.SERVICE_NO_CHANGE
	}
}

// Tune implements ServiceManager.
func (scm) Tune(name string, t ServiceTuning) error {
	access := uint32(windows.SERVICE_CHANGE_CONFIG)
	if t.Setting == SettingRecovery || t.Setting == SettingFailures {
		access |= windows.SERVICE_START // who can restart it
	}
	return service("set "+string(t.Setting), name, access, func(s *mgr.Service) error { return tune(s, t) })
}

func tune(s *mgr.Service, t ServiceTuning) error {
	set := func(level uint32, info unsafe.Pointer) error {
		return windows.ChangeServiceConfig2(s.Handle, level, (*byte)(info))
	}
	var on uint32
	if t.On {
		on = 1
	}
	switch t.Setting {
	case SettingDelayed:
		return set(windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, unsafe.Pointer(&windows.SERVICE_DELAYED_AUTO_START_INFO{IsDelayedAutoStartUp: on})) //nolint:gosec // the structure of this level
	case SettingRecovery:
		var actions []mgr.RecoveryAction
		for _, wait := range t.Restarts {
			actions = append(actions, mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: wait})
		}
		return s.SetRecoveryActions(actions, uint32(t.Time.Seconds()))
	case SettingFailures:
		return s.SetRecoveryActionsOnNonCrashFailures(t.On)
	case SettingSID:
		return set(windows.SERVICE_CONFIG_SERVICE_SID_INFO, unsafe.Pointer(&on)) //nolint:gosec // SERVICE_SID_TYPE_UNRESTRICTED is 1
	case SettingDescription:
		text, err := windows.UTF16PtrFromString(t.Text)
		if err != nil {
			return err
		}
		return set(windows.SERVICE_CONFIG_DESCRIPTION, unsafe.Pointer(&windows.SERVICE_DESCRIPTION{Description: text})) //nolint:gosec // the structure of this level
	case SettingPreShutdown:
		ms := uint32(t.Time.Milliseconds())
		return set(windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, unsafe.Pointer(&ms)) //nolint:gosec // SERVICE_PRESHUTDOWN_INFO is one DWORD
	default:
		return windows.ERROR_INVALID_LEVEL
	}
}

// Order implements ServiceManager.
func (scm) Order(name string, o ServiceOrder) error {
	access := map[ServiceOrder]uint32{OrderStart: windows.SERVICE_START, OrderStop: windows.SERVICE_STOP, OrderDelete: windows.DELETE}
	return service(string(o)+" the service", name, access[o], func(s *mgr.Service) error {
		switch o {
		case OrderStart:
			return s.Start()
		case OrderStop:
			_, err := s.Control(svc.Stop)
			return err
		default:
			return s.Delete()
		}
	})
}
