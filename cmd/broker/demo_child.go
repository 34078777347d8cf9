package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// child is a broker that runs as a process of its own.
type child struct {
	cmd    *exec.Cmd
	ended  chan error
	log    bytes.Buffer // read it only after ended
	listen string
	admin  *api
}

// startChild starts `broker serve` from this very binary and waits until it
// listens.
func startChild(ctx context.Context, configFile, dir string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	state, ready := filepath.Join(dir, "state"), filepath.Join(dir, "ready")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the old ready file: %w", err)
	}
	c := &child{ended: make(chan error, 1)}
	c.cmd = exec.CommandContext(ctx, self, "serve", "--config", configFile, "--state-dir", state, "--ready-file", ready, "--key-in-file") //nolint:gosec // our own binary
	c.cmd.Env = withoutSettings(os.Environ())
	c.cmd.Stderr = &c.log
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	if err := c.await(ctx, ready); err != nil {
		c.kill()
		return nil, err
	}
	key, err := lifecycle.ReadAdminKey(state)
	if err != nil {
		return nil, err
	}
	c.admin = &api{http: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}, base: "http://" + c.listen, key: key}
	return c, nil
}

// await waits for the ready file.
func (c *child) await(ctx context.Context, ready string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if data, err := os.ReadFile(ready); err == nil {
			c.listen = strings.TrimSpace(string(data))
			return nil
		}
		select {
		case err := <-c.ended:
			c.ended <- err
			return fmt.Errorf("the broker did not start (%w):\n%s", err, c.log.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// kill ends the broker as a power cut would, and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	err := <-c.ended
	c.ended <- err
}

// stop ends the broker in good order where the platform has a way to ask for it.
func (c *child) stop(ctx context.Context) error {
	if runtime.GOOS == "windows" { // has no such signal for a process without a console
		c.kill()
		return nil
	}
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the broker: %w", err)
	}
	select {
	case err := <-c.ended:
		c.ended <- err
		if err != nil {
			return fmt.Errorf("the broker ended badly (%w):\n%s", err, c.log.String())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withoutSettings is the environment without our own variables, so that the
// settings of the person's real broker do not reach the demo.
func withoutSettings(environ []string) []string {
	var out []string
	for _, kv := range environ {
		if name := strings.ToUpper(kv); !strings.HasPrefix(name, "BROKER_") && !strings.HasPrefix(name, "OTEL_") {
			out = append(out, kv)
		}
	}
	return out
}
