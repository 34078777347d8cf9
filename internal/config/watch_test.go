package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// watching runs a Watcher on h and collects what it says. fsnotify needs the
// real clock; every wait here ends as soon as the thing has happened.
type watching struct {
	*Watcher
	t       *testing.T
	applied chan []Change
	refused chan error
	log     *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func watch(t *testing.T, l *Loaded) *watching {
	t.Helper()
	w := watchingOf(t, l)
	w.run()
	return w
}

func watchingOf(t *testing.T, l *Loaded) *watching {
	w := &watching{t: t, applied: make(chan []Change, 10), refused: make(chan error, 10), log: &syncBuffer{}}
	w.Watcher = NewWatcher(WatchConfig{
		Loaded: l,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
		Apply: func(_, after *Loaded, changes []Change) error {
			if after.Config.Store == StoreMemory {
				return errors.New("not this one")
			}
			w.applied <- changes
			return nil
		},
		Refused: func(err error) { w.refused <- err },
	})
	return w
}

func (w *watching) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

func next[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

func TestWatch(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	w := watch(t, h.load())

	// An editor that writes in place.
	h.write("broker.yaml", minimal+"telemetry: {log_level: debug}\n")
	if got := next(t, w.applied, "a change in place"); len(got) != 1 || got[0].Key != "telemetry.log_level" || got[0].Restart {
		t.Errorf("changes %v", got)
	}
	// An editor that replaces the file, with a change that needs a restart.
	h.write("broker.yaml~", minimal+"listen: 127.0.0.1:1\n")
	if err := os.Rename(h.path("broker.yaml~"), h.path("broker.yaml")); err != nil {
		t.Fatal(err)
	}
	if got := next(t, w.applied, "a replaced file"); len(got) != 2 || got[0].Key != "listen" || !got[0].Restart {
		t.Errorf("changes %v", got)
	}
	// conf.d did not exist at the start.
	h.write("conf.d/a.yaml", "accounts: {ops: {username: ops@contoso.com}}\n")
	if got := next(t, w.applied, "a new conf.d"); len(got) != 1 || got[0].String() != `accounts.ops.username: "" -> "ops@contoso.com"` {
		t.Errorf("changes %v", got)
	}
	// A file in it that comes later.
	h.write("conf.d/b.yaml", "accounts: {dev: {}}\nmapi: {a: {profile: x}}\n")
	next(t, w.applied, "a new drop-in")
	if err := os.Remove(h.path("conf.d/b.yaml")); err != nil {
		t.Fatal(err)
	}
	next(t, w.applied, "a removed drop-in")
	if log := w.log.String(); !strings.Contains(log, "restart_needed_for=[listen]") {
		t.Errorf("the log does not name what needs a restart:\n%s", log)
	}
}

// A change that was made while the broker started is not missed.
func TestWatchSeesWhatChangedBefore(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal, "conf.d/a.yaml": "accounts: {ops: {username: ops@contoso.com}}\n"})
	w := watchingOf(t, h.load())
	if err := os.Remove(h.path("conf.d/a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.run()
	if got := next(t, w.applied, "a change before"); len(got) != 1 || got[0].Key != "accounts.ops.username" {
		t.Errorf("changes %v", got)
	}
}

// What is worth a look since the settings were read again is told, once.
func TestWatchWarns(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	w := watchingOf(t, h.load())
	h.write("conf.d/a.yml", "accounts: {}\n")
	for range 2 {
		if err := w.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if log := w.log.String(); strings.Count(log, "a.yml: is not read; drop-ins end in .yaml") != 1 {
		t.Errorf("the log:\n%s", log)
	}
}

func TestWatchRefuses(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	w := watch(t, h.load())
	good := w.Current()

	h.write("broker.yaml", minimal+"tennant: x\n")
	if err := next(t, w.refused, "a refusal"); !strings.Contains(err.Error(), `tennant: unknown key; did you mean "tenant"?`) {
		t.Errorf("refused with %v", err)
	}
	h.write("broker.yaml", minimal+"store: memory\n")
	if err := next(t, w.refused, "a refusal by Apply"); err.Error() != "not this one" {
		t.Errorf("refused with %v", err)
	}
	// Complete before, incomplete now.
	h.write("broker.yaml", "store: auto\n")
	if err := next(t, w.refused, "a refusal of half a file"); !strings.Contains(err.Error(), "client_id: is not set") {
		t.Errorf("refused with %v", err)
	}
	if w.Current() != good {
		t.Error("the old settings are no longer in force")
	}
	// A good file ends it.
	h.write("broker.yaml", minimal)
	if err := next(t, w.refused, "the end of the refusal"); err != nil {
		t.Errorf("told again: %v", err)
	}
}

// TestWatchNewDirectory: the config directory itself appears later.
func TestWatchNewDirectory(t *testing.T) {
	h := newHome(t, nil)
	l, err := Load(Options{StateDir: h.dir, Environ: h.userEnv("BROKER_TENANT=contoso.com", "BROKER_CLIENT_ID="+appID)})
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, l)
	h.write("unrelated", "")
	h.write("m365-token-broker/broker.yaml", "telemetry: {log_level: debug}\n")
	if got := next(t, w.applied, "a new config directory"); got[0].New != "debug" {
		t.Errorf("changes %v", got)
	}
}

// The same fault is not told twice.
func TestWatchRefusesOnce(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	w := watchingOf(t, h.load())
	h.write("broker.yaml", minimal+"tennant: x\n")
	for range 2 {
		if err := w.take(t.Context()); err == nil {
			t.Error("a bad file is taken")
		}
	}
	if told := len(w.refused); told != 1 {
		t.Errorf("told %d times", told)
	}
}
