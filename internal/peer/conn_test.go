package peer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// play is what the test binary does when a test starts it.
func play(role, network, address string) error {
	switch role {
	case "dial": // connects, and waits for the end
		conn, err := dialLocal(network, address)
		if err != nil {
			return err
		}
		_, _ = bufio.NewReader(conn).ReadByte()
		return nil
	case "parent": // starts one that connects
		self, err := os.Executable()
		if err != nil {
			return err
		}
		child := exec.Command(self)
		child.Env = append(os.Environ(), "PEER_TEST_ROLE=dial")
		return child.Run()
	default:
		return playHere(role, network, address)
	}
}

// start runs the test binary in a role, to connect to l.
func start(t *testing.T, role string, l net.Listener) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, self, role, l)
}

func startProgram(t *testing.T, program, role string, l net.Listener) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "PEER_TEST_ROLE="+role, "PEER_TEST_NETWORK="+l.Addr().Network(), "PEER_TEST_ADDRESS="+l.Addr().String())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// listeners are those of this system whose connections can be asked for.
func listeners(t testing.TB) map[string]net.Listener {
	t.Helper()
	all := map[string]net.Listener{"tcp": listen(t, "127.0.0.1:0")}
	if l := listenLocal(t); l != nil {
		all[l.Addr().Network()] = l
	}
	return all
}

// taken is a connection that a test can also write to.
type taken struct {
	*Conn
	conn net.Conn
}

func take(t *testing.T, l net.Listener, digests *Digests) taken {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return taken{NewConn(conn, digests), conn}
}

