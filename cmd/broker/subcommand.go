package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// notEmpty refuses a list that was given with nothing in it: a script whose variable
// is not set must not mean the usual list, which may be all there is.
func notEmpty(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		list, err := cmd.Flags().GetStringSlice(name)
		if err != nil {
			return err
		}
		if cmd.Flags().Changed(name) && (len(list) == 0 || slices.Contains(list, "")) {
			return usagef("--%s is given and empty; name one, or leave it out", name)
		}
	}
	return nil
}

// onlySubcommands makes a command that does nothing by itself print its help,
// and refuse a word that is none of its subcommands, with the nearest ones.
func onlySubcommands(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("there is no command %q in %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += "; did you mean " + oneOf(near) + "?"
		}
		return usageError{fmt.Errorf("%s", text)}
	}
}
