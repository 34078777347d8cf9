package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// How long start and stop wait by themselves, and how often they say so.
const (
	serviceWait    = time.Minute
	maxServiceWait = time.Hour
	serviceSpeaks  = 5 * time.Second
)

// logLines is how much of the log is shown where a start failed.
const logLines = 5

// newStart is `broker service start`.
func (s *services) newStart() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the service, and wait until it serves",
		Long: `Start the service, and wait until it serves. Where it does not, this says why, and
shows the last lines of its log. It needs an administrator.`,
		Example: "  broker service start\n  broker service start --wait 2m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(checkWait(wait), s.supported()); err != nil {
				return err
			}
			return s.start(cmd.Context(), wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", serviceWait, "how long to wait")
	return cmd
}

func (s *services) start(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	facts, err := lifecycle.StartService(ctx, s.tools.manager, s.name, s.patience("starts"))
	switch e, ok := errors.AsType[*lifecycle.ManagerError](err); {
	case ok && e.Code == lifecycle.CodeRunning:
		s.say("The service runs already.")
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		s.showLog()
		return fmt.Errorf("the service is still %s after %v; look again with: broker service status", facts.State, wait)
	case err != nil:
		return err
	}
	if facts.State == lifecycle.ServiceRunning {
		where := ""
		if h, ok := lifecycle.Holder(s.stateDir()); ok && h.Listen != "" {
			where = " at http://" + h.Listen
		}
		s.say("The service runs%s (process %d).", where, facts.PID)
		return nil
	}
	s.showLog()
	why, remedy := serviceEnd(facts)
	return errors.New(strings.TrimSpace(fmt.Sprintf("the service did not start: %s%s. %s", why, endNumber(facts), remedy)))
}

// newStop is `broker service stop`.
func (s *services) newStop() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     "stop",
		Short:   "Stop the service, and wait until it has ended",
		Long:    "Stop the service, and wait until it has ended: what is in flight is finished and stored, within ten\nseconds. It needs an administrator.",
		Example: "  broker service stop",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(checkWait(wait), s.supported()); err != nil {
				return err
			}
			return s.stop(cmd.Context(), wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", serviceWait, "how long to wait")
	return cmd
}

func (s *services) stop(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	gone := s.process()
	facts, err := lifecycle.StopService(ctx, s.tools.manager, s.name, s.patience("stops"))
	switch e, ok := errors.AsType[*lifecycle.ManagerError](err); {
	case ok && e.Code == lifecycle.CodeNotActive:
		s.say("The service does not run.")
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		s.showLog()
		return fmt.Errorf("the service is still %s after %v; its process is %d", facts.State, wait, facts.PID)
	case err != nil:
		return err
	}
	gone(ctx)
	if why, remedy := serviceEnd(facts); facts.Win32 != 0 {
		s.showLog()
		return fmt.Errorf("the service has stopped, and not as it should: %s%s. %s", why, endNumber(facts), remedy)
	}
	s.say("The service has stopped.")
	return nil
}

// process finds the process of a running service, and gives what waits for its
// end: a service is stopped a moment before its process has gone, and until then
// its program cannot be replaced.
func (s *services) process() (gone func(context.Context)) {
	facts, err := s.tools.manager.Look(s.name)
	if err != nil || facts.PID == 0 {
		return func(context.Context) {}
	}
	p, err := os.FindProcess(int(facts.PID))
	if err != nil {
		return func(context.Context) {}
	}
	return func(ctx context.Context) {
		ended := make(chan struct{})
		go func() {
			_, _ = p.Wait() // it is nobody's child: Windows lets us wait all the same
			close(ended)
		}()
		select {
		case <-ctx.Done():
		case <-ended:
		}
	}
}

// patience tells a person now and then that something is going on.
func (s *services) patience(does string) func(lifecycle.ServiceFacts) {
	spoken := time.Now()
	return func(lifecycle.ServiceFacts) {
		if time.Since(spoken) >= serviceSpeaks {
			spoken = time.Now()
			fmt.Fprintf(s.o.env.stderr, "broker: the service %s\n", does)
		}
	}
}

