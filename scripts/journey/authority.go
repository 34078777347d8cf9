package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/m365-token-broker/broker/internal/sandbox"
)

// authority is what the broker signs in to.
type authority struct {
	url, caFile      string
	tenant, clientID string
	user             string

	// approve does what a person does with a page and a device code, or with a
	// page alone where the browser of this machine signs in.
	approve func(ctx context.Context, page, code string) error
	// signIns counts what the authority itself saw; nil where it cannot tell.
	signIns func() int
	close   func()
}

func startAuthority(ctx context.Context, o options, dir string) (*authority, error) {
	switch o.authority {
	case "sandbox":
		return startSandbox(ctx, dir)
	case "provider":
		return startProvider(ctx, o.node, dir)
	}
	return nil, fmt.Errorf("%q is neither sandbox nor provider", o.authority)
}

// startSandbox starts the project's own stand-in, which approves device codes by
// itself.
func startSandbox(ctx context.Context, dir string) (*authority, error) {
	const user = "ops@contoso.example"
	s, err := sandbox.Start(ctx, sandbox.Config{Users: []string{user}, Interval: time.Second})
	if err != nil {
		return nil, err
	}
	if err := s.ApproveAll(user); err != nil {
		_ = s.Close()
		return nil, err
	}
	a := &authority{
		url:      s.URL(),
		caFile:   filepath.Join(dir, "ca.pem"),
		tenant:   s.TenantID(),
		clientID: s.ClientID(),
		user:     user,
		approve: func(ctx context.Context, page, code string) error {
			if code != "" {
				return nil // ApproveAll has done it
			}
			return s.Browse(ctx, page, user)
		},
		signIns: func() int { return s.Stats().SignIns },
		close:   func() { _ = s.Close() },
	}
	return a, os.WriteFile(a.caFile, s.CAPEM(), 0o600)
}

// startProvider starts scripts/independent-provider, which ends when its
// standard input does, so that it cannot outlive this program.
func startProvider(ctx context.Context, node, dir string) (*authority, error) {
	a := &authority{
		tenant:   "11111111-2222-3333-4444-555555555555",
		clientID: "66666666-7777-8888-9999-000000000000",
		user:     "ops@contoso.com",
	}
	cert, err := makeCertificate(dir)
	if err != nil {
		return nil, err
	}
	a.caFile = cert.caFile
	// Old versions of npm make no link in .bin.
	runtime, err := filepath.Glob(filepath.Join(node, "node_modules/node-linux-*/bin/node"))
	if err != nil || len(runtime) != 1 {
		return nil, fmt.Errorf("there is not one Node.js in %s but %d", node, len(runtime))
	}
	cmd := exec.CommandContext(ctx, runtime[0], "provider.mjs",
		"--cert", cert.certFile, "--key", cert.keyFile, "--tenant", a.tenant, "--client", a.clientID)
	cmd.Dir = node
	log, err := os.Create(filepath.Join(dir, "provider.log"))
	if err != nil {
		return nil, err
	}
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a.close = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		_ = log.Close()
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		a.close()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("the provider does not start: %w\n%s", err, text)
	}
	var ready struct{ Authority string }
	if err := json.Unmarshal(line, &ready); err != nil {
		return nil, err
	}
	a.url = ready.Authority
	person, err := newPerson(a.user, a.caFile)
	if err != nil {
		return nil, err
	}
	a.approve = person.approve
	return a, nil
}
