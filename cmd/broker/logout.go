package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newLogout is `broker logout`.
func newLogout(o *options) *cobra.Command {
	var account, output string
	var yes bool
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Forget an account everywhere on this machine",
		Long: `Forget an account on this machine: its tokens in memory and everything of it in
the secret store. The next request for it is answered with sign-in-required.

Nothing is revoked at Microsoft: access tokens that programs hold stay valid until
they expire, about an hour. To end every session of the account, its owner uses
"Sign out everywhere" at https://mysignins.microsoft.com, or an administrator runs
Revoke-MgUserSignInSession -UserId <user>.`,
		Example: `  broker logout                  the only account that is signed in
  broker logout --account ops
  broker logout --yes            all accounts, without a question`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				names, err := toSignOut(ctx, o, a, account, yes)
				if err != nil {
					return err
				}
				for _, name := range names {
					if err := a.signOut(ctx, name); err != nil {
						return err
					}
				}
				return saySignedOut(o, names, output)
			})
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "alias or user name; may be left out where there is one account")
	cmd.Flags().BoolVar(&yes, "yes", false, "ask nothing; without --account, sign out all accounts")
	outputFlag(cmd, &output)
	complete(cmd, "account", accountNames(o))
	return cmd
}

// toSignOut decides which accounts are meant: the named one, else the only one,
// else all of them where a person or --yes says so.
func toSignOut(ctx context.Context, o *options, a *api, account string, yes bool) ([]string, error) {
	if account != "" {
		return []string{account}, nil
	}
	list, err := a.accounts(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, acc := range list {
		if isSignedIn(acc) {
			names = append(names, acc.Account)
		}
	}
	if len(names) < 2 || yes {
		return names, nil
	}
	all := printable(strings.Join(names, ", "))
	if !o.interactive() {
		return nil, usagef("%d accounts are signed in (%s); name one with --account, or give --yes to sign out all", len(names), all)
	}
	sure, err := o.asker().confirm(fmt.Sprintf("Sign out all %d accounts (%s)?", len(names), all))
	if err != nil || !sure {
		return nil, usagef("nothing was signed out; name one account with --account")
	}
	return names, nil
}

func saySignedOut(o *options, names []string, output string) error {
	if output == outputJSON {
		return printJSON(o.env.stdout, map[string][]string{"signed_out": names})
	}
	if len(names) == 0 {
		fmt.Fprintln(o.env.stdout, "No account is signed in.")
		return nil
	}
	fmt.Fprintf(o.env.stdout, `Signed out on this machine: %s
Nothing is revoked at Microsoft: tokens that programs hold stay valid until they
expire, about an hour. To end all sessions of the account, its owner uses "Sign out
everywhere" at https://mysignins.microsoft.com, or an administrator runs
Revoke-MgUserSignInSession.
`, printable(strings.Join(names, ", ")))
	return nil
}
