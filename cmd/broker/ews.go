package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// outputCSV is --output for a spreadsheet.
const outputCSV = "csv"

// newEWS is `broker ews`.
func newEWS(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ews",
		Short: "See who still uses Exchange Web Services, and what replaces it",
		Long: `See which consumers still call Exchange Web Services (EWS), which end in Exchange
Online on 1 April 2027, and what in Microsoft Graph replaces each call. Exchange on
premises goes on.`,
		Example: `  broker ews report
  broker ews report --consumer crm
  broker ews reset`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(newEWSReport(o), newEWSReset(o))
	return cmd
}

func newEWSReport(o *options) *cobra.Command {
	var name, output string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Report who calls which EWS operation, and the Graph call for each",
		Long: `Report who calls which operation of Exchange Web Services how often, the Microsoft
Graph call and the least delegated permission that replace it, which permissions the
app registration needs in sum, and what to do next.

Counted is what goes through the broker's proxy: names and numbers, never anything of
a request's content. A program that takes a token of the resource ews and calls
Exchange itself is not seen; the report names the consumers that could do so. Where no
broker runs, it is what was written down last.`,
		Example: `  broker ews report
  broker ews report --consumer crm
  broker ews report --output csv > ews.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				r, err := askEWS(ctx, a, name)
				if err != nil {
					return err
				}
				if a.local && output == outputText {
					fmt.Fprintln(o.env.stderr, "No broker runs; this is what was written down last.")
				}
				switch output {
				case outputJSON:
					return printJSON(o.env.stdout, r)
				case outputCSV:
					return r.csv(o.env.stdout)
				default:
					return r.show(o.env.stdout, time.Now())
				}
			})
		},
	}
	cmd.Flags().StringVar(&name, "consumer", "", "only of this consumer")
	choiceFlag(cmd, &output, "output", "form of what is printed", outputText, outputJSON, outputCSV)
	complete(cmd, "consumer", countedNames(o))
	return cmd
}

func newEWSReset(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Forget what was counted, and count anew",
		Long: `Forget what was counted of Exchange Web Services, and count anew: once a program has
moved to Microsoft Graph, to see that nothing of it is left.`,
		Example: `  broker ews reset
  broker ews reset --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes && o.interactive() {
				sure, err := o.asker().confirm("Forget what was counted of all consumers?")
				if err != nil || !sure {
					return usagef("nothing was forgotten")
				}
			}
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				if err := a.do(ctx, http.MethodDelete, "/v1/ews", nil, nil); err != nil {
					return err
				}
				fmt.Fprintln(o.env.stdout, "Counting begins anew.")
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "ask nothing")
	return cmd
}

func (a *api) ewsUsage(ctx context.Context) (out httpapi.EWSUsage, err error) {
	err = a.do(ctx, http.MethodGet, "/v1/ews", nil, &out)
	return out, err
}

// askEWS is the report of one consumer; an empty name is all.
func askEWS(ctx context.Context, a *api, name string) (ewsReport, error) {
	usage, err := a.ewsUsage(ctx)
	if err != nil {
		return ewsReport{}, err
	}
	all, err := a.consumers(ctx)
	if err != nil {
		return ewsReport{}, err
	}
	if name != "" {
		usage.Consumers = slices.DeleteFunc(usage.Consumers, func(c httpapi.EWSConsumer) bool { return c.Consumer != name })
		exists := slices.ContainsFunc(all, func(c httpapi.Consumer) bool { return c.Name == name })
		if len(usage.Consumers) == 0 && !exists {
			return ewsReport{}, usagef("there is no consumer %q, and nothing was counted of one; see: broker consumers list", name)
		}
		all = slices.DeleteFunc(all, func(c httpapi.Consumer) bool { return c.Name != name })
	}
	return newEWSReportOf(usage, all, time.Now()), nil
}

// countedNames completes the consumers that were counted.
func countedNames(o *options) cobra.CompletionFunc {
	return completing(o, func(ctx context.Context, a *api) []string {
		usage, err := a.ewsUsage(ctx)
		if err != nil {
			return nil
		}
		var names []string
		for _, c := range usage.Consumers {
			names = append(names, c.Consumer)
		}
		return names
	})
}
