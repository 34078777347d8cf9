package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
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
or "X-Broker-Key: <key>".`,
		Example: `  broker consumers add crm --account ops --resource graph --resource ews --rate 50/s
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
	f.StringVar(&in.Executable, "executable", "", "the program it is meant for; kept for the reader, not enforced")
	f.BoolVar(&in.Metrics, "metrics", false, "it may read /metrics")
	outputFlag(cmd, &output)
	complete(cmd, "account", accountNames(o))
	complete(cmd, "resource", resourceNames(o))
	complete(cmd, "mapi", targetFlag(o))
	return cmd
}

// checkConsumer refuses what makes no sense before the broker is asked, and
// makes the executable's path absolute.
func checkConsumer(in *httpapi.ConsumerRequest) error {
	switch {
	case !config.ValidName(in.Name):
		return usagef("%q cannot be the name of a consumer; use at most 64 lower-case letters, digits, dots, hyphens and underscores, a letter or digit first", in.Name)
	case len(in.Accounts) == 0 && len(in.Resources) == 0 && (in.Metrics || len(in.Mapi) > 0):
	case len(in.Accounts) == 0:
		return usagef("--account is missing; name the account that %s may use", in.Name)
	case len(in.Resources) == 0:
		return usagef("--resource is missing; name what %s may have tokens for, for example --resource graph", in.Name)
	}
	if in.Executable == "" {
		return nil
	}
	path, err := filepath.Abs(in.Executable)
	if err != nil {
		return usagef("--executable %s: give an absolute path", in.Executable)
	}
	in.Executable = path
	return nil
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

// rights is "graph, ews of ops, Outlook archive".
func rights(c httpapi.Consumer) string {
	s := "metrics only"
	if len(c.Resources) > 0 {
		s = strings.Join(c.Resources, ", ") + " of " + strings.Join(c.Accounts, ", ")
	}
	if outlook := "Outlook " + strings.Join(c.Mapi, ", "); len(c.Mapi) > 0 && len(c.Resources) > 0 {
		s += ", " + outlook
	} else if len(c.Mapi) > 0 {
		s = outlook
	}
	if c.Rate != "" {
		s += ", " + c.Rate
	}
	return printable(s)
}

func newConsumersList(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the consumers with what they may have and use",
		Example: `  broker consumers list
  broker consumers list --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				list, err := a.consumers(ctx)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return printJSON(o.env.stdout, httpapi.ConsumerList{Consumers: list})
				}
				if len(list) == 0 {
					fmt.Fprintln(o.env.stdout, "No program may ask for tokens yet; see `broker consumers add --help`.")
					return nil
				}
				return table(o.env.stdout, "", consumerRows(time.Now(), list))
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func consumerRows(now time.Time, list []httpapi.Consumer) [][]string {
	rows := [][]string{{"NAME", "MAY HAVE", "KEYS", "LAST USED", "REQUESTS", "REFUSED", "NOTE"}}
	for _, c := range list {
		note := ""
		switch {
		case !c.LeaseEndsAt.IsZero():
			note = leased(c) + ", ends " + until(now, c.LeaseEndsAt)
		case c.LastRefusal != "" && now.Sub(c.LastRefusalAt) < 24*time.Hour:
			note = "refused " + since(now, c.LastRefusalAt) + ": " + c.LastRefusal
		}
		rows = append(rows, []string{
			c.Name, rights(c), keys(now, c.Keys), since(now, c.LastUsedAt), fmt.Sprint(c.Requests), fmt.Sprint(c.Refusals), note,
		})
	}
	return rows
}

// leased says what a consumer with a lease is: "exec of report.sh, with the
// rights of crm". One that an API client made may name no program.
func leased(c httpapi.Consumer) string {
	s := "leased"
	if c.Executable != "" {
		s = "exec of " + filepath.Base(c.Executable)
	}
	if c.SameAs != "" {
		s += ", with the rights of " + c.SameAs
	}
	return s
}

// keys is "9f86d081, 60303ae2 (ends in 23 h)".
func keys(now time.Time, list []httpapi.ConsumerKeyInfo) string {
	var all []string
	for _, k := range list {
		s := k.Sha256Prefix
		if !k.EndsAt.IsZero() {
			s += " (ends " + until(now, k.EndsAt) + ")"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
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
