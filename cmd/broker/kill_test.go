//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// killedRotations is how many rotations the test is about.
const killedRotations = 200

// life is one process of `broker serve`.
type life struct {
	cmd *exec.Cmd
	log bytes.Buffer // read it only after kill
}

// begin starts the broker as a process of its own: this very binary, under the
// name by which TestMain knows the program.
func begin(t *testing.T, w *world) *life {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(w.path("ready"))
	l := &life{cmd: exec.Command(self)}
	l.cmd.Args = w.flags("broker", "serve", "--key-in-file", "--ready-file", w.path("ready"))
	l.cmd.Env = withoutSettings(os.Environ())
	l.cmd.Stderr = &l.log
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// await waits until the broker listens.
func (l *life) await(w *world) {
	w.t.Helper()
	w.eventually("the broker listens", func() bool { _, err := os.Stat(w.path("ready")); return err == nil })
	w.base = "http://" + strings.TrimSpace(w.read("ready"))
}

// kill ends the process as a power cut would, and gives its log.
func (l *life) kill() string {
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait()
	return l.log.String()
}

// Kills at random points, between and in the middle of 200 rotations: the
// sign-in is never lost, its record is always readable, and nothing piles up.
//
// The authority is one that, as Entra, does not revoke a refresh token on use.
// At one that does, a kill between its answer and our write costs the sign-in,
// whatever we do: only the authority knows the token that would go on.
func TestKillsLoseNoSignIn(t *testing.T) {
	t.Parallel()
	resources := []string{"graph", "ews"}
	var yaml strings.Builder
	for i := range 12 {
		resources = append(resources, fmt.Sprintf("r%02d", i))
		fmt.Fprintf(&yaml, "  r%02d: {scopes: [\"https://graph.microsoft.com/.default\"]}\n", i)
	}
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{}, yaml: yaml.String()})
	w.ready()
	w.call(w.admin, http.MethodDelete, "/v1/consumers/app", "")
	w.key = w.admin
	w.stop()
	lives := 0
	for ; w.sb.Stats().Redemptions < killedRotations; lives++ {
		if lives > killedRotations {
			t.Fatalf("%d rotations in %d lives", w.sb.Stats().Redemptions, lives)
		}
		l := begin(t, w)
		if lives%5 == 4 { // killed while it starts
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			l.kill()
			continue
		}
		l.await(w)
		if a := w.try(w.key, http.MethodGet, "/v1/token?resource=graph", ""); a.err != nil || a.status != http.StatusOK {
			t.Fatalf("life %d has no token: %d %s %v\n%s", lives, a.status, a.body, a.err, l.kill())
		}
		w.rotateUntilKilled(l, resources)
		if text := l.log.String(); strings.Contains(text, "cannot be read") || strings.Contains(text, "damaged") {
			t.Fatalf("life %d could not read its record:\n%s", lives, text)
		}
		w.client.CloseIdleConnections()
	}
	w.start()
	w.token("ews")
	w.eventually("the last rotation is stored", func() bool { return w.account(alice).Persisted })
	if got := w.sb.Stats().SignIns; got != 1 {
		t.Errorf("%d sign-ins, want the first only", got)
	}
	w.checkNothingPiledUp()
	t.Logf("%d rotations in %d lives", w.sb.Stats().Redemptions, lives)
}

// rotateUntilKilled asks for a token of every resource, which rotates the refresh
// token each time, and kills the broker somewhere on the way.
func (w *world) rotateUntilKilled(l *life, resources []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, i := range rand.Perm(len(resources)) {
		group.Go(func() {
			if ctx.Err() == nil {
				w.try(w.key, http.MethodGet, "/v1/token?resource="+resources[i], "") // the kill may cut it off
			}
		})
	}
	enough := w.sb.Stats().Redemptions + rand.IntN(8)
	w.eventually("some rotations", func() bool { return w.sb.Stats().Redemptions >= enough })
	time.Sleep(time.Duration(rand.IntN(5_000)) * time.Microsecond)
	l.kill()
	cancel()
	group.Wait()
}

// A token file that a killed broker left behind is replaced by the next one, and
// removed where its consumer is gone.
func TestKillsLeaveNoTokenFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ready()
	kept, gone := filepath.Join(t.TempDir(), "kept"), filepath.Join(t.TempDir(), "gone")
	for _, path := range []string{kept, gone} {
		w.addFile(filepath.Base(path), path, "raw")
	}
	w.stop()
	l := begin(t, w)
	defer func() { l.kill() }()
	l.await(w)
	w.fileHolds("of the first life", kept, w.token("graph").AccessToken+"\n")
	w.fileHolds("of the first life", gone, w.token("graph").AccessToken+"\n")
	l.kill()
	w.client.CloseIdleConnections()
	if _, err := os.Stat(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.path("conf/conf.d/gone.yaml")); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.fileHolds("of the second life", kept, w.token("graph").AccessToken+"\n")
	w.fileHolds("of nobody", gone, "")
}

// SIGTERM while a caller waits for a slow authority: the caller is answered, the
// process ends well within its ten seconds, and the rotated refresh token, the
// only one that this authority still takes, is in the store.
func TestSIGTERMFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{RevokeUsed: true, Latency: 400 * time.Millisecond}})
	w.ready()
	w.stop()
	l := begin(t, w)
	defer l.kill()
	l.await(w)
	inFlight := make(chan answer, 1)
	go func() { inFlight <- w.try(w.key, http.MethodGet, "/v1/token?resource=graph", "") }()
	w.eventually("the redemption starts", func() bool { return w.redemptions() == 1 })
	began := time.Now()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := <-inFlight; a.err != nil || a.status != http.StatusOK {
		t.Errorf("the caller got %d %s %v", a.status, a.body, a.err)
	}
	if err := l.cmd.Wait(); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("the broker ended after %v with %v:\n%s", time.Since(began), err, l.log.String())
	}
	if _, err := os.Stat(w.path("state/broker.json")); err == nil {
		t.Error("the stopped broker still says where it listens")
	}
	w.start()
	w.token("graph")
	if got := w.sb.Stats(); got.SignIns != 1 || got.Redemptions != 2 {
		t.Errorf("%d sign-ins, %d redemptions", got.SignIns, got.Redemptions)
	}
}

// ownFiles are those that a state directory has while the broker runs.
var ownFiles = regexp.MustCompile(`^(admin\.key|broker\.lock|broker\.json|ews-usage\.json|secrets/(record-account-[0-9a-f]+\.[ab]|store\.key|auto|\.lock))$`)

// checkNothingPiledUp looks for what a kill may leave behind.
func (w *world) checkNothingPiledUp() {
	w.t.Helper()
	var left []string
	for _, pattern := range []string{"*", ".*", "secrets/*", "secrets/.*"} {
		found, err := filepath.Glob(w.path("state/" + pattern))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, path := range found {
			name, _ := filepath.Rel(w.path("state"), path)
			if info, err := os.Stat(path); err == nil && !info.IsDir() && !ownFiles.MatchString(filepath.ToSlash(name)) {
				left = append(left, name)
			}
		}
	}
	if len(left) > 0 {
		w.t.Errorf("%d files are left behind: %v", len(left), left)
	}
}
