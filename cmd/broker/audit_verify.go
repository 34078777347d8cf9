package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/audit"
)

// newAuditVerify is `broker audit verify`.
func newAuditVerify(o *options) *cobra.Command {
	var noted, output string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Find out whether lines of the audit log were removed, changed or moved",
		Long: `Read the whole audit log along its chain of hashes, and name the first line that was
changed, removed, moved or put in. The exit code is 0 where the log is whole, and 1
where it is not.

Who can write the files can make all of them anew, hashes included. So note down
elsewhere what stands behind "head": --noted later finds out whether that line is
still there as it was.`,
		Example: `  broker audit verify
  broker audit verify --output json
  broker audit verify --noted 1042:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			mark, err := parseNoted(noted)
			if err != nil {
				return err
			}
			p, err := places(o)
			if err != nil {
				return err
			}
			dir := auditDir(p.StateDir)
			r, err := audit.Verify(dir, mark)
			if err != nil {
				return noAuditLog(dir, err)
			}
			if output == outputJSON {
				err = printJSON(o.env.stdout, struct {
					OK  bool   `json:"ok"`
					Dir string `json:"dir"`
					audit.Report
				}{r.Fault == nil, dir, r})
			} else {
				err = showVerified(o.env.stdout, r)
			}
			if err == nil && r.Fault != nil {
				return exitError(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&noted, "noted", "", "a head that was noted before, as `SEQ:HASH`: that line must be in the log")
	outputFlag(cmd, &output)
	return cmd
}

// parseNoted reads SEQ:HASH.
func parseNoted(s string) (*audit.Mark, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no line was noted, and that is no error
	}
	number, hash, ok := strings.Cut(strings.TrimSpace(s), ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || seq == 0 || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return nil, usagef("--noted %s is no head of an audit log; copy what broker audit verify prints behind head", printable(s))
	}
	return &audit.Mark{Seq: seq, Hash: hash}, nil
}

// showVerified writes what was found, for a person.
func showVerified(w io.Writer, r audit.Report) error {
	f := r.Fault
	switch {
	case f != nil:
		fmt.Fprintf(w, "NOT WHOLE: %s, line %d (%s)\n  %s\n", printable(f.File), f.Line, f.Kind, printable(f.Text))
	case r.Lines == 0:
		fmt.Fprintln(w, "The audit log is whole, and has no line yet.")
	default:
		fmt.Fprintf(w, "The audit log is whole: %d lines in %d files, from %s to %s.\n",
			r.Lines, r.Files, r.First.Time.Local().Format(time.DateTime), r.Last.Time.Local().Format(time.DateTime))
	}
	var facts [][]string
	if f == nil && r.Lines > 0 {
		facts = append(facts, []string{"head", fmt.Sprintf("%d:%s", r.Last.Seq, r.Last.Hash)})
	}
	if r.Pruned {
		facts = append(facts, []string{"begins", fmt.Sprintf("with line %d; the files before were removed because they were old", r.First.Seq)})
	}
	if r.Lost > 0 {
		facts = append(facts, []string{"lost", fmt.Sprintf("%d lines that the broker could not write; audit.lost lines say when", r.Lost)})
	}
	if r.Torn > 0 {
		facts = append(facts, []string{"torn", fmt.Sprintf("%d times a crash cut off a line; audit.torn lines say when", r.Torn)})
	}
	if r.Open > 0 {
		facts = append(facts, []string{"open", fmt.Sprintf("the last %d bytes are a line that is being written, or that a crash cut off", r.Open)})
	}
	return table(w, "  ", facts)
}
