package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// The life of a command's key: it ends with the command, or, should this
// process be killed, with its lease.
const (
	lease      = 2 * time.Minute
	renewEvery = lease / 4
)

// The exit codes of a command that did not start, as shells and env(1) have
// them (POSIX, "2.8.2 Exit Status for Commands").
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignalled = 128 // plus the number of the signal
)

// The variables that the command is given.
const (
	envURL = "BROKER_URL"
	envKey = "BROKER_KEY"
)

// newExec is `broker exec`.
func newExec(o *options) *cobra.Command {
	var in httpapi.ConsumerRequest
	var account string
	cmd := &cobra.Command{
		Use:   "exec {--consumer NAME | --account A --resource R} -- COMMAND [ARGS]",
		Short: "Run a command with a key of its own",
		Long: `Run a command with a key that is minted for it and revoked when it ends. The
command finds the broker in its environment:

  BROKER_URL  the broker's address
  BROKER_KEY  the key, to be sent as "Authorization: Bearer <key>"

--consumer gives the key exactly the rights of that consumer; otherwise --account
and --resource name them. Standard input, output, error and signals are the
command's own, and so is the exit code (128 + n where signal n ended it). The broker
must be running. Where a person must sign in first, the command is not started and
the exit code is 3.`,
		Example: `  broker exec --resource graph -- ./report.sh
  broker exec --account ops --resource graph --resource ews -- sync --all
  broker exec --consumer crm -- C:\Crm\sync.exe`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkExec(&in, account); err != nil {
				return err
			}
			return execute(cmd.Context(), o, in, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows COMMAND belongs to it, with or without --
	f.StringVar(&in.SameAs, "consumer", "", "consumer whose rights the command has")
	f.StringVar(&account, "account", "", "alias or user name that it may use; may be left out where there is one account")
	f.StringSliceVar(&in.Resources, "resource", nil, "resource that it may have tokens for (repeatable)")
	complete(cmd, "consumer", consumerNames(o))
	complete(cmd, "account", accountNames(o))
	complete(cmd, "resource", resourceNames(o))
	return cmd
}

// checkExec puts the rights together.
func checkExec(in *httpapi.ConsumerRequest, account string) error {
	switch rights := account != "" || len(in.Resources) > 0; {
	case in.SameAs != "" && rights:
		return usagef("--consumer already says what the command may have; leave --account and --resource out")
	case in.SameAs == "" && len(in.Resources) == 0:
		return usagef("--resource is missing; name what the command may have tokens for (or give --consumer)")
	}
	if account != "" {
		in.Accounts = []string{account}
	}
	in.LeaseSeconds = int(lease.Seconds())
	return nil
}

// execute mints a key, runs the command, and revokes the key. Until the command
// runs, an interruption ends all; then signals are the command's.
func execute(ctx context.Context, o *options, in httpapi.ConsumerRequest, args []string) (err error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notStarted(o, args[0], err)
	}
	in.Executable = executable(path)
	signals := catchSignals()
	defer signals.stop()
	starting, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	a, err := connect(starting, o)
	if err != nil {
		return err
	}
	defer func() {
		if failed := a.close(); err == nil {
			err = failed
		}
	}()
	if a.local {
		return errors.New("no broker is running, so that the command would find nobody to ask; start one with `broker serve`")
	}
	if err := nameAccount(starting, a, &in); err != nil {
		return err
	}
	key, err := a.addConsumer(starting, in)
	if err != nil {
		return err
	}
	defer revoke(ctx, o, a, key.Name)
	if err := firstToken(starting, a, key.Consumer); err != nil {
		return err
	}
	renewing, end := context.WithCancel(ctx)
	defer end()
	go renewLease(renewing, o, a, key.Name)
	if starting.Err() != nil {
		return token.NewError(token.KindCancelled, "", "You interrupted the command before it was started.")
	}
	cmd := exec.Command(path, args[1:]...) //nolint:gosec,noctx // the command is what this is for, and ends by itself
	cmd.Args[0] = args[0]
	cmd.Env = append(withoutOurs(o.env.environ), envURL+"="+a.base, envKey+"="+key.Key)
	return runCommand(o, cmd, signals)
}

// maxExecutable is what the API allows for executable, in characters.
const maxExecutable = 1024

// executable is the command's absolute path, for those who look at the list of
// consumers; "" where it is too long for that.
func executable(path string) string {
	full, err := filepath.Abs(path)
	if err != nil || len(full) > maxExecutable {
		return ""
	}
	return full
}

// revoke ends the key, whatever became of the command.
func revoke(ctx context.Context, o *options, a *api, name string) {
	ctx, stop := afterwards(ctx)
	defer stop()
	if err := a.removeConsumer(ctx, name); err != nil && token.KindOf(err) != token.KindNotFound {
		fmt.Fprintf(o.env.stderr, "broker: the key could not be revoked; it ends by itself within %s\n", span(lease))
	}
}

// nameAccount fills in the only account where none was named.
func nameAccount(ctx context.Context, a *api, in *httpapi.ConsumerRequest) error {
	if in.SameAs != "" || len(in.Accounts) > 0 {
		return nil
	}
	list, err := a.accounts(ctx)
	if err != nil {
		return err
	}
	switch len(list) {
	case 0:
		return token.NewError(token.KindSignInRequired, "", "No account is signed in; run `broker login` first.")
	case 1:
		in.Accounts = []string{list[0].Account}
		return nil
	default:
		var names []string
		for _, acc := range list {
			names = append(names, acc.Account)
		}
		return usagef("there are several accounts; name one with --account: %s", printable(oneOf(names)))
	}
}

// firstToken gets one token that the command may have, so that a missing sign-in
// is told now and not by the command.
func firstToken(ctx context.Context, a *api, c httpapi.Consumer) error {
	if len(c.Accounts) == 0 || len(c.Resources) == 0 {
		return nil
	}
	_, err := a.token(ctx, httpapi.TokenRequest{Account: c.Accounts[0], Resource: c.Resources[0]})
	return err
}

// renewLease keeps the key alive. A broker that was restarted does not know the
// key any more, and one that heard nothing for the length of the lease has ended
// it; that is said once, as it cannot be mended from here.
func renewLease(ctx context.Context, o *options, a *api, name string) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch err := a.renewConsumer(ctx, name, lease); {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed = time.Now()
		case token.KindOf(err) == token.KindNotFound:
			fmt.Fprintln(o.env.stderr, "broker: the broker was restarted, and the command's key no longer works; start the command again")
			return
		case time.Since(renewed) >= lease:
			fmt.Fprintf(o.env.stderr, "broker: the broker at %s has not answered for %s, and the command's key no longer works; see `broker status`, then start the command again\n", a.base, span(time.Since(renewed)))
			return
		}
	}
}

// runCommand runs the command with the terminal, the signals and the exit code
// its own.
func runCommand(o *options, cmd *exec.Cmd, signals *signals) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.env.stdin, o.env.stdout, o.env.stderr
	if err := cmd.Start(); err != nil {
		return notStarted(o, cmd.Args[0], err)
	}
	signals.passTo(cmd.Process)
	err := cmd.Wait()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitError(endCode(ended.ProcessState))
	}
	return err
}

// withoutOurs is the environment without an address and a key of the caller's.
func withoutOurs(environ []string) []string {
	var out []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if runtime.GOOS == "windows" {
			name = strings.ToUpper(name)
		}
		if name != envURL && name != envKey {
			out = append(out, pair)
		}
	}
	return out
}

// notStarted says why a command could not be started, with the shells' exit
// codes.
func notStarted(o *options, name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(o.env.stderr, "broker: the command %s is not found\n", name)
		return exitError(exitNotFound)
	}
	fmt.Fprintf(o.env.stderr, "broker: the command %s cannot be run: %v\n", name, err)
	return exitError(exitCannotRun)
}
