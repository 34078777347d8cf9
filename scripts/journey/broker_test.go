package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestMain lets this program stand in for a broker's process, which a test kills, or
// which leaves one behind.
func TestMain(m *testing.M) {
	switch os.Getenv("JOURNEY_STAND_IN") {
	case "":
		os.Exit(m.Run())
	case "leave":
		left := exec.Command(os.Args[0])
		left.Env, left.Stdout = append(os.Environ(), "JOURNEY_STAND_IN=yes"), os.Stdout
		if err := left.Start(); err != nil {
			panic(err)
		}
		fmt.Println(left.Process.Pid)
		os.Exit(0)
	}
	<-time.After(time.Minute)
	os.Exit(1)
}

// A process that stays behind a command with its output does not hold the command up.
func TestRunDoesNotWaitForWhatIsLeft(t *testing.T) {
	t.Setenv("JOURNEY_STAND_IN", "leave")
	b := &broker{argv: []string{os.Args[0]}}
	out, code, err := b.run(t.Context())
	if err != nil || code != 0 {
		t.Fatalf("%q, %d, %v", out, code, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.FindProcess(pid)
	if err == nil {
		err = left.Kill() // an error where it had ended before
	}
	if err != nil {
		t.Error(err)
	}
}

// A connection to the killed process may stay open and silent; the next process
// must not be asked over it.
func TestKillEndsConnections(t *testing.T) {
	t.Setenv("JOURNEY_STAND_IN", "yes")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var life, accepted atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			go answerIn(&life, conn)
		}
	}()
	t.Cleanup(func() { _ = l.Close() })

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := &broker{argv: []string{exe}, state: dir, listen: l.Addr().String(), log: dir + "/log"}
	t.Cleanup(b.kill)
	for range 2 {
		life.Add(1)
		if err := b.serve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.call(t.Context(), http.MethodGet, "/livez", nil); err != nil {
			t.Fatal(err)
		}
		b.kill()
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections for two processes, want one each", n)
	}
}

// answerIn answers on a connection while the life in which it began lasts; then
// it reads and says nothing.
func answerIn(life *atomic.Int32, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	began := life.Load()
	for in := bufio.NewReader(conn); ; {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_ = req.Body.Close()
		if life.Load() == began {
			_, _ = fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	}
}

func TestAnswersNamesTheLastError(t *testing.T) {
	address, err := freeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{listen: address, done: make(chan struct{}), web: http.DefaultClient}
	err = b.answers(t.Context(), 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "dial tcp "+address) {
		t.Errorf("err = %v, want it to name the refused connection", err)
	}
}
