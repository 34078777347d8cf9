package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// ensuring is one call of `broker mapi ensure`.
type ensuring struct {
	o      *options
	target string
	force  bool
	wait   time.Duration
	output string
}

// maxEnsure is how long a command may wait; an attempt has ended by then.
const maxEnsure = time.Hour

// newMapiEnsure is `broker mapi ensure`.
func newMapiEnsure(o *options) *cobra.Command {
	e := &ensuring{o: o}
	cmd := &cobra.Command{
		Use:   "ensure TARGET",
		Short: "Ask for fresh mailbox access, and wait for it",
		Long: `Ask for fresh mailbox access, as a program does before MAPILogonEx. Where it is
fresh, nothing is done. Otherwise the broker gets Outlook to renew, or joins the
attempt that is being made; Outlook is started no more often than the target's
budget allows, however often this is run.

Exit codes: 0 the access is fresh; 3 a person must act, or log on; 4 it cannot work
on this machine as it is, and an administrator must act; 5 not now: the attempt goes
on, the last one failed and the next comes by itself, attempts are suspended, or no
broker runs; 1 anything else. Standard error says what to do.`,
		Example: `  broker mapi ensure archive
  broker mapi ensure archive --wait 10m
  broker mapi ensure archive --force --output json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: targetNames(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.wait < 0 || e.wait > maxEnsure {
				return usagef("--wait %v is out of range; it can be 0s to 1h", e.wait)
			}
			e.target = args[0]
			return withRunning(cmd, o, e.run)
		},
	}
	cmd.Flags().DurationVar(&e.wait, "wait", time.Minute, "how long to wait for the end of the attempt")
	cmd.Flags().BoolVar(&e.force, "force", false, "make an attempt even where the access is fresh")
	outputFlag(cmd, &e.output)
	return cmd
}

// run asks, waits while the attempt is being made, and asks again how it ended:
// the broker has the one rule for that. In JSON mode the target is printed
// however it ended.
func (e *ensuring) run(ctx context.Context, a *api) error {
	t, err := a.ensureTarget(ctx, e.target, e.force)
	if err == nil && !isFresh(t) {
		if t, err = e.follow(ctx, a, t); err == nil && !attempting(t) {
			t, err = a.ensureTarget(ctx, e.target, false)
		}
	}
	if err == nil && !isFresh(t) {
		fmt.Fprintf(e.o.env.stderr, "broker: %s is still %s. %s Ask again, or give it longer with --wait.\n", printable(e.target), phaseOf(t), printable(t.Message))
		err = exitError(exitNoUpstream)
	}
	if e.output == outputJSON {
		return e.printed(ctx, a, err)
	}
	if err != nil {
		return err
	}
	return say(e.o.env.stdout, "", t)
}

func isFresh(t httpapi.MapiTarget) bool {
	return t.Phase == httpapi.MapiPhaseIdle && t.Freshness == httpapi.MapiFreshnessFresh
}

// attempting reports whether it is worth waiting: an attempt is being made, or
// the broker has just started and has not looked yet.
func attempting(t httpapi.MapiTarget) bool {
	switch t.Phase {
	case httpapi.MapiPhasePrecheck, httpapi.MapiPhaseTrigger, httpapi.MapiPhaseObserve:
		return true
	case httpapi.MapiPhaseIdle:
		return t.Freshness != httpapi.MapiFreshnessFresh
	default:
		return false
	}
}

// printed prints the target as it is, and passes on the error, with what there
// was to say of it.
func (e *ensuring) printed(ctx context.Context, a *api, err error) error {
	if t, failed := a.target(ctx, e.target); failed == nil {
		if failed := printJSON(e.o.env.stdout, t); failed != nil {
			return failed
		}
	}
	return err
}

// ensureLook is how often a waiting command looks.
const ensureLook = time.Second

// follow waits while the attempt is being made, and shows how far it is.
func (e *ensuring) follow(ctx context.Context, a *api, t httpapi.MapiTarget) (httpapi.MapiTarget, error) {
	p := &progress{out: e.o.env.stderr, screen: screenOf(e.o.env.stderr, e.o.env.getenv), quiet: e.output == outputJSON}
	defer p.done()
	tick := time.NewTicker(ensureLook)
	defer tick.Stop()
	for end := time.Now().Add(e.wait); attempting(t); {
		left := time.Until(end)
		if left <= 0 {
			return t, nil
		}
		p.show(t, left)
		select {
		case <-ctx.Done():
			return t, token.NewError(token.KindCancelled, "", "You stopped waiting; the attempt goes on, and broker mapi status shows how it ends.")
		case <-tick.C:
		}
		next, err := a.target(ctx, e.target)
		if err != nil && ctx.Err() == nil {
			return t, err
		}
		if err == nil {
			t = next
		}
	}
	return t, nil
}

// progress is a line that changes, on a terminal, or one line per change.
type progress struct {
	out    io.Writer
	screen screen
	quiet  bool
	last   string
	drawn  bool
}

func (p *progress) show(t httpapi.MapiTarget, left time.Duration) {
	line := fmt.Sprintf("%s: %s. %s", printable(t.Target), phaseOf(t), printable(t.Message))
	switch {
	case p.quiet:
	case p.screen.any():
		line = fmt.Sprintf("%s (%s left)", line, span(left))
		if width := p.screen.width - 1; len([]rune(line)) > width {
			line = string([]rune(line)[:width])
		}
		fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", max(0, len([]rune(p.last))-len([]rune(line)))))
		p.last, p.drawn = line, true
	case line != p.last:
		fmt.Fprintln(p.out, line)
		p.last = line
	}
}

// done ends the line that changes.
func (p *progress) done() {
	if p.drawn {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", len([]rune(p.last))))
	}
}
