package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// newConsumers is `broker consumers`.
func newConsumers(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "consumers",
		Short: "Manage the programs that may ask for tokens",
		Long: `Manage the consumers: the programs on this machine that may ask for tokens. Each
has a key of its own, and may have tokens of the accounts and resources that it was
given, and nothing else. The broker keeps only the SHA-256 of a key.`,
		Example: `  KEY=$(broker consumers add crm --account ops --resource graph)
  broker consumers list
  broker consumers rotate crm --overlap 1h
  broker consumers remove crm`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(newConsumersAdd(o), newConsumersList(o), newConsumersRotate(o), newConsumersRemove(o))
	return cmd
}

func newConsumersAdd(o *options) *cobra.Command {
	var in httpapi.ConsumerRequest
	var output string
	cmd := &cobra.Command{
		Use:   "add NAME --account A --resource R | --mapi TARGET",
		Short: "Let a program in, and print its key, once",
		Long: `Let a program in. Its key is printed alone on standard output, once; everything
else goes to standard error. The program sends it as "Authorization: Bearer <key>"
or "X-Broker-Key: <key>".

A key can be tied to the program it is for: with --executable, --sha256 and --user it
works only for that program, that very file, that account, as the system tells of the
connection. With --sha256 auto the file of --executable is hashed now.

With --sink the broker keeps a current token in a file that only its owner can read,
for a program that can do nothing but read a file.`,
		Example: `  broker consumers add crm --account ops --resource graph --resource ews --rate 50/s
  broker consumers add crm --account ops --resource graph --executable /opt/crm/sync --sha256 auto --user svc-crm
  broker consumers add batch --account ops --resource ews --hours "mon-fri 07:00-19:00"
  broker consumers add legacy --account ops --resource graph --sink /run/legacy/token --format header
  broker consumers add sync --mapi archive
  broker consumers add prometheus --metrics
  KEY=$(broker consumers add crm --account ops --resource graph)`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if err := checkConsumer(&in); err != nil {
				return err
			}
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				key, err := a.addConsumer(ctx, in)
				if err != nil {
					return err
				}
				return printKey(o, a, key, output, "may now ask for tokens")
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.Accounts, "account", nil, "alias or user name that it may use (repeatable)")
	f.StringSliceVar(&in.Resources, "resource", nil, "resource that it may have tokens for (repeatable)")
	f.StringSliceVar(&in.Mapi, "mapi", nil, "Outlook target that it may use (repeatable)")
	f.StringVar(&in.Rate, "rate", "", `at most so many requests, for example 50/s or "10/m burst 20" (default: no limit)`)
	f.StringVar(&in.Hours, "hours", "", `when it may ask, for example "mon-fri 07:00-19:00" (default: always)`)
	f.StringVar(&in.ClientID, "client-id", "", "app registration that its accounts must be signed in with")
	f.StringVar(&in.Executable, "executable", "", "the program that the key is for; another one is refused")
	f.StringVar(&in.Sha256, "sha256", "", `SHA-256 of that program's file, or "auto" to take it now; another file is refused`)
	f.StringVar(&in.User, "user", "", "account that the program runs as: a name, a SID or a user ID; another one is refused")
	f.StringVar(&in.Sink, "sink", "", "file that the broker keeps a current token in")
	f.StringVar((*string)(&in.SinkFormat), "format", "", "what stands in that file: raw, json or header (default raw)")
	f.StringVar(&in.Note, "note", "", "what it is for, for people who look at the list")
	f.BoolVar(&in.Metrics, "metrics", false, "it may read /metrics")
	f.StringVar((*string)(&in.SinkFormat), "sink-format", "", "as --format: what the configuration calls it")
	_ = f.MarkHidden("sink-format") // it is there: the line above made it
	outputFlag(cmd, &output)
	complete(cmd, "account", accountNames(o))
	complete(cmd, "resource", resourceNames(o))
	complete(cmd, "mapi", targetFlag(o))
	return cmd
}

// printKey prints the key alone on standard output, so that a shell can catch
// it, and the rest on standard error.
func printKey(o *options, a *api, key httpapi.ConsumerKey, output, what string) error {
	if output == outputJSON {
		return printJSON(o.env.stdout, key)
	}
	c := key.Consumer
	fmt.Fprintf(o.env.stderr, "%s %s (%s). This is its key, shown only this once:\n", printable(c.Name), what, rights(c))
	if _, err := fmt.Fprintln(o.env.stdout, key.Key); err != nil {
		return err
	}
	fmt.Fprintf(o.env.stderr, "Give it to the program as BROKER_KEY, and BROKER_URL=%s.\n", a.base)
	for _, k := range c.Keys {
		if !k.EndsAt.IsZero() {
			fmt.Fprintf(o.env.stderr, "The key %s… goes on working until %s.\n", k.Sha256Prefix, k.EndsAt.Local().Format(time.DateTime))
		}
	}
	return nil
}

// maxOverlap is what the API allows for overlap_seconds.
const maxOverlap = 30 * 24 * time.Hour

func newConsumersRotate(o *options) *cobra.Command {
	var overlap time.Duration
	var output string
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a consumer a new key, and print it, once",
		Long: `Give a consumer a new key. The old key goes on working for the overlap, so that the
program can be given the new one without a gap; with --overlap 0s it ends at once.`,
		Example: `  broker consumers rotate crm
  broker consumers rotate crm --overlap 0s`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: consumerNames(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 || overlap > maxOverlap {
				return usagef("--overlap %v is out of range; it can be 0s to 720h (30 days)", overlap)
			}
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				key, err := a.rotateConsumer(ctx, args[0], overlap)
				if err != nil {
					return err
				}
				return printKey(o, a, key, output, "has a new key")
			})
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "for how long the old key goes on working")
	outputFlag(cmd, &output)
	return cmd
}

func newConsumersRemove(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Refuse a consumer from now on",
		Long: `Remove a consumer: its keys are refused from now on. Access tokens that it holds
stay valid until they expire, about an hour.`,
		Example: `  broker consumers remove crm
  broker consumers remove crm --yes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: consumerNames(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && o.interactive() {
				sure, err := o.asker().confirm(fmt.Sprintf("Remove %s? Programs with its key are refused from then on.", printable(args[0])))
				if err != nil || !sure {
					return usagef("nothing was removed")
				}
			}
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				if err := a.removeConsumer(ctx, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(o.env.stdout, "Removed %s; its keys are refused from now on.\n", printable(args[0]))
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "ask nothing")
	return cmd
}
