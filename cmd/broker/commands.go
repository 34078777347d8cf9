package main

import "github.com/spf13/cobra"

// addCommands hangs every subcommand into the tree, in the order of the help.
func addCommands(root *cobra.Command, o *options) {
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Start here:"},
		&cobra.Group{ID: "accounts", Title: "Accounts and tokens:"},
		&cobra.Group{ID: "consumers", Title: "Programs that use the broker:"},
		&cobra.Group{ID: "look", Title: "Look after it:"},
	)
	group := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("start", newInit(o), newServe(o), newAgent(o), newService(o), newDemo(o), newSandbox(o))
	group("accounts", newLogin(o), newLogout(o), newAccounts(o), newToken(o), newExport(o), newImport(o))
	group("consumers", newConsumers(o), newExec(o))
	group("look", newStatus(o), newUI(o), newDoctor(o), newMapi(o), newEWS(o), newNotify(o), newAudit(o), newConfig(o), newVersion(o))
}
