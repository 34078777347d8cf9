package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/sandbox"
	"github.com/m365-token-broker/broker/internal/token"
)

// The demo's sandbox lives fast, so that the story fits into a minute.
const (
	demoLifetime = 12 * time.Second
	demoInterval = time.Second
	demoTime     = 60 * time.Second
	demoUser     = "alice@contoso.example"
)

// newDemo is `broker demo`.
func newDemo(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "See the whole story on a built-in sandbox, in less than a minute",
		Long: `Run the whole story against a built-in stand-in for Microsoft Entra ID: a sign-in
by device code, tokens, calls to Graph and EWS, expiry and silent renewal, many
callers at once, a killed broker, a revoked sign-in. Then the way of a program that
uses Extended MAPI, over a Windows desktop that a script plays: nobody logged on,
an Outlook that is started and renews, new Outlook. Everything is real HTTP and TLS
on loopback; nothing leaves this machine and nothing stays behind.`,
		Example: "  broker demo",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), o.env) },
	}
}

// demo plays the story in a directory of its own and removes it.
func demo(ctx context.Context, env environment) (err error) {
	ctx, stop := lifecycle.Signals(ctx, env.exit)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "broker-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sb, err := sandbox.Start(ctx, sandbox.Config{AccessTokenLifetime: demoLifetime, Interval: demoInterval, RevokeUsed: true})
	if err != nil {
		return err
	}
	defer func() { _ = sb.Close() }()
	configFile, err := demoConfig(sb, dir)
	if err != nil {
		return err
	}
	s := &story{out: env.stdout, sb: sb, dir: dir, config: configFile, began: time.Now()}
	defer s.end()
	if err := s.setDesktop(demoDesktop{Session: desktop.SeatNobody}); err != nil {
		return err
	}
	return s.tell(ctx)
}

// demoConfig writes the demo's configuration: the sandbox as the authority, the
// file store, any free port, an Outlook target, and nothing in this machine's
// event log.
func demoConfig(sb *sandbox.Sandbox, dir string) (string, error) {
	caFile, err := writeSandbox(sb, dir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(caFile), "broker.yaml")
	yaml := sb.ConfigYAML(caFile) + "listen: 127.0.0.1:0\nstore: file\n" +
		"notify: {event_log: false}\nmapi: {" + demoTarget + ": {profile: " + demoProfile + "}}\n"
	if err := ownerfile.Write(path, []byte(yaml)); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return path, nil
}

// story is the demo while it runs.
type story struct {
	out    io.Writer
	sb     *sandbox.Sandbox
	dir    string
	config string
	began  time.Time
	steps  int
	child  *child
	key    token.Secret // the consumer's

	agent   *process
	service *api // the MAPI program's way to the broker
}

// tell plays the steps in order and stops at the first that fails.
func (s *story) tell(ctx context.Context) error {
	fmt.Fprintf(s.out, "M365 Token Broker demo. A stand-in for Microsoft Entra ID, Graph and EWS runs at\n%s, over TLS; the broker is a process of its own.\n", s.sb.URL())
	for _, step := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"The broker starts", s.start},
		{"A person signs in, once, with a device code", s.signIn},
		{"A program gets a key of its own", s.makeConsumer},
		{"Two hundred callers ask at once for a token that nobody has yet", s.manyCallers},
		{"The tokens work at Microsoft Graph and at EWS", s.callServices},
		{"Programs get through that know nothing of the broker", s.strangers},
		{"A stolen key is of no use in another program", s.stolen},
		{"The token expires; nobody waits and nobody signs in", s.expiry},
		{"The broker is killed (kill -9) and started again", s.killed},
		{"An administrator revokes the sign-in", s.revoked},
		{"The person signs in again", s.healed},
		{"A MAPI service is refused, and nobody is logged on to Windows", s.nobodyThere},
		{"Its account logs on; Outlook is started, once, and renews", s.outlookRenews},
		{"The account is switched to new Outlook", s.newOutlook},
		{"The broker stops in good order", s.stop},
	} {
		s.steps++
		fmt.Fprintf(s.out, "\n%2d. %s\n", s.steps, step.title)
		if err := step.play(ctx); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("the demo did not end within %v: %w", demoTime, err)
			}
			return fmt.Errorf("step %d (%s): %w", s.steps, step.title, err)
		}
	}
	fmt.Fprintf(s.out, "\n%s", onWindows)
	fmt.Fprintf(s.out, "\nDone: %d steps in %.1f s. Next: broker init, then broker serve and broker login.\n", s.steps, time.Since(s.began).Seconds())
	return nil
}

// say prints one line of what happened.
func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, "    "+format+"\n", args...) }

// end leaves no process behind.
func (s *story) end() {
	if s.agent != nil {
		s.agent.kill()
	}
	if s.child != nil {
		s.child.kill()
	}
}
