//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// executed is `broker exec` as a process of its own, around a program that asks
// for a token whenever it is told to.
type executed struct {
	t      *testing.T
	w      *world
	cmd    *exec.Cmd
	tell   io.WriteCloser
	hears  *bufio.Scanner
	stderr *lockedText
}

// execute starts it in the world, with the rights for graph.
func (w *world) execute(args ...string) *executed {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	e := &executed{t: w.t, w: w, cmd: exec.Command(self), stderr: &lockedText{}}
	e.cmd.Args = append(w.flags("broker", "exec", "--resource", "graph"), args...)
	e.cmd.Args = append(e.cmd.Args, "--", "consumer", "ask")
	e.cmd.Env = withoutSettings(os.Environ())
	// Pipes of the system, so that Wait waits for broker exec and not for the
	// program that may outlive it.
	in, tell, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	hears, out, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	errs, log, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = in, out, log
	if err := e.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	for _, f := range []*os.File{in, out, log} {
		f.Close()
	}
	go func() { _, _ = io.Copy(e.stderr, errs) }()
	e.tell, e.hears = tell, bufio.NewScanner(hears)
	w.t.Cleanup(func() { tell.Close(); hears.Close(); _ = e.cmd.Process.Kill(); _ = e.cmd.Wait() })
	return e
}

var statusOf = regexp.MustCompile(`^status=(\d+)`)

// ask lets the program ask, and gives the status of the answer, or "none".
func (e *executed) ask() string {
	e.t.Helper()
	if _, err := io.WriteString(e.tell, "go\n"); err != nil {
		e.t.Fatal(err)
	}
	if !e.hears.Scan() {
		e.t.Fatalf("the program has ended; broker exec said: %s", e.stderr)
	}
	if m := statusOf.FindStringSubmatch(e.hears.Text()); m != nil {
		return m[1]
	}
	return e.hears.Text()
}

// works waits until the key is leased again, and tries it.
func (e *executed) works(when string) {
	e.t.Helper()
	e.w.eventually("the key is leased "+when, func() bool { return len(e.w.leases()) == 1 })
	if got := e.ask(); got != "200" {
		e.t.Errorf("%s: %s", when, got)
	}
}

// freePort is an address that nobody listens on, below the ports that systems
// give out by themselves, so that it is free a second time too.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// leases are the consumers that live in memory only.
func (w *world) leases() []httpapi.Consumer {
	w.t.Helper()
	var list httpapi.ConsumerList
	w.call(w.admin, "GET", "/v1/consumers", "").into(&list)
	var out []httpapi.Consumer
	for _, c := range list.Consumers {
		if !c.LeaseEndsAt.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

// The key of a command works again after the broker was stopped and started,
// and after it was killed; the command notices nothing but the gap.
func TestExecOutlivesItsBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{yaml: "listen: " + freePort(t) + "\n"})
	w.ready()
	e := w.execute()
	if got := e.ask(); got != "200" {
		t.Fatalf("before: %s", got)
	}
	name := w.leases()[0].Name
	w.restart()
	e.works("after a restart")
	w.stop()
	l := begin(t, w)
	defer func() { l.kill() }()
	l.await(w)
	e.works("at the next broker")
	l.kill()
	if got := e.ask(); got != "none" {
		t.Errorf("without a broker: %s", got)
	}
	w.client.CloseIdleConnections()
	w.start()
	e.works("after a kill")
	if got := w.leases(); len(got) != 1 || got[0].Name != name {
		t.Errorf("leases %+v, want the one of %s", got, name)
	}
	e.tell.Close() // the program ends
	if err := e.cmd.Wait(); err != nil {
		t.Errorf("broker exec ended with %v: %s", err, e.stderr)
	}
	if got := w.leases(); len(got) != 0 || e.stderr.Len() != 0 {
		t.Errorf("leases %+v; broker exec said %q", got, e.stderr)
	}
}

// Where broker exec is killed, its command goes on and its key ends with the
// lease.
func TestAKilledExecLetsItsLeaseRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ready()
	e := w.execute("--lease", "5s")
	if got := e.ask(); got != "200" {
		t.Fatalf("before: %s", got)
	}
	began := time.Now()
	if err := e.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = e.cmd.Wait()
	w.eventually("the key ends", func() bool { return e.ask() == "401" })
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it ended after %v", took)
	}
	if got := w.leases(); len(got) != 0 {
		t.Errorf("leases %+v", got)
	}
	if strings.Contains(w.log.String(), "brk_") {
		t.Error("the log has a key")
	}
}
