package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// The exit codes of a command that did not start, as shells and env(1) have
// them (POSIX, "2.8.2 Exit Status for Commands").
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignalled = 128 // plus the number of the signal
)

// newExec is `broker exec`.
func newExec(o *options) *cobra.Command {
	var in httpapi.ConsumerRequest
	var account string
	var lease time.Duration
	cmd := &cobra.Command{
		Use:   "exec {--consumer NAME | --account A --resource R} -- COMMAND [ARGS]",
		Short: "Run a command with a key of its own",
		Long:  execHelp,
		Example: `  broker exec --resource graph -- ./report.sh
  broker exec --account ops --resource graph --resource ews -- sync --all
  broker exec --consumer crm -- C:\Crm\sync.exe`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkExec(&in, account); err != nil {
				return err
			}
			in.LeaseSeconds = int(lease.Seconds())
			return execute(cmd.Context(), o, in, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows COMMAND belongs to it, with or without --
	f.StringVar(&in.SameAs, "consumer", "", "consumer whose rights the command has")
	f.StringVar(&account, "account", "", "alias or user name that it may use; may be left out where there is one account")
	f.StringSliceVar(&in.Resources, "resource", nil, "resource that it may have tokens for (repeatable)")
	f.DurationVar(&lease, "lease", usualLease, "how long the key outlives this process where that is killed")
	_ = f.MarkHidden("lease") // for tests; the flag is there
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
	return nil
}

// execute mints a key, runs the command, and revokes the key. Until the command
// runs, an interruption ends all; then signals are the command's.
func execute(ctx context.Context, o *options, in httpapi.ConsumerRequest, args []string) (err error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notStarted(o, args[0], err)
	}
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
	in.Note, in.Process = noteOf(path), os.Getpid()
	key, has, err := newCommandKey(starting, o, a, in)
	if err != nil {
		return err
	}
	defer key.revoke(ctx)
	if err := firstToken(starting, a, has); err != nil {
		return err
	}
	key.keep(ctx)
	vars := childVariables{base: a.base, key: key.key.Reveal(), dialects: dialectsOn(o)}
	vars.noClient = vars.dialects.ManagedIdentity && !mayName(starting, o, a, has)
	if starting.Err() != nil {
		return token.NewError(token.KindCancelled, "", "You interrupted the command before it was started.")
	}
	cmd := exec.Command(path, args[1:]...) //nolint:gosec,noctx // the command is what this is for, and ends by itself
	cmd.Args[0] = args[0]
	cmd.Env = vars.environment(o.env.environ, namesCase())
	signals.closing = func() { key.revoke(ctx) }
	return runCommand(o, cmd, signals)
}

// maxNote is what the API allows for note, in characters.
const maxNote = 1024

// noteOf is what the list of consumers shows of a command.
func noteOf(path string) string {
	note := []rune("exec of " + filepath.Base(path))
	return string(note[:min(len(note), maxNote)])
}

// dialectsOn are the foreign protocols that the broker speaks, by the settings
// that it reads too. Where they cannot be read at the moment the broker still
// runs on older ones, most likely with the usual dialects.
func dialectsOn(o *options) config.Dialects {
	if loaded, err := loadConfig(o); err == nil {
		return loaded.Config.Dialects
	}
	return config.Dialects{ManagedIdentity: true, AZD: true, Sidecar: true}
}

// mayName reports whether AZURE_CLIENT_ID, which Azure SDKs send along, is one
// that the broker takes: an account of the command's, or the app that one is
// signed in with. Any other is a leftover of a service principal, and would be
// refused; that it is dropped is said.
func mayName(ctx context.Context, o *options, a *api, has httpapi.Consumer) bool {
	vars := variables{list: o.env.environ, foldCase: namesCase()}
	id, _ := vars.get(envClientID)
	if id == "" || strings.EqualFold(id, has.ClientID) {
		return true
	}
	for _, name := range has.Accounts {
		if strings.EqualFold(id, name) {
			return true
		}
		acc, err := a.account(ctx, name)
		if err == nil && (strings.EqualFold(id, acc.Username) || strings.EqualFold(id, acc.ClientID)) {
			return true
		}
	}
	fmt.Fprintf(o.env.stderr, "broker: %s is not passed on to the command, as it names neither an account that it may use nor the app of one\n", envClientID)
	return false
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
