package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// newNotify is `broker notify`.
func newNotify(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "See who is told when a person is needed",
		Long: `See who is told when a person is needed: an account that must be signed in again, or
soon, an administrator who must act, an Outlook that asks something.

The settings under notify in broker.yaml name a webhook, a command and, on Windows,
the event log.`,
		Example: `  broker notify test
  broker notify test --output json`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(newNotifyTest(o))
	return cmd
}

func newNotifyTest(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Send a test event to everybody who is told",
		Long: `Send event 1, a test, to the webhook, the command and the event log, as far as they
are configured: once each, now, and past their queues. The running broker sends it,
with its own settings and rights; where none runs, this command does.

The exit code is 0 where all took it, and 1 where one did not or none is configured.`,
		Example: `  broker notify test
  broker notify test --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				var test httpapi.NotifyTest
				if err := a.do(ctx, http.MethodPost, "/v1/notify/test", nil, &test); err != nil {
					return err
				}
				return o.showNotifyTest(test, output)
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// showNotifyTest prints what became of the test event.
func (o *options) showNotifyTest(test httpapi.NotifyTest, output string) error {
	failed := len(test.Outcomes) == 0
	for _, t := range test.Outcomes {
		failed = failed || !t.Ok
	}
	if output == outputJSON {
		if err := printJSON(o.env.stdout, test); err != nil {
			return err
		}
	} else if len(test.Outcomes) == 0 {
		fmt.Fprintln(o.env.stdout, "Nobody is told: no notification is configured. Set notify.webhook or notify.command (on Windows also notify.event_log: true).")
	} else {
		var rows [][]string
		for _, t := range test.Outcomes {
			rows = append(rows, []string{string(t.Sink), wellOr(t.Ok, "FAILED"), t.Text})
		}
		if err := table(o.env.stdout, "", rows); err != nil {
			return err
		}
	}
	if failed {
		return exitError(exitFailed)
	}
	return nil
}

func wellOr(ok bool, bad string) string {
	if ok {
		return "ok"
	}
	return bad
}

// notifyTest sends a test event to everybody who is told.
func (p *parts) notifyTest(ctx context.Context) []httpapi.NotifyOutcome {
	var out []httpapi.NotifyOutcome
	for _, t := range p.notifier.Test(ctx) {
		out = append(out, httpapi.NotifyOutcome{Sink: httpapi.NotifyOutcomeSink(t.Sink), Ok: t.OK, Text: t.Text})
	}
	return out
}

// noticeTasks tell people what needs them.
func (p *parts) noticeTasks() []lifecycle.Task {
	return []lifecycle.Task{
		{Name: "notifications", Run: p.notifier.Run},
		{Name: "account reminders", Run: p.reminder.Run},
	}
}
