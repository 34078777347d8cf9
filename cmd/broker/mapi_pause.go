package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// newMapiPause is `broker mapi pause`.
func newMapiPause(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause TARGET",
		Short: "Leave Outlook alone until resume",
		Long: `Leave Outlook alone: no attempt to renew is made for this target until
broker mapi resume, also after a restart of the broker. What can be seen is still
looked at.`,
		Example: `  broker mapi pause archive`,
	}
	return changesTarget(o, cmd, (*api).pauseTarget)
}

// newMapiResume is `broker mapi resume`.
func newMapiResume(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume TARGET",
		Short: "Let the broker renew through Outlook again",
		Long: `End a pause, or the suspension after failed attempts, or tell the broker that a
person has done what it asked for. It then looks again at once. How often Outlook
may be started stays as it is.`,
		Example: `  broker mapi resume archive`,
	}
	return changesTarget(o, cmd, (*api).resumeTarget)
}

// changesTarget is a command that has the running broker change a target, and
// prints how that is then.
func changesTarget(o *options, cmd *cobra.Command, change func(*api, context.Context, string) (httpapi.MapiTarget, error)) *cobra.Command {
	var output string
	cmd.Args = cobra.ExactArgs(1)
	cmd.ValidArgsFunction = targetNames(o)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withRunning(cmd, o, func(ctx context.Context, a *api) error {
			t, err := change(a, ctx, args[0])
			if err != nil {
				return err
			}
			return printTarget(o, t, output, "")
		})
	}
	outputFlag(cmd, &output)
	return cmd
}
