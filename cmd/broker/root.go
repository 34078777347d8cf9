package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// The exit codes of the contract.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitSignIn     = 3
	exitDenied     = 4
	exitNoUpstream = 5
)

// options are the flags that every command has.
type options struct {
	env      environment
	config   string
	stateDir string
	set      []string // key=value, in the order given
	seat     seat     // of a broker in this process: only doctor looks at Outlook
}

// newRoot builds the command tree.
func newRoot(env environment) *cobra.Command {
	o := &options{env: env}
	root := &cobra.Command{
		Use:   "broker",
		Short: "One owner of your Microsoft 365 sign-in, for every program on this machine",
		Long: `The M365 Token Broker signs a person in to Microsoft 365 once, keeps the refresh
token in the platform's credential store, and serves fresh access tokens for EWS
and Microsoft Graph to the programs on this machine, over loopback HTTP.`,
		Example: `  broker init                      write a configuration, and see how to register the app
  broker serve                     run the broker
  broker login                     sign in, once
  broker token --resource graph    print an access token
  broker demo                      see the whole story, on a built-in sandbox`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&o.config, "config", "", "configuration `file`; broker config path prints the default")
	flags.StringVar(&o.stateDir, "state-dir", "", "`directory` for the admin key, the instance lock and the file store")
	flags.StringArrayVar(&o.set, "set", nil, "override one setting, `key=value`, for example telemetry.log_level=debug (repeatable)")
	onlySubcommands(root)
	addCommands(root, o)
	addCompletion(root)
	strictArgs(root)
	return root
}

// strictArgs makes a wrong number of arguments a usage error in every command.
func strictArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		strictArgs(sub)
	}
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef is a usageError from a sentence.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends with a code and prints nothing more; for exec and for JSON
// modes that have said it all.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints an error for a person.
func report(w io.Writer, err error) {
	if _, silent := errors.AsType[exitError](err); err == nil || silent {
		return
	}
	if _, usage := errors.AsType[usageError](err); usage {
		fmt.Fprintf(w, "broker: %v\nRun the command with --help for its flags and an example.\n", err)
		return
	}
	if list, ok := errors.AsType[*config.Error](err); ok {
		fmt.Fprintf(w, "broker: the configuration is not right\n%v\n", list)
		return
	}
	if e, ok := errors.AsType[*token.Error](err); ok && e.Detail != "" {
		fmt.Fprintf(w, "broker: %s (%s)\n", e.Detail, e.Kind.Code())
		if e.CorrelationID != "" {
			fmt.Fprintf(w, "        correlation ID for Microsoft's support: %s\n", e.CorrelationID)
		}
		if e.Err != nil {
			fmt.Fprintf(w, "        cause: %v\n", e.Err)
		}
		if r, ok := errors.AsType[*requestError](err); ok {
			fmt.Fprintf(w, "        (request %s; the broker's log has more)\n", printable(r.id))
		}
		return
	}
	fmt.Fprintf(w, "broker: %v\n", err)
}

// exitCode is the process's exit code for an error.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[exitError](err); ok {
		return int(e)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	e, ok := errors.AsType[*token.Error](err)
	if !ok {
		return exitFailed
	}
	switch e.Kind {
	case token.KindSignInRequired, token.KindSignInPending, token.KindDeclined, token.KindExpired,
		token.KindMAPINoSession, token.KindMAPIUserAction:
		return exitSignIn
	case token.KindDenied, token.KindPolicyBlocked, token.KindUnauthenticated, token.KindMAPIUnsupported:
		return exitDenied
	case token.KindUnavailable, token.KindInvalid, token.KindTimeout, token.KindThrottled,
		token.KindMAPIBackoff, token.KindMAPISuspended:
		return exitNoUpstream
	case token.KindInvalidRequest, token.KindUnknownResource, token.KindUnknownAccount:
		return exitUsage
	default:
		return exitFailed
	}
}
