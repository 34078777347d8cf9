package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// broker runs the program under test: `serve` in the background, and single
// commands beside it.
type broker struct {
	argv   []string // how to start the program
	wine   bool
	config string // as the program sees the path; empty: it knows where its files are
	state  string // as this program sees it
	store  string
	listen string
	log    string
	flags  []string // more of `serve`

	// One process under test: what serves, and the connections to it.
	serving *exec.Cmd
	done    chan struct{} // closed when serving has ended, with end as its result
	end     error
	web     *http.Client
}

// newBroker writes the configuration.
func newBroker(ctx context.Context, o options, a *authority, dir string) (*broker, error) {
	listen, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	b := &broker{
		argv:   []string{o.broker},
		wine:   o.wine,
		state:  filepath.Join(dir, "state"),
		store:  o.store,
		listen: listen,
		log:    filepath.Join(dir, "broker.log"),
	}
	if o.wine {
		b.argv = []string{"wine", o.broker}
	}
	config := fmt.Sprintf(`listen: %s
tenant: %s
client_id: %s
authority: '%s'
ca_file: '%s'
store: %s
accounts:
  ops: {username: %s}
telemetry: {log_level: debug}
`, listen, a.tenant, a.clientID, a.url, b.path(a.caFile), o.store, a.user)
	file := filepath.Join(dir, "broker.yaml")
	b.config = b.path(file)
	return b, os.WriteFile(file, []byte(config), 0o600)
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// path is how the program spells a path of this machine.
func (b *broker) path(name string) string {
	if b.wine {
		return windowsPath(name)
	}
	return name
}

// windowsPath is a path of this machine as programs under Wine spell it.
func windowsPath(name string) string { return "Z:" + strings.ReplaceAll(name, "/", `\`) }

func (b *broker) command(ctx context.Context, args ...string) *exec.Cmd {
	args = slices.Concat(b.argv[1:], args)
	if b.config != "" {
		args = append(args, "--config", b.config, "--state-dir", b.path(b.state))
	}
	return exec.CommandContext(ctx, b.argv[0], args...)
}

// serve starts the broker and waits until it answers.
func (b *broker) serve(ctx context.Context) error {
	log, err := os.OpenFile(b.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	b.serving = b.command(ctx, append([]string{"serve"}, b.flags...)...)
	b.serving.Stdout, b.serving.Stderr = log, log
	if err := b.serving.Start(); err != nil {
		return err
	}
	b.done = make(chan struct{})
	go func() {
		b.end = b.serving.Wait()
		close(b.done)
	}()
	b.web = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	return b.answers(ctx, 30*time.Second)
}

// answers waits until the process that was started answers.
func (b *broker) answers(ctx context.Context, patience time.Duration) error {
	last := errors.New("it was not asked")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case <-b.done:
			return fmt.Errorf("serve ended at once: %w", b.ended())
		default:
		}
		if _, last = b.call(ctx, http.MethodGet, "/livez", nil); last == nil {
			return nil
		}
	}
	return fmt.Errorf("serve does not answer on /livez; the last error: %w", last)
}

// ended waits for the end of the process. Its connections end with it, which is
// not left to the operating system: where Wine 8 kills a process between the
// send_socket of a response and the set_async_direct_result that follows,
// wineserver keeps that connection open, and a request on it waits for ever.
func (b *broker) ended() error {
	<-b.done
	b.serving = nil
	b.web.CloseIdleConnections()
	return b.end
}

// kill ends the broker as a power cut would.
func (b *broker) kill() {
	if b.serving != nil {
		_ = b.serving.Process.Kill()
		_ = b.ended()
	}
}

// stop asks the broker to end, as Ctrl-C does, and waits for it.
func (b *broker) stop() error {
	if err := b.serving.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.ended()
	case <-time.After(15 * time.Second):
		b.kill()
		return errors.New("the broker did not end within 15 s of an interrupt")
	}
}

// letGo is how long a process that has ended waits for its output to be let go.
const letGo = 2 * time.Second

// run runs one command to its end and gives its output and its exit code. Wine's
// console host may hold on to the output behind it.
func (b *broker) run(ctx context.Context, args ...string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := b.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, letGo
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() >= 0 {
		return stdout.String() + stderr.String(), e.ExitCode(), nil
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", 0, fmt.Errorf("broker %s: %w\n%s", args[0], err, &stderr)
	}
	return stdout.String(), 0, nil
}

// must is run for commands that have to succeed.
func (b *broker) must(ctx context.Context, args ...string) (string, error) {
	out, code, err := b.run(ctx, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("broker %s ended with %d:\n%s", strings.Join(args, " "), code, out)
	}
	return strings.TrimSpace(out), err
}

// call speaks to the API with the admin key.
func (b *broker) call(ctx context.Context, method, path string, body any) (map[string]any, error) {
	status, m, err := b.ask(ctx, method, path, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %v", method, path, status, m)
	}
	return m, err
}

// ask is call for answers of any status.
func (b *broker) ask(ctx context.Context, method, path string, body any) (status int, answer map[string]any, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.listen+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key, err := os.ReadFile(filepath.Join(b.state, "admin.key")); err == nil {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	}
	res, err := b.web.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return 0, nil, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, nil, fmt.Errorf("%s %s: %s %s", method, path, res.Status, text)
	}
	return res.StatusCode, answer, nil
}

// logTail is the end of the broker's log. It is printed before the error that it
// belongs to: who sees no more than the last lines of a run sees the error.
func (b *broker) logTail() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	return string(text[max(0, len(text)-most):])
}
