package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/ews"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/notify"
)

// hostedBroker is the broker as a service, under a manager that a test plays.
type hostedBroker struct {
	*serviceHost
	requests chan lifecycle.ServiceRequest
	states   chan lifecycle.ServiceState
	ended    chan error
	events   []int
	texts    []string
}

func newHostedBroker(t *testing.T, yaml string, set ...string) *hostedBroker {
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	env := environment{getenv: func(string) string { return "" }, stdout: io.Discard, stderr: io.Discard, exit: func(int) {}}
	h := &hostedBroker{requests: make(chan lifecycle.ServiceRequest), states: make(chan lifecycle.ServiceState, 100), ended: make(chan error, 1)}
	h.serviceHost = newServiceHost(options{env: env, config: file, stateDir: filepath.Join(dir, "state"), set: set})
	h.tell = func(e notify.Event) error {
		h.events, h.texts = append(h.events, e.ID), append(h.texts, e.Text+" "+e.Action)
		return nil
	}
	t.Cleanup(func() {
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{}) // Windows removes no file that is open
		_ = h.file.Close()
	})
	return h
}

func (h *hostedBroker) begin(t *testing.T) {
	go func() {
		h.ended <- h.service().Host(context.WithoutCancel(t.Context()), h.requests, func(s lifecycle.ServiceStatus) {
			select {
			case h.states <- s.State:
			default:
			}
		})
	}()
}

const hostedYAML = `tenant: 11111111-2222-3333-4444-555555555555
client_id: 66666666-7777-8888-9999-000000000000
authority: https://127.0.0.1:1
listen: 127.0.0.1:0
store: memory
`

// serving waits until it serves.
func (h *hostedBroker) serving(t *testing.T) {
	t.Helper()
	h.begin(t)
	for state := lifecycle.ServiceStarting; state != lifecycle.ServiceRunning; {
		select {
		case state = <-h.states:
		case err := <-h.ended:
			t.Fatalf("it ended before it ran: %v", err)
		}
	}
}

func TestServiceRuns(t *testing.T) {
	h := newHostedBroker(t, hostedYAML)
	h.serving(t)
	p := h.parts.Load()
	res, err := http.Get("http://" + p.listener.Addr().String() + "/livez")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", res, err)
	}
	_ = res.Body.Close()
	h.requests <- lifecycle.ServiceRequest{Control: lifecycle.ControlPower, Event: 18}
	h.requests <- lifecycle.ServiceRequest{Control: lifecycle.ControlSession, Event: 5}
	began := time.Now()
	h.requests <- lifecycle.ServiceRequest{Control: lifecycle.ControlStop}
	if err := <-h.ended; err != nil || time.Since(began) > lifecycle.DefaultStopTimeout {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	log, err := os.ReadFile(h.file.Path)
	for _, want := range []string{`"msg":"serving"`, "the computer resumed from sleep", "somebody logged on", `"control":"stop"`, `"msg":"stopped"`} {
		if err != nil || !bytes.Contains(log, []byte(want)) {
			t.Errorf("no %s in the log: %v\n%s", want, err, log)
		}
	}
	if !slices.Equal(h.events, []int{notify.IDServiceStarted, notify.IDServiceStopped}) {
		t.Errorf("events %v", h.events)
	}
}

// A service that is told to stop ends well, whatever it could not write at the end:
// Windows starts one again that ends with a code.
func TestServiceStopsForGood(t *testing.T) {
	h := newHostedBroker(t, hostedYAML)
	h.serving(t)
	if err := os.Mkdir(filepath.Join(h.places.StateDir, ews.FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	h.requests <- lifecycle.ServiceRequest{Control: lifecycle.ControlStop}
	if err := <-h.ended; err != nil {
		t.Errorf("code %d: %v", codeOf(err), err)
	}
	if lines := strings.Join(lifecycle.Tail(h.file.Path, 10), "\n"); !strings.Contains(lines, "keep the counts of Exchange Web Services") {
		t.Errorf("the log says %s", lines)
	}
	if !slices.Equal(h.events, []int{notify.IDServiceStarted, notify.IDServiceStopped}) {
		t.Errorf("events %v %q", h.events, h.texts)
	}
	told, tell := context.WithCancel(t.Context())
	tell()
	stuck := errors.Join(io.ErrShortWrite, &lifecycle.StuckError{})
	if h.asTold(told, io.ErrShortWrite) != nil || h.asTold(told, stuck) == nil || h.asTold(t.Context(), io.ErrShortWrite) == nil {
		t.Error("a part that hangs, and an end that nobody asked for, have a code")
	}
}

// What keeps a service from starting is in its log, in the event log, and in the code.
func TestServiceDoesNotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tt := range map[string]struct {
		yaml string
		set  []string
		want lifecycle.ServiceCode
	}{
		"unknown key":   {hostedYAML + "bogus: 1\n", nil, codeConfig},
		"no tenant":     {"store: memory\n", nil, codeConfig},
		"port in use":   {hostedYAML, []string{"listen=" + taken.Addr().String()}, codeAddress},
		"second broker": {hostedYAML, nil, codeLocked},
		"open to all":   {hostedYAML, nil, codeRights},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostedBroker(t, tt.yaml, tt.set...)
			switch tt.want {
			case codeLocked:
				if err := lifecycle.EnsureStateDir(h.places.StateDir); err != nil {
					t.Fatal(err)
				}
				lock, err := lifecycle.Lock(t.Context(), h.places.StateDir, lifecycle.Info{})
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Release()
			case codeRights:
				openToAll(t, h.places.StateDir)
			}
			h.begin(t)
			err := <-h.ended
			if got := codeOf(err); got != tt.want {
				t.Errorf("code %d, want %d: %v", got, tt.want, err)
			}
			if !slices.Equal(h.events, []int{notify.IDServiceFailed}) || !strings.Contains(h.texts[0], causeOf(tt.want).remedy) {
				t.Errorf("events %v %q", h.events, h.texts)
			}
			if lines := strings.Join(lifecycle.Tail(h.file.Path, 10), "\n"); !strings.Contains(lines, "the service ends") {
				t.Errorf("the log says %s", lines)
			}
		})
	}
}

// openToAll makes a state directory whose admin key others can read, which holds
// under Wine, too: the directory may say nothing there.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	if err := lifecycle.EnsureStateDir(dir); err != nil {
		t.Fatal(err)
	}
	lock, err := lifecycle.Lock(t.Context(), dir, lifecycle.Info{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = lifecycle.AdminKey(dir)
	if err = errors.Join(err, lock.Release()); err != nil {
		t.Fatal(err)
	}
	letEverybodyRead(t, lifecycle.AdminKeyPath(dir))
}

// A command does not take the place of a service that does not run.
func TestServiceIsAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := lifecycle.EnsureStateDir(dir); err != nil {
		t.Fatal(err)
	}
	_, err := ofService(dir)
	if err == nil || !strings.Contains(err.Error(), "broker service start") || exitCode(err) != exitFailed {
		t.Error(err)
	}
}
