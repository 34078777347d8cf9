package main

import (
	"context"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// newMapi is `broker mapi`.
func newMapi(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mapi",
		Short: "Keep the mailbox access of Extended MAPI programs alive, through Outlook",
		Long: `Look after the Outlook fallback. For Extended MAPI no token exists that a broker
could hand out: such a program works through an Outlook profile, with what Office
keeps for that account. The broker sees when that is about to end, gets Outlook to
renew it, proves that it did, and says what a person must do where no program can.

The targets are named under mapi in broker.yaml.`,
		Example: `  broker mapi status
  broker mapi ensure archive --wait 2m
  broker mapi report archive --hresult 0x8004011D --operation OpenMsgStore
  broker mapi history archive --follow`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(
		newMapiStatus(o), newMapiEnsure(o), newMapiReport(o), newMapiHistory(o), newMapiPause(o), newMapiResume(o), newMapiProbe(o),
	)
	return cmd
}

// withRunning is withAPI for what only a running broker can do: one that lives in
// this process for a moment must not touch Outlook.
func withRunning(cmd *cobra.Command, o *options, do func(ctx context.Context, a *api) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	places, err := config.Options{ConfigPath: o.config, StateDir: o.stateDir, Environ: o.env.environ}.Places()
	if err != nil {
		return err
	}
	holder, ok := lifecycle.Holder(places.StateDir)
	if !ok || holder.Listen == "" {
		return notRunning()
	}
	a, err := remote(places.StateDir, holder.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = a.close() }() // a running broker's connection; nothing is lost
	return do(ctx, a)
}

func notRunning() error {
	return token.NewError(token.KindUnavailable, "", "The broker is not running; start it with: broker serve")
}

// targetNames completes the first argument with the Outlook targets: with a
// running broker those there are and their phases, else those configured.
func targetNames(o *options) cobra.CompletionFunc {
	running := completing(o, func(ctx context.Context, a *api) []string {
		list, err := a.targets(ctx)
		if err != nil {
			return nil
		}
		var names []string
		for _, t := range list {
			names = append(names, t.Target+"\t"+string(t.Phase))
		}
		return names
	})
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if found, directive := running(cmd, args, toComplete); len(found) > 0 {
			return found, directive
		}
		return configuredTargets(o)
	}
}

// targetFlag completes a flag with the Outlook targets that are configured.
func targetFlag(o *options) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return configuredTargets(o)
	}
}

func configuredTargets(o *options) ([]cobra.Completion, cobra.ShellCompDirective) {
	loaded, err := loadConfig(o)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(loaded.Config.MAPI)), cobra.ShellCompDirectiveNoFileComp
}

// printTarget prints what a command that changed a target says of it.
func printTarget(o *options, t httpapi.MapiTarget, output, did string) error {
	if output == outputJSON {
		return printJSON(o.env.stdout, t)
	}
	return say(o.env.stdout, did, t)
}
