package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// The service as Windows knows it. The name is that of the event source, too.
const (
	serviceName        = "M365TokenBroker"
	serviceDisplay     = "M365 Token Broker"
	serviceDescription = "Owns a Microsoft 365 sign-in and gives access tokens to the programs of this machine that may have them."
	serviceAccount     = `NT SERVICE\` + serviceName // a virtual account: its own, with no password and no other rights
)

// services is `broker service`: what the subcommands share.
type services struct {
	o     *options
	tools serviceTools
	name  string // of the service
}

// serviceTools are the parts of Windows that installing a service touches,
// besides the manager. A nil manager is a system that has none of it.
type serviceTools struct {
	manager     lifecycle.ServiceManager
	program     func() (string, error)
	sid         func(account string) (string, error)
	allowLogon  func(sid string) error // gives the right to log on as a service
	share       func(dir string, a ownerfile.Access) error
	eventSource func(install bool) error
	agent       func(o *options, install bool) error // the agent's entry for all users
}

// newService is `broker service`.
func newService(o *options) *cobra.Command {
	return newServiceWith(&services{o: o, tools: windowsService(), name: serviceName})
}

func newServiceWith(s *services) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Run the broker as a service of Windows",
		Long: `Run the broker as a service of Windows: it starts with the machine, and nobody has
to be logged on. Its settings are in %ProgramData%\M365TokenBroker\broker.yaml, its
state is beside them, and the other commands find both.

Where Outlook targets are configured it must run as the account whose Outlook they
are, with broker agent in that account's session; docs/service.md has the picture.
On Linux, a unit of systemd does the same.`,
		Example: `  broker service install                                the service, with an account of its own
  broker service install --account CONTOSO\svc-mail     as the account of an Outlook profile
  broker service start
  broker service status`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(s.newInstall(), s.newUninstall(), s.newStart(), s.newStop(), s.newStatus(), s.newRun(), s.newConfigure())
	return cmd
}

// checkWait refuses a time that nobody can wait.
func checkWait(wait time.Duration) error {
	if wait <= 0 || wait > maxServiceWait {
		return usagef("--wait %v is out of range; it can be up to 1h, and more than 0s", wait)
	}
	return nil
}

// supported refuses where there are no services of Windows.
func (s *services) supported() error {
	if s.tools.manager != nil {
		return nil
	}
	return token.NewError(token.KindUnsupported, "",
		"This is not Windows, which this command is for; here, run the broker with: systemctl --user enable --now m365-token-broker")
}

// say prints a line.
func (s *services) say(format string, args ...any) { fmt.Fprintf(s.o.env.stdout, format+"\n", args...) }

// step is one thing to do, which can fail by itself.
type step struct {
	what  string
	vital bool // without it the service must not run
	do    func() error
}

// take takes every step and says how each went. The error is that of the first
// vital one that failed.
func (s *services) take(steps []step) error {
	var failed error
	for _, one := range steps {
		err := one.do()
		switch {
		case err == nil:
			s.say("  done     %s", one.what)
			continue
		case one.vital:
			s.say("  FAILED   %s: %v", one.what, err)
		default:
			s.say("  skipped  %s: %v", one.what, err)
		}
		if one.vital && failed == nil {
			failed = fmt.Errorf("%s: %w", one.what, err)
		}
	}
	return failed
}

// newRun is `broker service run`.
func (s *services) newRun() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "What the service manager starts",
		Long: `What the service manager starts. By hand, use broker service start, or broker serve
for a broker in the foreground.

Its log is logs\broker.log in the state directory; start, end and failures are in
the event log, too.`,
		Example: "  broker service start",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.supported(); err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
}

// run is the service, until its manager ends it.
func (s *services) run(ctx context.Context) error {
	h := newServiceHost(*s.o)
	err := lifecycle.RunAsService(ctx, s.name, h.service())
	if _, byHand := err.(*lifecycle.NotAServiceError); byHand { //nolint:errorlint // it is never wrapped
		return token.NewError(token.KindUnsupported, "", "Only Windows' service manager can start this; use broker service start, or broker serve for a broker in the foreground.")
	}
	if err != nil {
		return exitError(exitFailed) // the log and the event log have it; there is no terminal
	}
	return nil
}
