package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"
)

// The words that make this test program a service: Windows starts it with them.
const (
	playsService = "plays-service"
	playServes   = "serves"
	playFails    = "fails"
	playHangs    = "hangs"
)

// TestServiceProcess is the service, where the service manager started this
// program; by itself it shows that nobody else can.
func TestServiceProcess(t *testing.T) {
	i := slices.Index(os.Args, playsService)
	if i < 0 {
		err := RunAsService(t.Context(), "M365TokenBrokerNone", &Service{Log: slog.New(slog.DiscardHandler)})
		if _, ok := errors.AsType[*NotAServiceError](err); !ok {
			t.Errorf("started by hand: %v", err)
		}
		return
	}
	name, play := os.Args[i+1], os.Args[i+2]
	err := RunAsService(context.Background(), name, &Service{
		Log: slog.New(slog.DiscardHandler), StopTimeout: time.Second,
		Code: func(err error) ServiceCode {
			if _, stuck := errors.AsType[*StuckError](err); stuck {
				return 7
			}
			if err != nil {
				return 42
			}
			return 0
		},
		Run: func(ctx context.Context, ready func()) error {
			switch play {
			case playFails:
				return errors.New("it fails")
			case playHangs:
				ready()
				select {}
			default:
				ready()
				<-ctx.Done()
				return ctx.Err()
			}
		},
	})
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// testService makes a service of this program that is gone after the test.
func testService(t *testing.T, play string) (ServiceManager, string) {
	t.Helper()
	m, name := NewServiceManager(), fmt.Sprintf("M365TokenBrokerTest%d%s", os.Getpid(), play)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec := ServiceSpec{
		Name: name, DisplayName: name, Program: self, Start: StartManual,
		Args: []string{"-test.run=^TestServiceProcess$", "--", playsService, name, play},
	}
	made, err := m.Put(spec)
	if e, ok := errors.AsType[*ManagerError](err); ok && e.Code == CodeAccessDenied {
		t.Skip("only an administrator can make a service")
	}
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	t.Cleanup(func() {
		_ = m.Order(name, OrderStop)
		_ = m.Order(name, OrderDelete)
	})
	return m, name
}

// patient bounds a start or stop.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func quietly(ServiceFacts) {}

// The real manager answers as scripted ones do.
func TestRealServiceManager(t *testing.T) {
	m, name := testService(t, playServes)
	wantCode := func(err error, want uint32) {
		t.Helper()
		if e, ok := errors.AsType[*ManagerError](err); !ok || e.Code != want {
			t.Errorf("%v, want Windows error %d", err, want)
		}
	}
	f, err := m.Look(name)
	if err != nil || f.State != ServiceStopped || f.Start != StartManual || f.Account == "" || f.Command == "" {
		t.Errorf("%+v %v", f, err)
	}
	wantCode(m.Order(name, OrderStop), CodeNotActive)
	for _, tuning := range []ServiceTuning{
		{Setting: SettingDescription, Text: "a test"},
		{Setting: SettingRecovery, Restarts: []time.Duration{time.Second}, Time: time.Hour},
		{Setting: SettingFailures, On: true},
		{Setting: SettingSID, On: true},
		{Setting: SettingPreShutdown, Time: time.Second},
		{Setting: SettingDelayed, On: true},
	} {
		err := m.Tune(name, tuning)
		if e, ok := errors.AsType[*ManagerError](err); ok && e.Code == CodeNotSupported {
			t.Logf("not known here: %s", tuning.Setting)
		} else if err != nil {
			t.Error(err)
		}
	}
	if f, err = StartService(patient(t), m, name, quietly); err != nil || f.State != ServiceRunning || f.PID == 0 {
		t.Fatalf("%+v %v", f, err)
	}
	_, err = StartService(patient(t), m, name, quietly)
	wantCode(err, CodeRunning)
	if f, err = StopService(patient(t), m, name, quietly); err != nil || f.State != ServiceStopped || f.Win32 != 0 {
		t.Errorf("%+v %v", f, err)
	}
	if made, err := m.Put(ServiceSpec{Name: name, Program: "x.exe", Start: StartAuto}); made || err != nil {
		t.Errorf("changed: made %v, %v", made, err)
	}
	if f, err = m.Look(name); err != nil || f.Start == StartManual || f.Command != "x.exe" {
		t.Errorf("%+v %v", f, err)
	}
	if err := m.Order(name, OrderDelete); err != nil {
		t.Error(err)
	}
	_, err = m.Look(name)
	wantCode(err, CodeNoService)
}

// A service that fails ends with its own code.
func TestRealServiceFails(t *testing.T) {
	m, name := testService(t, playFails)
	f, err := StartService(patient(t), m, name, quietly)
	if err != nil || f.State != ServiceStopped || f.Win32 != CodeSpecific || f.Code != 42 {
		t.Errorf("%+v %v", f, err)
	}
}

// A service that hangs is stopped all the same, in time.
func TestRealServiceHangs(t *testing.T) {
	m, name := testService(t, playHangs)
	if f, err := StartService(patient(t), m, name, quietly); err != nil || f.State != ServiceRunning {
		t.Fatalf("%+v %v", f, err)
	}
	began := time.Now()
	f, err := StopService(patient(t), m, name, quietly)
	if err != nil || f.State != ServiceStopped || f.Code != 7 || time.Since(began) > 10*time.Second {
		t.Errorf("%+v %v after %v", f, err, time.Since(began))
	}
}
