package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// The people of the sandbox: one who is signed in, and one who is not.
const (
	user     = "ops@contoso.com"
	userName = "Ops" // what Graph calls the user
	stranger = "bob@contoso.example"
)

// world is a sandbox, a broker that a person has signed in to, and a place to
// run clients in.
type world struct {
	dir, install string
	broker       string // the program
	url          string // of the broker
	ca           string // what clients must trust, as a file
	sandbox      *sandbox.Sandbox
	mail         *mailServer

	serving *exec.Cmd
	ended   chan error
}

func newWorld(ctx context.Context, broker, install, dir string) (*world, error) {
	sb, err := sandbox.Start(ctx, sandbox.Config{Users: []string{user}, Interval: time.Second})
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, sandbox: sb, ca: filepath.Join(dir, "ca.pem")}
	if err := w.prepare(ctx, broker, install); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// prepare starts everything and signs in.
func (w *world) prepare(ctx context.Context, broker, install string) (err error) {
	if err := w.sandbox.ApproveAll(user); err != nil {
		return err
	}
	if w.install, err = filepath.Abs(install); err != nil {
		return err
	}
	if w.broker, err = filepath.Abs(broker); err != nil {
		return err
	}
	if w.mail, err = startMail(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(w.ca, append(w.sandbox.CAPEM(), w.mail.caPEM...), 0o600); err != nil {
		return err
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	w.url = "http://" + listen
	for _, sub := range []string{"home", "home/Mail", "bin", "run"} {
		if err := os.Mkdir(filepath.Join(w.dir, sub), 0o700); err != nil {
			return err
		}
	}
	if err := os.Symlink(w.broker, filepath.Join(w.dir, "bin", "broker")); err != nil {
		return err
	}
	config := w.sandbox.ConfigYAML(w.ca) + "listen: " + listen + "\nstore: file\naccounts: {bob: {username: " + stranger + "}}\ntelemetry: {log_level: debug}\n"
	if err := os.WriteFile(filepath.Join(w.dir, "broker.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := w.serve(ctx); err != nil {
		return err
	}
	_, err = w.must(ctx, w.environ(), w.broker, "login", "--account", user)
	return err
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

// environ is the whole environment of what runs here: nothing of the caller's,
// and nothing about the broker but where a person has it.
func (w *world) environ(more ...string) []string {
	return append([]string{
		"PATH=" + filepath.Join(w.dir, "bin") + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=" + filepath.Join(w.dir, "home"),
		"LANG=C.UTF-8", "TERM=dumb",
		"BROKER_CONFIG=" + filepath.Join(w.dir, "broker.yaml"),
		"BROKER_STATE_DIR=" + filepath.Join(w.dir, "state"),
		// The sandbox's certificate, as every client knows it.
		"SSL_CERT_FILE=" + w.ca, "REQUESTS_CA_BUNDLE=" + w.ca, "NODE_EXTRA_CA_CERTS=" + w.ca, "CURL_CA_BUNDLE=" + w.ca,
	}, more...)
}

// serve starts the broker and waits until it answers.
func (w *world) serve(ctx context.Context, flags ...string) error {
	log, err := os.OpenFile(filepath.Join(w.dir, "broker.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(ctx, w.broker, append([]string{"serve"}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = w.environ(), log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	w.serving, w.ended = cmd, make(chan error, 1)
	go func() { w.ended <- cmd.Wait() }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-w.ended:
			w.serving = nil
			return fmt.Errorf("serve ended at once: %w\n%s", err, w.logTail())
		default:
		}
		if status, err := w.get(ctx, "/livez", ""); err == nil && status == http.StatusOK {
			return nil
		}
	}
	return errors.New("serve does not answer on /livez")
}

// stop ends the broker as Ctrl-C does.
func (w *world) stop() error {
	if w.serving == nil {
		return nil
	}
	if err := w.serving.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	defer func() { w.serving = nil }()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(15 * time.Second):
		_ = w.serving.Process.Kill()
		return errors.New("the broker did not end within 15 s of an interrupt")
	}
}

func (w *world) close() {
	_ = w.stop()
	if w.mail != nil {
		w.mail.close()
	}
	_ = w.sandbox.Close()
}

// get asks the broker with a key and gives the status.
func (w *world) get(ctx context.Context, path, key string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// command runs a program to its end: what it printed, and its exit code.
func (w *world) command(ctx context.Context, env []string, stdin string, argv ...string) (stdout, stderr string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, bad bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, filepath.Join(w.dir, "run"), strings.NewReader(stdin), &out, &bad
	err = cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); ended && ctx.Err() == nil {
		err = nil
	}
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	return out.String(), bad.String(), code, err
}

// must is command for what has to succeed.
func (w *world) must(ctx context.Context, env []string, argv ...string) (string, error) {
	stdout, stderr, code, err := w.command(ctx, env, "", argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, stdout, stderr)
	}
	return strings.TrimSpace(stdout), nil
}

// logTail is the end of the broker's log.
func (w *world) logTail() string {
	text, err := os.ReadFile(filepath.Join(w.dir, "broker.log"))
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	return string(text[max(0, len(text)-most):])
}
