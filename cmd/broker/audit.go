package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/audit"
)

// newAudit is `broker audit`.
func newAudit(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who got what and who was refused, and verify that nobody changed the record",
		Long: `Show and verify the audit log: one line for each token that a consumer got, each
request that was refused, each sign-in, and each change of keys and settings. Every
line is chained to the one before by its hash.

Both commands read the files in the state directory and need no running broker.`,
		Example: `  broker audit tail
  broker audit verify`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(newAuditVerify(o), newAuditTail(o))
	return cmd
}

// noAuditLog is for a state directory without an audit log.
func noAuditLog(dir string, err error) error {
	if !errors.Is(err, audit.ErrNoLog) {
		return err
	}
	return fmt.Errorf("there is no audit log in %s; a broker with audit.file: true writes one, and --state-dir names another place", dir)
}

// auditLine is "2026-11-22 08:05:00  request.refused  crm  denied, GET /v1/token …".
func auditLine(l audit.Line) string {
	who := l.Consumer
	if who == "" {
		who = "-"
	}
	var more []string
	add := func(format, value string) {
		if value != "" {
			more = append(more, fmt.Sprintf(format, value))
		}
	}
	add("%s", l.Subject)
	if l.Resource != "" {
		add(l.Resource+" of account %s", l.Account)
	} else {
		add("account %s", l.Account)
	}
	add("%s", l.Outcome)
	add("%s", l.Route)
	add("%s", l.Flow)
	if l.Count > 0 {
		add("%s times", fmt.Sprint(l.Count))
	}
	add("%s", strings.Join(l.Keys, " "))
	if l.Begins > 0 {
		add("begins with line %s now", fmt.Sprint(l.Begins))
	}
	add("%s", l.Detail)
	add("request %s", l.RequestID)
	line := fmt.Sprintf("%s  %-24s  %-12s  %s", l.Time.Local().Format(time.DateTime), l.Event, who, strings.Join(more, ", "))
	return strings.TrimRight(printable(line), " ")
}
