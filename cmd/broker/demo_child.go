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

// process is this very binary, run as a process of its own.
type process struct {
	cmd   *exec.Cmd
	ended chan error
	log   bytes.Buffer // read it only after ended
}

// startProcess starts this binary with args.
func startProcess(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	p := &process{ended: make(chan error, 1)}
	p.cmd = exec.CommandContext(ctx, self, args...) //nolint:gosec // our own binary
	p.cmd.Env = withoutSettings(os.Environ())
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start broker %s: %w", args[0], err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// alive is nil while the process runs, and then says how it ended.
func (p *process) alive() error {
	select {
	case err := <-p.ended:
		p.ended <- err
		return fmt.Errorf("broker %s ended by itself (%s):\n%s", p.cmd.Args[1], p.cmd.ProcessState, p.log.String())
	default:
		return nil
	}
}

// kill ends the process as a power cut would, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	err := <-p.ended
	p.ended <- err
}

// stop ends the process in good order where the platform has a way to ask for it.
func (p *process) stop(ctx context.Context) error {
	if runtime.GOOS == "windows" { // has no such signal for a process without a console
		p.kill()
		return nil
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop broker %s: %w", p.cmd.Args[1], err)
	}
	select {
	case err := <-p.ended:
		p.ended <- err
		if err != nil {
			return fmt.Errorf("broker %s ended badly (%w):\n%s", p.cmd.Args[1], err, p.log.String())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// child is a broker that runs as a process of its own.
type child struct {
	*process
	listen string
	admin  *api
}

// startChild starts `broker serve` with args and waits until it listens.
func startChild(ctx context.Context, dir string, args ...string) (*child, error) {
	state, ready := filepath.Join(dir, "state"), filepath.Join(dir, "ready")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the old ready file: %w", err)
	}
	p, err := startProcess(ctx, append([]string{"serve", "--state-dir", state, "--ready-file", ready, "--key-in-file"}, args...)...)
	if err != nil {
		return nil, err
	}
	c := &child{process: p}
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
		if err := c.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
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
