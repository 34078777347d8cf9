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

// newStatus is `broker status`.
func newStatus(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what is true now",
		Long: `Say what is true now: the broker, its store, the accounts, the Outlook targets,
warnings and the last problems. Where no broker runs, it says so and shows what is stored; in JSON,
"running" is then false. The exit code is 0 in both cases.`,
		Example: `  broker status
  broker status --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				s, err := a.status(ctx)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return printJSON(o.env.stdout, struct {
						Running bool `json:"running"`
						httpapi.Status
					}{!a.local, s})
				}
				return showStatus(o.env.stdout, time.Now(), s, !a.local)
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// showStatus writes the page for a person.
func showStatus(w io.Writer, now time.Time, s httpapi.Status, running bool) error {
	if running {
		fmt.Fprintf(w, "M365 Token Broker %s runs since %s (process %d)\n",
			s.Version, span(time.Duration(s.UptimeSeconds)*time.Second), s.Pid)
	} else {
		fmt.Fprintf(w, "No broker runs; start it with `broker serve`. This is what is stored.\n")
	}
	store := string(s.Store.Kind)
	if s.Store.Description != "" {
		store = s.Store.Description
	}
	if !s.Store.Usable {
		store += "  NOT USABLE: " + s.Store.Problem.Detail
	}
	var facts [][]string
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, []string{name, value})
		}
	}
	if running {
		add("address", asURLs(s.Listen))
	}
	add("config", s.ConfigFile)
	add("state", s.StateDir)
	add("cloud", s.Cloud)
	add("store", store)
	add("consumers", fmt.Sprint(s.Consumers))
	add("EWS", ewsLine(s.Ews, now))
	if s.SignInsPending > 0 {
		add("sign-ins", fmt.Sprintf("%d waiting for a person", s.SignInsPending))
	}
	if err := table(w, "  ", facts); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nAccounts")
	if len(s.Accounts) == 0 {
		fmt.Fprintln(w, "  none is signed in; run `broker login`")
	} else if err := showAccounts(w, "  ", now, s.Accounts); err != nil {
		return err
	}
	if len(s.Mapi) > 0 {
		fmt.Fprintln(w, "\nOutlook targets")
		if err := showTargets(w, "  ", now, s.Mapi); err != nil {
			return err
		}
	}
	showTroubles(w, now, s)
	return nil
}

// showTroubles writes the warnings and the last problems.
func showTroubles(w io.Writer, now time.Time, s httpapi.Status) {
	if len(s.Warnings) > 0 {
		fmt.Fprintln(w, "\nWarnings")
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "  %s\n", printable(warning))
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "\nLast problems")
	}
	for _, p := range s.Problems {
		about := strings.TrimSpace(p.Account + " " + p.Resource)
		if about != "" {
			about += ": "
		}
		fmt.Fprintf(w, "  %s  %s%s (%s)\n", since(now, p.At), printable(about), printable(p.Problem.Detail), p.Problem.Code)
	}
}
