package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/audit"
)

// maxAuditLines is how many lines a tail may ask for.
const maxAuditLines = 100000

// newAuditTail is `broker audit tail`.
func newAuditTail(o *options) *cobra.Command {
	var n int
	var follow bool
	var consumer, output string
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the latest lines of the audit log",
		Long: `Show the latest lines of the audit log, the newest last: when, what happened, who
asked, and what came of it. An account is shown by the hash that logs and metrics
have too. In JSON, each line is printed as it stands in the file.`,
		Example: `  broker audit tail
  broker audit tail -n 100 --consumer crm
  broker audit tail --follow --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 || n > maxAuditLines {
				return usagef("-n %d is out of range; it can be 1 to %d", n, maxAuditLines)
			}
			p, err := places(o)
			if err != nil {
				return err
			}
			dir := auditDir(p.StateDir)
			wanted := func(l audit.Line) bool {
				return consumer == "" || l.Consumer == consumer || l.Subject == consumer
			}
			show := func(l audit.Line) error { return printAuditLine(o.env.stdout, l, output) }
			if follow {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
				defer stop()
				return audit.Follow(ctx, dir, n, wanted, show)
			}
			lines, err := audit.Tail(dir, n, wanted)
			if err != nil {
				return noAuditLog(dir, err)
			}
			for _, l := range lines {
				if err := show(l); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&n, "number", "n", 20, "how many of the latest lines")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with what happens next, until you stop it")
	cmd.Flags().StringVar(&consumer, "consumer", "", "only lines of this consumer; admin is the admin key")
	outputFlag(cmd, &output)
	complete(cmd, "consumer", consumerNames(o))
	return cmd
}

func printAuditLine(w io.Writer, l audit.Line, output string) error {
	text := auditLine(l)
	if output == outputJSON {
		text = l.String()
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
