package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// What a history may ask for, and how often one that follows looks.
const (
	maxEntries  = 1000
	historyLook = 2 * time.Second
)

// newMapiHistory is `broker mapi history`.
func newMapiHistory(o *options) *cobra.Command {
	var n int
	var follow bool
	var output string
	cmd := &cobra.Command{
		Use:   "history TARGET",
		Short: "Show what happened to an Outlook target",
		Long: `Show what happened to an Outlook target, from its ledger, the newest last: when, what
happened, the phase before and after, and why. With --follow it goes on until you
stop it; that needs a running broker.`,
		Example: `  broker mapi history archive
  broker mapi history archive -n 100
  broker mapi history archive --follow`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: targetNames(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 1 || n > maxEntries {
				return usagef("-n %d is out of range; it can be 1 to %d", n, maxEntries)
			}
			if follow {
				return withRunning(cmd, o, func(ctx context.Context, a *api) error { return followHistory(ctx, o, a, args[0], n, output) })
			}
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				h, err := a.history(ctx, args[0], n)
				switch {
				case err != nil:
					return err
				case output == outputJSON:
					return printJSON(o.env.stdout, h)
				case len(h.Entries) == 0:
					fmt.Fprintf(o.env.stdout, "Nothing has happened to %s yet.\n", printable(h.Target))
					return nil
				}
				return printEntries(o.env.stdout, h.Entries, output)
			})
		},
	}
	cmd.Flags().IntVarP(&n, "number", "n", 20, "how many of the latest entries")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with what happens next; in JSON, one object per line")
	outputFlag(cmd, &output)
	return cmd
}

// followHistory prints entries until it is interrupted.
func followHistory(ctx context.Context, o *options, a *api, name string, n int, output string) error {
	var last int64
	tick := time.NewTicker(historyLook)
	defer tick.Stop()
	for {
		h, err := a.history(ctx, name, n)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := printEntries(o.env.stdout, after(h.Entries, last), output); err != nil {
			return err
		}
		if len(h.Entries) > 0 {
			last = h.Entries[len(h.Entries)-1].Seq
		}
		n = maxEntries // nothing that happened meanwhile is left out
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// after leaves out what was shown.
func after(list []httpapi.MapiEntry, seq int64) []httpapi.MapiEntry {
	for i, e := range list {
		if e.Seq > seq {
			return list[i:]
		}
	}
	return nil
}

// printEntries writes one line per entry.
func printEntries(w io.Writer, list []httpapi.MapiEntry, output string) error {
	for _, e := range list {
		var err error
		if output == outputJSON {
			err = printLine(w, e)
		} else {
			_, err = fmt.Fprintln(w, entryLine(e))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entryLine is "2026-11-22 08:05:00  report_error  idle -> precheck  0x8004011D …".
func entryLine(e httpapi.MapiEntry) string {
	phases := e.To
	if e.From != e.To && e.From != "" {
		phases = e.From + " -> " + e.To
	}
	more := []string{}
	for _, m := range []struct{ name, value string }{
		{"", e.Reason}, {"", hresultLine(e.Outcome)}, {"", e.Action}, {"cause ", e.Cause}, {"attempt ", e.Attempt}, {"", e.Detail},
	} {
		if m.value != "" {
			more = append(more, m.name+m.value)
		}
	}
	line := fmt.Sprintf("%s  %-12s  %-24s  %s", e.At.Local().Format(time.DateTime), e.Event, phases, strings.Join(more, ", "))
	return strings.TrimRight(printable(line), " ")
}
