package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// addCompletion adds cobra's own command with one subcommand per shell, and makes
// a shell that it does not know a usage error.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, err := root.Find([]string{"completion"})
	if err != nil { // it was added above, so that this cannot be
		return
	}
	cmd.Short = "Print the script that completes commands in a shell"
	cmd.Long = `Print the script that lets a shell complete commands, flags and names with the tab
key. The help of each shell's command says where to put the script so that it stays.`
	cmd.Example = `  source <(broker completion bash)
  broker completion fish > ~/.config/fish/completions/broker.fish
  broker completion powershell | Out-String | Invoke-Expression`
	onlySubcommands(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var shells []string
		for _, c := range cmd.Commands() {
			shells = append(shells, c.Name())
		}
		return usagef("there is no completion for %q; use %s", args[0], oneOf(shells))
	}
}

// completionTime bounds what a press of the tab key may cost.
const completionTime = 500 * time.Millisecond

// completing asks the running broker for names. Without one, or on any fault,
// there is nothing to offer: a shell is no place for error texts.
func completing(o *options, names func(context.Context, *api) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		loaded, err := loadConfig(o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		holder, ok := lifecycle.Holder(loaded.Places.StateDir)
		if !ok || holder.Listen == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a, err := remote(loaded.Places.StateDir, holder.Listen)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found := names(ctx, a)
		_ = a.close() // a running broker's connection; nothing is lost
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// accountNames completes the accounts that are signed in.
func accountNames(o *options) cobra.CompletionFunc {
	return completing(o, func(ctx context.Context, a *api) []string {
		list, err := a.accounts(ctx)
		if err != nil {
			return nil
		}
		var names []string
		for _, acc := range list {
			names = append(names, acc.Account+"\t"+string(acc.State))
		}
		return names
	})
}

// consumerNames completes the first argument with the consumers that stay.
func consumerNames(o *options) cobra.CompletionFunc {
	complete := completing(o, func(ctx context.Context, a *api) []string {
		list, err := a.consumers(ctx)
		if err != nil {
			return nil
		}
		var names []string
		for _, c := range list {
			if c.LeaseEndsAt.IsZero() {
				names = append(names, c.Name)
			}
		}
		return names
	})
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, toComplete)
	}
}

// resourceNames completes the resources that are configured, broker or not.
func resourceNames(o *options) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		loaded, err := loadConfig(o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(loaded.Config.Resources)), cobra.ShellCompDirectiveNoFileComp
	}
}

// complete registers how a flag is completed. The flag exists, so that this
// cannot fail.
func complete(cmd *cobra.Command, flag string, names cobra.CompletionFunc) {
	_ = cmd.RegisterFlagCompletionFunc(flag, names)
}
