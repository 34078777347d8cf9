package notify

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain makes the test binary the command of the tests below:
//
//	note FILE    writes its environment and its standard input there
//	exit N       ends with that code, without reading
//	hang ADDRESS starts a child that hangs on a connection, and hangs itself
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || strings.HasPrefix(os.Args[1], "-") {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "note":
		in, _ := io.ReadAll(os.Stdin)
		_ = os.WriteFile(os.Args[2], []byte(strings.Join(os.Environ(), "\n")+"\n\n"+string(in)), 0o600)
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "hang":
		_ = exec.Command(os.Args[0], "connect", os.Args[2]).Run()
	case "connect":
		conn, err := net.Dial("tcp", os.Args[2])
		if err != nil {
			os.Exit(1)
		}
		_, _ = bufio.NewReader(conn).ReadByte()
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRealCommand: a program gets the event and no secret of ours.
func TestRealCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "noted")
	n, err := New(Config{
		Sinks: Sinks{Command: []string{self(t), "note", file}}, Log: slog.New(slog.DiscardHandler), Host: "BOX",
		Environ: append(os.Environ(), "BROKER_KEY=CANARY", "OTEL_EXPORTER_OTLP_HEADERS=CANARY"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := n.command.current()
	if f := n.command.attempt(t.Context(), c, event("k1")); f != nil {
		t.Fatal(f.text)
	}
	noted, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	environ, stdin, _ := strings.Cut(string(noted), "\n\n")
	if stdin != wantBody {
		t.Errorf("stdin %q", stdin)
	}
	lines := strings.Split(environ, "\n")
	for _, want := range []string{"BROKER_EVENT_ID=320", `BROKER_EVENT_ACTION=Log on as DOM\svc-archive on BOX and sign in to Outlook.`} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in %q", want, lines)
		}
	}
	if strings.Contains(environ, "CANARY") {
		t.Errorf("environment %q", lines)
	}
}

func TestExitCode(t *testing.T) {
	for _, code := range []int{0, 3} {
		in := invocation{argv: []string{self(t), "exit", strconv.Itoa(code)}, env: passed(os.Environ(), true), stdin: make([]byte, 1<<20)}
		if got, err := runCommand(t.Context(), in); err != nil || got != code {
			t.Errorf("exit %d, %v; want %d", got, err, code)
		}
	}
}

// TestKillsTree: when the time is over, a child of the command ends too.
func TestKillsTree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := runCommand(ctx, invocation{argv: []string{self(t), "hang", l.Addr().String()}, env: passed(os.Environ(), true)})
		done <- err
	}()
	conn, err := l.Accept() // the child runs
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the child lives on: %v", err)
	}
}

// TestDoesNotStart: the reason in words, without the path.
func TestDoesNotStart(t *testing.T) {
	none := filepath.Join(t.TempDir(), "CANARY")
	_, err := runCommand(t.Context(), invocation{argv: []string{none}, env: []string{"A=b"}})
	start, ok := errors.AsType[*startError](err)
	if !ok || start.Error() != "the program does not exist" {
		t.Errorf("got %v", err)
	}
	if got := reasonOf(&fs.PathError{Op: "fork/exec", Path: none, Err: fs.ErrPermission}); got.Error() != "the broker's user may not run it" {
		t.Errorf("got %v", got)
	}
	if got := reasonOf(&fs.PathError{Op: "fork/exec", Path: none, Err: errors.New("exec format error")}); got.Error() != "exec format error" {
		t.Errorf("got %v", got)
	}
}

// TestCommandPace: a start that fails is tried once more; a command that ran is
// not run again, whatever became of it.
func TestCommandPace(t *testing.T) {
	fail := func(int, context.Context) (int, error) {
		return 0, &startError{errors.New("the program does not exist")}
	}
	hang := func(_ int, ctx context.Context) (int, error) { <-ctx.Done(); return -1, ctx.Err() }
	for _, tt := range []struct {
		name string
		exit func(int, context.Context) (int, error)
		runs int
		log  string
	}{
		{"start", fail, 2, "level=ERROR sink=command The command could not be started: the program does not exist."},
		{"exit", func(int, context.Context) (int, error) { return 7, nil }, 1, "level=ERROR sink=command exit code 7"},
		{"hangs", hang, 1, "level=ERROR sink=command did not end within 30s and was stopped"},
		{"odd", func(int, context.Context) (int, error) { return 0, errAway }, 1, "level=ERROR sink=command The command was stopped."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Sinks{Command: all().Command})
				w.exit = tt.exit
				stop := w.start()
				w.Notify(event("k1"))
				time.Sleep(time.Hour)
				stop()
				if len(w.ran()) != tt.runs {
					t.Errorf("%d runs", len(w.ran()))
				}
				w.wantLog(tt.log)
			})
		})
	}
}

// TestOneAtATime: a test event waits for the command that runs.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Sinks{Command: all().Command})
		running := 0
		w.exit = func(int, context.Context) (int, error) {
			running++
			if running > 1 {
				t.Error("two at a time")
			}
			time.Sleep(10 * time.Second)
			running--
			return 0, nil
		}
		stop := w.start()
		w.Notify(event("k1"))
		synctest.Wait()
		if got := w.Test(t.Context()); len(got) != 1 || !got[0].OK {
			t.Errorf("%+v", got)
		}
		w.Notify(event("k2"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := w.Test(ctx); got[0].OK {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Minute)
		stop()
	})
}

// TestPassed: the names, with Windows' indifference to case.
func TestPassed(t *testing.T) {
	environ := []string{"Path=a", "SystemRoot=b", "HOME=c", "TMPDIR=d", "BROKER_KEY=CANARY", "OTEL_X=CANARY", "AWS_SECRET_ACCESS_KEY=CANARY", "odd"}
	if got := passed(environ, true); !slices.Equal(got, []string{"Path=a", "SystemRoot=b", "HOME=c", "TMPDIR=d"}) {
		t.Errorf("%q", got)
	}
	if got := passed(environ, false); !slices.Equal(got, []string{"HOME=c", "TMPDIR=d"}) {
		t.Errorf("%q", got)
	}
}
