package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newAgentInstall is `broker agent install`.
func newAgentInstall(o *options) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Start the agent at every logon",
		Long: `Have Windows start the agent, without a window, whenever this account logs on: an
entry in the registry's Run key. It does not start the agent now.`,
		Example: `  broker agent install
  broker agent install --all-users    for whoever logs on; needs an administrator`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			command, err := installAgent(o, all)
			if err != nil {
				return err
			}
			fmt.Fprintf(o.env.stdout, "From the next logon on, Windows starts the agent with:\n\n  %s\n\nUndo it with: broker agent uninstall\n", command)
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all-users", false, "for every account of this machine, not only this one")
	return cmd
}

// newAgentUninstall is `broker agent uninstall`.
func newAgentUninstall(o *options) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "uninstall",
		Short:   "Start the agent at logon no more",
		Example: "  broker agent uninstall",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			was, err := uninstallAgent(all)
			switch {
			case err != nil:
				return err
			case was:
				fmt.Fprintln(o.env.stdout, "Windows does not start the agent any more. One that runs goes on until its session ends.")
			default:
				fmt.Fprintln(o.env.stdout, "Windows did not start the agent at logon; nothing was changed.")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all-users", false, "the entry for every account of this machine")
	return cmd
}

// agentCommand is the command line that starts the agent with these options, in
// the way that Windows reads it.
func agentCommand(program string, o *options, escape func([]string) string) string {
	return escape(append([]string{program, "agent", "--background"}, globalArgs(o)...))
}
