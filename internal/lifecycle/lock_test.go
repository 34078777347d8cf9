package lifecycle

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// envHold makes the test binary hold the lock of its working directory until its
// standard input ends; envAbort makes it wait for signals.
const (
	envHold  = "LIFECYCLE_TEST_HOLD"
	envAbort = "LIFECYCLE_TEST_SIGNALS"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envHold) != "":
		os.Exit(hold())
	case os.Getenv(envAbort) != "":
		os.Exit(waitForSignals())
	}
	os.Exit(m.Run())
}

func hold() int {
	lock, err := Lock(context.Background(), ".", Info{Listen: "127.0.0.1:8477", Version: "1.2.3"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := lock.Release(); err != nil {
		return 1
	}
	return 0
}

// holder starts another process that holds the lock of dir.
func holder(t *testing.T, dir string) (cmd *exec.Cmd, stdin io.Closer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), envHold+"=1")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "locked" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd, in
}

func TestLockBetweenProcesses(t *testing.T) {
	dir := t.TempDir()
	if _, ok := Holder(dir); ok {
		t.Error("an empty directory has a holder")
	}
	if _, err := os.Stat(filepath.Join(dir, lockFile)); err == nil {
		t.Error("Holder left a file")
	}
	cmd, stdin := holder(t, dir)
	_, err := Lock(t.Context(), dir, Info{})
	locked, ok := errors.AsType[*LockedError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if locked.Holder.PID != cmd.Process.Pid {
		t.Errorf("holder %+v, want pid %d", locked.Holder, cmd.Process.Pid)
	}
	for _, want := range []string{fmt.Sprintf("another broker (pid %d, since 2", cmd.Process.Pid), ", on 127.0.0.1:8477) uses this state directory; stop it or choose another --state-dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	info, ok := Holder(dir)
	if !ok || info.PID != cmd.Process.Pid || info.Listen != "127.0.0.1:8477" || info.Version != "1.2.3" || time.Since(info.StartedOn) > time.Minute {
		t.Errorf("Holder: %+v, %v", info, ok)
	}
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, ok := Holder(dir); ok {
		t.Error("the holder is gone, and Holder finds it")
	}
	if _, err := os.Stat(filepath.Join(dir, infoFile)); err == nil {
		t.Error("the holder left its info")
	}
}

func TestKilledHolderFreesTheLock(t *testing.T) {
	dir := t.TempDir()
	cmd, stdin := holder(t, dir)
	defer func() { _ = stdin.Close() }()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := os.Stat(filepath.Join(dir, infoFile)); err != nil {
		t.Errorf("a killed process cannot have removed its info: %v", err)
	}
	if info, ok := Holder(dir); ok {
		t.Errorf("stale info is believed: %+v", info)
	}
	lock, err := Lock(t.Context(), dir, Info{})
	if err != nil {
		t.Fatal(err)
	}
	if info, ok := Holder(dir); !ok || info.PID != os.Getpid() || info.Listen != "" {
		t.Errorf("Holder: %+v, %v", info, ok)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestUpdateAndRelease(t *testing.T) {
	dir := t.TempDir()
	started := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	lock, err := Lock(t.Context(), dir, Info{Version: "1", StartedOn: started, PID: 42})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Update(Info{Listen: "127.0.0.1:9"}); err != nil {
		t.Fatal(err)
	}
	got, _ := Holder(dir)
	if diff := cmp.Diff(Info{PID: 42, Listen: "127.0.0.1:9", StartedOn: started, Version: "1"}, got); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(lock.Release(), lock.Release()); err != nil {
		t.Error(err)
	}
	if lock, err = Lock(t.Context(), dir, Info{}); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, infoFile)) // a person cleaned up
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

// A command that looks for the holder again and again must not make a starting
// broker believe that another one runs.
func TestLookingDoesNotDisturb(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	var lookers sync.WaitGroup
	for range 2 {
		lookers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					Holder(dir)
				}
			}
		})
	}
	for range 30 {
		lock, err := Lock(t.Context(), dir, Info{})
		if err != nil {
			t.Error(err)
			break
		}
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
	}
	close(done)
	lookers.Wait()
}

func TestLockErrors(t *testing.T) {
	if _, err := Lock(t.Context(), filepath.Join(t.TempDir(), "missing"), Info{}); err == nil || !strings.Contains(err.Error(), "check that") {
		t.Errorf("got %v", err)
	}
	unknown := (&LockedError{Dir: "/s"}).Error()
	if want := "/s: another broker uses this state directory; stop it or choose another --state-dir"; unknown != want {
		t.Errorf("got %q", unknown)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, t.TempDir(), Info{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestInfoIsPlainJSON(t *testing.T) {
	raw, err := json.Marshal(Info{PID: 1, Listen: "l", StartedOn: time.Unix(0, 0).UTC(), Version: "v"})
	if want := `{"pid":1,"listen":"l","started_on":"1970-01-01T00:00:00Z","version":"v"}`; err != nil || string(raw) != want {
		t.Errorf("got %s, %v", raw, err)
	}
}

// A broker that was killed while it wrote leaves nothing for good.
func TestLockSweepsWhatAKillLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".broker.json.123", ".admin.key.456", ".other.7", ".other", "kept"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := Lock(t.Context(), dir, Info{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Release() }()
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{".other", "broker.json", "broker.lock", "kept"}, names); diff != "" {
		t.Error(diff)
	}
}
