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
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// instance is one broker with a state directory of its own.
type instance struct {
	*process
	program string
	dir     string
	listen  string
	env     []string
	http    *http.Client
}

// newInstance writes the configuration; start starts it.
func newInstance(ctx context.Context, program, dir string, s *sandbox.Sandbox, env ...string) (*instance, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &instance{
		program: program,
		dir:     dir,
		listen:  l.Addr().String(),
		env:     env,
		http:    &http.Client{Timeout: time.Minute},
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, s.CAPEM(), 0o600); err != nil {
		return nil, err
	}
	config := s.ConfigYAML(ca) + "listen: " + i.listen + "\nstore: file\n"
	return i, os.WriteFile(filepath.Join(dir, "broker.yaml"), []byte(config), 0o600)
}

// start starts the process without waiting for it to answer.
func (i *instance) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(i.dir, "broker.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(ctx, i.program, "serve",
		"--config", filepath.Join(i.dir, "broker.yaml"), "--state-dir", filepath.Join(i.dir, "state"))
	cmd.Stdout, cmd.Stderr = log, log
	for _, kv := range os.Environ() { // nothing of ours may reach it
		if !strings.HasPrefix(kv, "OTEL_") && !strings.HasPrefix(kv, "BROKER_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, i.env...)
	i.process = &process{cmd: cmd, address: i.listen}
	return cmd.Start()
}

// stop ends the process and waits for it.
func (i *instance) stop() {
	if i != nil {
		i.process.stop()
		i.process = nil
	}
}

// ready waits until the broker answers.
func (i *instance) ready(ctx context.Context) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if i.call(ctx, http.MethodGet, "/livez", nil, nil) == nil {
			return nil
		}
	}
	text, _ := os.ReadFile(filepath.Join(i.dir, "broker.log"))
	return fmt.Errorf("the broker does not answer:\n%s", text)
}

// key is the admin key.
func (i *instance) key() string {
	text, _ := os.ReadFile(filepath.Join(i.dir, "state", "admin.key"))
	return strings.TrimSpace(string(text))
}

// call speaks to the API as the administrator; out is filled from the answer,
// or gets it as it is where it is a *[]byte.
func (i *instance) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+i.listen+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+i.key())
	res, err := i.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, answer)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = answer
		return nil
	}
	return json.Unmarshal(answer, out)
}

// signIn signs a user of the sandbox in by device code.
func (i *instance) signIn(ctx context.Context, s *sandbox.Sandbox, user string) error {
	var signIn struct {
		ID, State string
		UserCode  string `json:"user_code"`
	}
	err := i.call(ctx, http.MethodPost, "/v1/signins", map[string]string{"account": user, "flow": "device"}, &signIn)
	if err != nil {
		return err
	}
	if err := s.Approve(signIn.UserCode, user); err != nil {
		return err
	}
	for range 3 {
		if err := i.call(ctx, http.MethodGet, "/v1/signins/"+signIn.ID+"?wait=30", nil, &signIn); err != nil {
			return err
		}
		if signIn.State != "pending" {
			break
		}
	}
	if signIn.State != "succeeded" {
		return errors.New("the sign-in of " + user + " is " + signIn.State)
	}
	return nil
}

// consumer makes a consumer and gives its key.
func (i *instance) consumer(ctx context.Context, user string) (string, error) {
	var made struct{ Key string }
	err := i.call(ctx, http.MethodPost, "/v1/consumers",
		map[string]any{"name": "load", "accounts": []string{user}, "resources": []string{"graph"}}, &made)
	return made.Key, err
}

// token is an access token for Graph.
func (i *instance) token(ctx context.Context, user string) (string, error) {
	var t struct {
		Token string `json:"access_token"`
	}
	err := i.call(ctx, http.MethodGet, "/v1/token?resource=graph&account="+user, nil, &t)
	return t.Token, err
}
