package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// newMapiStatus is `broker mapi status`.
func newMapiStatus(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status [TARGET]",
		Short: "Say how the Outlook targets are, and what a person must do",
		Long: `Say how the Outlook targets are; with a name, all that is known of that one.

PHASE is idle (nothing to do), precheck, trigger or observe (an attempt to renew is
being made), needs_user, wait_session or wait_agent (somebody must act or log on),
backoff (an attempt failed; the next one comes by itself), suspended (none is made
until broker mapi resume), unsupported or session0_broken (it cannot work here).

ACCESS is fresh, due (the last proof is old), expired (MAPI was refused) or unknown.
Where no broker runs, it is what was written down last. The exit code is 0 whatever
the state; broker mapi ensure has one for each.`,
		Example: `  broker mapi status
  broker mapi status archive
  broker mapi status --output json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: targetNames(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				if len(args) == 0 {
					return listTargets(ctx, o, a, output)
				}
				t, err := a.target(ctx, args[0])
				if err != nil {
					return err
				}
				if output == outputJSON {
					return printJSON(o.env.stdout, t)
				}
				if a.local {
					fmt.Fprintln(o.env.stderr, "No broker runs; this is what was written down last.")
				}
				return showTarget(o.env.stdout, time.Now(), t)
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func listTargets(ctx context.Context, o *options, a *api, output string) error {
	list, err := a.targets(ctx)
	if err != nil {
		return err
	}
	if output == outputJSON {
		return printJSON(o.env.stdout, httpapi.MapiTargetList{Targets: list})
	}
	if len(list) == 0 {
		fmt.Fprintln(o.env.stdout, "No Outlook target is configured; name one under mapi in broker.yaml.")
		return nil
	}
	if a.local {
		fmt.Fprintln(o.env.stderr, "No broker runs; this is what was written down last.")
	}
	return showTargets(o.env.stdout, "", time.Now(), list)
}

// showTargets writes one row per target, and beneath what somebody should know.
func showTargets(w io.Writer, prefix string, now time.Time, list []httpapi.MapiTarget) error {
	rows := [][]string{{"TARGET", "PHASE", "ACCESS", "LAST PROOF", "NEXT LOOK", "FAILED", "STARTS LEFT", "AGENT"}}
	for _, t := range list {
		rows = append(rows, []string{
			t.Target, phaseOf(t), string(t.Freshness), proof(now, t), until(now, t.NextCheck), fmt.Sprint(t.Attempts),
			fmt.Sprint(t.Budget.StartsLeft), agentWord(now, t.Agent),
		})
	}
	if err := table(w, prefix, rows); err != nil {
		return err
	}
	for _, t := range list {
		name := prefix + printable(t.Target) + ": "
		if t.Phase != httpapi.MapiPhaseIdle {
			fmt.Fprintln(w, name+sentencesOf(t))
		}
		for _, s := range troubles(t) {
			fmt.Fprintln(w, name+s)
		}
	}
	return nil
}

// troubles are what stands, or could stand, in the way of the next renewal.
func troubles(t httpapi.MapiTarget) []string {
	var all []string
	if o := t.Obstacle; o.Message != "" {
		all = append(all, printable(strings.TrimSpace("The next renewal would fail: "+o.Message+" "+o.Action)))
	}
	for _, warning := range t.Warnings {
		all = append(all, printable(warning))
	}
	return all
}

// phaseOf is "needs_user (sign_in)".
func phaseOf(t httpapi.MapiTarget) string {
	if t.Reason == "" {
		return string(t.Phase)
	}
	return string(t.Phase) + " (" + t.Reason + ")"
}

// proof is "3 h ago (consumer)".
func proof(now time.Time, t httpapi.MapiTarget) string {
	if t.LastProof.IsZero() {
		return ""
	}
	return since(now, t.LastProof) + " (" + string(t.ProofKind) + ")"
}

// agentWord says in a word whether anybody can touch Outlook.
func agentWord(now time.Time, a httpapi.MapiAgent) string {
	switch {
	case a.InBroker:
		return "in the broker"
	case a.Present:
		return "present"
	case !a.SeenAt.IsZero():
		return "gone " + since(now, a.SeenAt)
	default:
		return "none"
	}
}

// sentencesOf is what is true, and what a person must do.
func sentencesOf(t httpapi.MapiTarget) string {
	return printable(strings.TrimSpace(t.Message + " " + t.Action))
}

// say writes what a command did, and how the target is now.
func say(w io.Writer, did string, t httpapi.MapiTarget) error {
	_, err := fmt.Fprintf(w, "%s%s is %s, its access %s. %s\n", did, printable(t.Target), phaseOf(t), t.Freshness, sentencesOf(t))
	return err
}

// showTarget writes all that is known of one target.
func showTarget(w io.Writer, now time.Time, t httpapi.MapiTarget) error {
	fmt.Fprintf(w, "%s is %s, its access %s\n  %s\n", printable(t.Target), phaseOf(t), t.Freshness, printable(t.Message))
	if t.Action != "" {
		fmt.Fprintf(w, "  To do: %s\n", printable(t.Action))
	}
	for _, s := range troubles(t) {
		fmt.Fprintln(w, "  "+s)
	}
	var facts [][]string
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, []string{name, value})
		}
	}
	add("since", since(now, t.SinceAt))
	add("last proof", proof(now, t))
	add("due", until(now, t.DueAt))
	if t.LearnedLifetime > 0 {
		add("lasts", span(time.Duration(t.LearnedLifetime)*time.Second)+", as far as is known")
	}
	add("next look", until(now, t.NextCheck))
	add("next try", until(now, t.RetryAt))
	add("failed", fmt.Sprintf("%d in a row", t.Attempts))
	add("starts", starts(now, t.Budget))
	add("last error", hresultLine(t.Hresult))
	add("profile", fmt.Sprintf("%s (%s, policy %s)", t.Profile, t.Mode, t.Policy))
	add("account", t.Account)
	add("host", t.Host)
	add("agent", agentLine(now, t.Agent))
	add("session", sessionLine(now, t.Agent.Session))
	add("outlook", outlookLine(t.Agent))
	return table(w, "  ", facts)
}

// starts is "1 left, 8 a day, the next in 4 min".
func starts(now time.Time, b httpapi.MapiBudget) string {
	s := fmt.Sprintf("%d left, %d a day", b.StartsLeft, b.StartsMax)
	if b.NextStartAt.After(now) {
		s += ", the next " + until(now, b.NextStartAt)
	}
	return s
}

// hresultLine is the number with its name, where it has one.
func hresultLine(text string) string {
	hr, err := mapiprobe.ParseHResult(text)
	if text == "" || err != nil {
		return text
	}
	return strings.TrimSpace(text + " " + mapiprobe.Name(hr))
}

func agentLine(now time.Time, a httpapi.MapiAgent) string {
	s := agentWord(now, a)
	if a.Version != "" {
		s += fmt.Sprintf(", version %s, process %d", a.Version, a.Pid)
	}
	if a.Present && !a.SeenAt.IsZero() {
		s += ", heard of " + since(now, a.SeenAt)
	}
	return s
}

func sessionLine(now time.Time, s httpapi.MapiSession) string {
	if s.State == "" {
		return ""
	}
	line := fmt.Sprintf("%d, %s", s.ID, s.State)
	if s.Locked {
		line += ", locked"
	}
	if !s.LogonAt.IsZero() {
		line += ", logged on " + since(now, s.LogonAt)
	}
	if !s.LastInputAt.IsZero() {
		line += ", last used " + since(now, s.LastInputAt)
	}
	return line
}

// outlookLine is "16.0.18526.20144, x64, here, connection mode 700, C:\…".
func outlookLine(a httpapi.MapiAgent) string {
	var all []string
	for _, s := range []string{a.Outlook.Version, string(a.Outlook.Bitness), string(a.Outlook.Running)} {
		if s != "" {
			all = append(all, s)
		}
	}
	if a.ConnectionMode != 0 {
		all = append(all, fmt.Sprintf("connection mode %d", a.ConnectionMode))
	}
	if a.Outlook.Path != "" {
		all = append(all, a.Outlook.Path)
	}
	return strings.Join(all, ", ")
}
