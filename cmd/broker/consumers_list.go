package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

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
	rows := [][]string{{"NAME", "MAY HAVE", "KEYS", "LAST USED", "REQUESTS", "REFUSED", "LAST TOKEN", "NOTE"}}
	for _, c := range list {
		rows = append(rows, []string{
			c.Name, rights(c), keys(now, c.Keys), since(now, c.LastUsedAt), fmt.Sprint(c.Requests), fmt.Sprint(c.Refusals), lastToken(c), remarks(now, c),
		})
	}
	return rows
}

// lastToken is "graph of ops, by sync.exe": what was asked for last, and by which
// program, where the broker looked.
func lastToken(c httpapi.Consumer) string {
	var all []string
	if c.LastResource != "" {
		all = append(all, c.LastResource+" of "+c.LastAccount)
	}
	if c.LastProgram != "" {
		all = append(all, "by "+filepath.Base(c.LastProgram))
	}
	return strings.Join(all, ", ")
}

// remarks is what else is to be known: what the consumer is for, when its lease
// ends, and what it was refused within a day.
func remarks(now time.Time, c httpapi.Consumer) string {
	var all []string
	switch {
	case !c.LeaseEndsAt.IsZero():
		all = append(all, leased(c)+", ends "+until(now, c.LeaseEndsAt))
	case c.Note != "":
		all = append(all, c.Note)
	}
	if c.LastRefusal != "" && now.Sub(c.LastRefusalAt) < 24*time.Hour {
		all = append(all, "refused "+since(now, c.LastRefusalAt)+": "+c.LastRefusal)
	}
	return strings.Join(all, "; ")
}

// leased says what a consumer with a lease is: "exec of report.sh, with the
// rights of crm". One that an API client made may have no note.
func leased(c httpapi.Consumer) string {
	s := "leased"
	if c.Note != "" {
		s = c.Note
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
	return printable(strings.Join(append([]string{s}, limits(c)...), ", "))
}

// limits are how often, when and by whom a consumer's key may be used, as "50/s",
// "mon-fri 07:00-19:00", "only by sync.exe (9f86d081…)", "only as svc-crm".
func limits(c httpapi.Consumer) []string {
	var all []string
	if c.Rate != "" {
		all = append(all, c.Rate)
	}
	if c.Hours != "" {
		all = append(all, c.Hours)
	}
	file := c.Sha256
	if len(file) > 8 {
		file = file[:8] + "…"
	}
	switch {
	case c.Executable != "" && file != "":
		all = append(all, "only by "+filepath.Base(c.Executable)+" ("+file+")")
	case c.Executable != "":
		all = append(all, "only by "+filepath.Base(c.Executable))
	case file != "":
		all = append(all, "only by the file "+file)
	}
	if c.User != "" {
		all = append(all, "only as "+c.User)
	}
	if c.Sink != "" {
		all = append(all, "kept in "+c.Sink)
	}
	return all
}