func rootOf(t *testing.T, pid int) Root {
	t.Helper()
	r, err := RootOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hashOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// TestConn: all that is told of a child of ours, while it lives and afterwards.
func TestConn(t *testing.T) {
	if !known() {
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range listeners(t) {
		t.Run(name, func(t *testing.T) {
			child := start(t, "dial", l)
			c := take(t, l, nil)
			p, err := c.Process(t.Context())
			if err != nil || p.PID != child.Process.Pid || p.Start == 0 {
				t.Fatalf("%+v, %v; want process %d", p, err, child.Process.Pid)
			}
			isUs(t, p)
			if sum, err := c.SHA256(t.Context()); err != nil || sum != hashOf(t, self) {
				t.Errorf("digest %q, %v", sum, err)
			}
			for root, want := range map[Root]bool{
				rootOf(t, child.Process.Pid): true,
				rootOf(t, os.Getpid()):       true,
				{PID: os.Getpid(), Start: 1}: false, // somebody who had our ID before
				{PID: 1 << 30, Start: 1}:     false,
			} {
				if got, err := c.DescendsFrom(t.Context(), root); err != nil || got != want {
					t.Errorf("descends from %+v: %v, %v", root, got, err)
				}
			}
			if err := c.Confirm(t.Context()); err != nil {
				t.Errorf("confirm: %v", err)
			}
			_ = child.Process.Kill()
			_ = child.Wait()
			if err := c.Confirm(t.Context()); !errors.Is(err, ErrUnknown) {
				t.Errorf("confirm after its end: %v", err)
			}
			if again, err := c.Process(t.Context()); err != nil || again != p {
				t.Errorf("the first answer has gone: %+v, %v", again, err)
			}
		})
	}
}

// TestGrandchild: a program that a program of ours started.
func TestGrandchild(t *testing.T) {
	if !known() {
		return
	}
	for name, l := range listeners(t) {
		t.Run(name, func(t *testing.T) {
			child := start(t, "parent", l)
			c := take(t, l, nil)
			if p, err := c.Process(t.Context()); err != nil || p.PID == child.Process.Pid {
				t.Fatalf("%+v, %v", p, err)
			}
			for _, pid := range []int{child.Process.Pid, os.Getpid()} {
				if got, err := c.DescendsFrom(t.Context(), rootOf(t, pid)); err != nil || !got {
					t.Errorf("descends from %d: %v, %v", pid, got, err)
				}
			}
		})
	}
}

// TestLaterProcess: a process that began after the connection was accepted has an
// ID that was given anew.
func TestLaterProcess(t *testing.T) {
	if !known() {
		return
	}
	l := listen(t, "127.0.0.1:0")
	start(t, "dial", l)
	c := take(t, l, nil)
	c.since = 1
	if p, err := c.Process(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("%+v, %v", p, err)
	}
	c.since = clock()
	if _, err := c.Process(t.Context()); err != nil {
		t.Errorf("a bad answer was kept: %v", err)
	}
}

// TestUnknownConn: connections that nobody can tell anything about.
func TestUnknownConn(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := NewConn(here, nil)
	_, err := c.Process(t.Context())
	_, err2 := c.SHA256(t.Context())
	_, err3 := c.DescendsFrom(t.Context(), Root{PID: 1})
	for _, err := range []error{err, err2, err3, c.Confirm(t.Context())} {
		if !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.turn <- struct{}{} // somebody asks
	if _, err := c.Process(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestManyAsk: requests of one connection ask at the same time.
func TestManyAsk(t *testing.T) {
	if !known() {
		return
	}
	l := listen(t, "127.0.0.1:0")
	child := start(t, "dial", l)
	c := take(t, l, NewDigests())
	root := rootOf(t, os.Getpid())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			p, err := c.Process(t.Context())
			if err != nil || p.PID != child.Process.Pid {
				t.Errorf("%+v, %v", p, err)
			}
			if err := c.Confirm(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := c.SHA256(t.Context()); err != nil {
				t.Error(err)
			}
			if ok, err := c.DescendsFrom(t.Context(), root); err != nil || !ok {
				t.Error(ok, err)
			}
		})
	}
	wg.Wait()
}

func TestRootOf(t *testing.T) {
	for _, pid := range []int{-1, 0, 1 << 30} {
		if r, err := RootOf(pid); !errors.Is(err, ErrUnknown) {
			t.Errorf("%d: %+v, %v", pid, r, err)
		}
	}
	if !known() {
		return
	}
	if r := rootOf(t, os.Getpid()); r.PID != os.Getpid() || r.Start == 0 || r.Start > clock() {
		t.Errorf("%+v, and it is %d", r, clock())
	}
}

// TestAncestors: the way up, with the tables that a system may show.
func TestAncestors(t *testing.T) {
	for _, tt := range []struct {
		name string
		up   map[Root]Root
		want int
	}{
		{"alone", nil, 1},
		{"two above", map[Root]Root{{5, 50}: {4, 40}, {4, 40}: {3, 30}}, 3},
		{"began at one tick", map[Root]Root{{5, 50}: {4, 50}}, 2},
		{"the parent has ended and its ID is another's", map[Root]Root{{5, 50}: {4, 60}}, 1},
		{"a ring", map[Root]Root{{5, 50}: {4, 50}, {4, 50}: {5, 50}}, maxAncestors},
		{"its own parent", map[Root]Root{{5, 50}: {5, 50}}, 1},
	} {
		got := ancestors(Root{5, 50}, func(r Root) (Root, bool) { p, ok := tt.up[r]; return p, ok })
		if len(got) != tt.want || got[0] != (Root{5, 50}) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// program writes a file that was last changed some time ago.
func program(t *testing.T, text string, age time.Duration) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDigests(t *testing.T) {
	if !known() {
		return
	}
	d := NewDigests()
	f := program(t, strings.Repeat("a", 3*chunk+1), 0)
	for range 2 { // it was just changed, so nothing is kept
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if sum, err := d.sum(t.Context(), f.Name(), f); err != nil || sum != hashOf(t, f.Name()) || len(d.known) != 0 {
			t.Errorf("%q, %v, %d kept", sum, err, len(d.known))
		}
	}
	state, err := stateOf(f)
	if err != nil {
		t.Fatal(err)
	}
	d.remember(named{f.Name(), state}, "kept")
	if sum, err := d.sum(t.Context(), f.Name(), f); err != nil || sum != "kept" {
		t.Errorf("%q, %v", sum, err)
	}
	for i := range int64(maxDigests + 10) {
		d.remember(named{fileState: fileState{size: i}}, "")
	}
	if len(d.known) > maxDigests {
		t.Errorf("%d digests are kept", len(d.known))
	}
	// A change is seen, though the length stays.
	if err := os.WriteFile(f.Name(), []byte(strings.Repeat("b", 3*chunk+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if now, err := stateOf(f); err != nil || now == state {
		t.Errorf("%+v as before, %v", now, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewDigests().sum(ctx, f.Name(), f); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	f.Close()
	if _, err := d.sum(t.Context(), f.Name(), f); err == nil {
		t.Error("a closed file")
	}
}

// The cost of what a request of a tied consumer asks for.
func BenchmarkConn(b *testing.B) {
	for name, l := range listeners(b) {
		b.Run(name, func(b *testing.B) { benchmarkConn(b, l) })
	}
}

func benchmarkConn(b *testing.B, l net.Listener) {
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Accept()
		accepted <- conn
	}()
	client, err := dialLocal(l.Addr().Network(), l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	conn := <-accepted
	defer conn.Close()
	c := NewConn(conn, nil)
	for _, bench := range []struct {
		name string
		run  func() error
	}{
		{"new", func() error { NewConn(conn, c.digests); return nil }},
		{"first", func() error { _, err := NewConn(conn, nil).Process(b.Context()); return err }},
		{"again", func() error { _, err := c.Process(b.Context()); return err }},
		{"confirm", func() error { return c.Confirm(b.Context()) }},
		{"ancestors", func() error { c.chain = nil; _, err := c.DescendsFrom(b.Context(), Root{}); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if err := bench.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