// stateDir is where the service keeps its state.
func (s *services) stateDir() string {
	p, err := places(s.o.asService())
	if err != nil {
		return ""
	}
	return p.StateDir
}

// showLog shows the end of the service's log, where this account may read it.
func (s *services) showLog() {
	path := serviceLog(s.stateDir())
	lines := lifecycle.Tail(path, logLines)
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(s.o.env.stderr, "The last lines of %s:\n", path)
	for _, line := range lines {
		fmt.Fprintf(s.o.env.stderr, "  %s\n", printable(line))
	}
}

// newUninstall is `broker service uninstall`.
func (s *services) newUninstall() *cobra.Command {
	var purge, yes bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the service and remove it",
		Long: `Stop the service and remove it, with its event source and the agent's entry. The
configuration and the state stay, so that a new installation goes on where this one
was; --purge removes them, too. What is in the secret store of the service's account
is open to that account alone: the service takes it along when it stops, so it must run
when --purge is given.`,
		Example: "  broker service uninstall\n  broker service uninstall --purge --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.supported(); err != nil {
				return err
			}
			return s.uninstall(cmd.Context(), purge, yes)
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the configuration, the state and the sign-ins, too")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (s *services) uninstall(ctx context.Context, purge, yes bool) error {
	dir, _, _ := config.ServicePlaces(s.o.asService().env.getenv)
	state := s.stateDir()
	if purge && !yes {
		if !s.o.interactive() {
			return usagef("--purge removes the sign-ins, and %s with all in it; without a terminal to ask, it needs --yes", dir)
		}
		if ok, err := s.o.asker().confirm("Remove the sign-ins, and " + dir + " with the configuration, the keys of all consumers and the audit log?"); err != nil || !ok {
			return errors.Join(err, errors.New("nothing was changed"))
		}
	}
	m := s.tools.manager
	facts, err := m.Look(s.name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(state); purge && err == nil {
		if err := askToPurge(state); err != nil {
			return err
		}
	}
	if err := s.stop(ctx, serviceWait); err != nil {
		if f, looked := m.Look(s.name); looked != nil || f.State != lifecycle.ServiceStopped {
			return errors.Join(err, askNoMore(state)) // it goes on, with its sign-ins
		}
	}
	if purge && stillAsked(state) {
		fmt.Fprintf(s.o.env.stderr, "warning: the secret store was not emptied, as only the running service can do that; sign-ins in the Credential Manager of %s stay there. "+
			"To remove them, install the service as that account again, start it, and uninstall it with --purge while it runs.\n", facts.Account)
	}
	steps := []step{
		{what: "service", vital: true, do: func() error { return m.Order(s.name, lifecycle.OrderDelete) }},
		{what: "event source", do: func() error { return s.tools.eventSource(false) }},
		{what: "agent at logon", do: func() error { return s.tools.agent(s.o, false) }},
	}
	s.say("Removing the service %s:", s.name)
	if err := s.take(steps); err != nil {
		return err
	}
	if !purge {
		s.say("\nThe configuration and the state are still in %s.", dir)
		return nil
	}
	if filepath.Base(dir) != "M365TokenBroker" {
		return fmt.Errorf("the directory %q is not the broker's; nothing in it was removed", dir)
	}
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("remove the configuration and the state: %w", err)
	}
	s.say("\n%s is removed.", dir)
	if rel, err := filepath.Rel(dir, state); err != nil || !filepath.IsLocal(rel) {
		s.say("The state is elsewhere and stays; remove it yourself: %s", state)
	}
	return nil
}

// removeTree removes a directory with all in it. Unlike os.RemoveAll it does so
// with calls that Wine knows, too. It follows no link. One that is not there is removed already.
func removeTree(dir string) error {
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path == dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		all = append(all, path)
		return err
	})
	for _, path := range slices.Backward(all) {
		if err == nil {
			err = os.Remove(path)
		}
	}
	return err
}
