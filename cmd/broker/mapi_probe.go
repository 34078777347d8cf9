package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe/extendedmapi"
)

// newMapiProbe is `broker mapi probe`.
func newMapiProbe(o *options) *cobra.Command {
	var req extendedmapi.Request
	var mode, output string
	cmd := &cobra.Command{
		Use:   "probe --profile NAME",
		Short: "Try whether Extended MAPI can open an Outlook profile now",
		Long: `Open the default mailbox of an Outlook profile by Extended MAPI, read one property
from the server, and say what came out. Nothing is written, and no box is shown.
The profile is one of the account that runs this command.

MAPI must be of this program's bitness. Where Outlook is 32-bit, use the 32-bit
build of the broker: broker-x86.exe, which the broker looks for beside broker.exe.

MAPI lets one program log on at a time: do not run this more often than every ten
minutes, and not while Outlook is starting. It ends after 50 seconds at the latest.

Exit codes, besides 1 (not tried) and 2 (wrong usage):

   0  ok             the mailbox answered
  10  auth           Outlook has to sign in again, in that account's session
  11  logon          auth, or the profile: open it in Outlook
  12  network        the mail server cannot be reached
  13  busy           try again later; also: MAPI did not answer in time
  14  configuration  the profile, the mailbox's rights, or another bitness
  15  installation   no Outlook, or one that has to be repaired
  16  other          see the HRESULT`,
		Example: `  broker mapi probe --profile Outlook
  broker mapi probe --profile "Archive service" --mode online --output json
  broker-x86.exe mapi probe --profile Outlook`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Profile == "" {
				return usagef("--profile is missing; name the Outlook profile, as in Control Panel, Mail")
			}
			req.Mode = mapiprobe.Mode(mode)
			return probeMapi(cmd.Context(), o, req, output)
		},
	}
	cmd.Flags().StringVar(&req.Profile, "profile", "", "name of the Outlook profile, at most 64 characters (required)")
	choiceFlag(cmd, &mode, "mode", "how the mailbox is opened; take what the program that it is for does", string(mapiprobe.Cached), string(mapiprobe.Online))
	outputFlag(cmd, &output)
	return cmd
}

// probeMapi opens the profile and prints what came out; the exit code says it
// too.
func probeMapi(ctx context.Context, o *options, req extendedmapi.Request, output string) error {
	found, err := extendedmapi.Open(ctx, req)
	if err != nil {
		return err
	}
	if output == outputJSON {
		err = printJSON(o.env.stdout, found)
	} else {
		_, err = fmt.Fprintf(o.env.stdout, "%s: %s\n%s\n", found.Class, probeLine(found), found.Sentence())
	}
	if code := found.Class.ExitCode(); err == nil && code != exitDone {
		return exitError(code)
	}
	return err
}

// probeLine is the result for those who know MAPI.
func probeLine(r mapiprobe.Result) string {
	name := r.Name
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("%s (%s) at step %s after %s, %s", name, mapiprobe.FormatHResult(r.HResult), r.Step, span(r.Took), r.Bitness)
}
