package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// check is one thing that the doctor looked at: its name, what came out, one
// sentence, and what to do about it.
type check = httpapi.DoctorCheck

// What comes out of a check.
const (
	resultOK      = httpapi.DoctorCheckResultOk
	resultWarning = httpapi.DoctorCheckResultWarning
	resultProblem = httpapi.DoctorCheckResultProblem
	resultSkipped = httpapi.DoctorCheckResultSkipped
)

// newDoctor is `broker doctor`.
func newDoctor(o *options) *cobra.Command {
	var output string
	var bundle bundleFlags
	var only []string
	place := seatFlags{agent: agentAuto}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong, or soon will be, and say what to do",
		Long: `Look at the configuration, the state directory, the broker and its port, its secret
store, the way to the login host (proxy, DNS, TLS, clock), the tenant and the app
registration, every account and consumer, Exchange Web Services, the audit log, the
telemetry, and at all that would stop a renewal through Outlook before one is needed.

Where a broker runs, it looks itself, since what counts is what it sees. Without one,
this command looks at what it can see from here. Nothing is changed; the store is
tried with a scratch record, which is deleted again. It takes up to 15 seconds. No
secret is printed, so that the output can be sent to somebody who helps; --bundle
makes a file for that, in which user names are hashes, too.

The exit code is 1 where something is a problem, and 0 otherwise, warnings or not.`,
		Example: `  broker doctor
  broker doctor --output json
  broker doctor --check login-host,tls --check registration
  broker doctor --bundle support.zip`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			d := newDoctorOf(o, &place, only)
			if err := cmp.Or(notEmpty(cmd, "check"), bundle.check(cmd)); err != nil {
				return err
			}
			if err := d.look(ctx); err != nil {
				return err
			}
			report := httpapi.ReportOf(d.only.only(d.checks))
			if bundle.file != "" {
				if err := d.pack(report, bundle); err != nil {
					return err
				}
			}
			return showReport(o, report, output)
		},
	}
	outputFlag(cmd, &output)
	bundle.add(cmd)
	cmd.Flags().StringSliceVar(&only, "check", nil, "make only the checks of these `names`")
	complete(cmd, "check", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return checkNames(), cobra.ShellCompDirectiveNoFileComp
	})
	place.addScript(cmd)
	return cmd
}

// showReport prints the report; the error is its exit code.
func showReport(o *options, r httpapi.DoctorReport, output string) error {
	var err error
	if output == outputJSON {
		err = printJSON(o.env.stdout, r)
	} else {
		err = showChecks(o.env.stdout, r.Checks)
	}
	if err == nil && !r.Ok {
		return exitError(exitFailed)
	}
	return err
}

// marks are how a result stands at the beginning of a line.
var marks = map[httpapi.DoctorCheckResult]string{
	resultOK: "ok", resultWarning: "WARNING", resultProblem: "PROBLEM", resultSkipped: "skipped",
}

// showChecks writes a line for each check, what to do beneath those that need it,
// and a summary at the end, which is what a person sees first.
func showChecks(w io.Writer, all []check) error {
	shown := folded(all)
	width := 0
	for _, c := range shown {
		width = max(width, len(c.Name))
	}
	const markWidth = len("WARNING")
	for _, c := range shown {
		fmt.Fprintf(w, "%-*s  %-*s  %s\n", markWidth, marks[c.Result], width, printable(c.Name), printable(c.Text))
		if c.Remedy != "" {
			fmt.Fprintf(w, "%*s  -> %s\n", markWidth+2+width, "", printable(c.Remedy))
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", summary(all))
	return err
}

// foldFrom is how many checks in a row that are skipped for one reason are one line.
const foldFrom = 4

// folded makes one line of many that say the same.
func folded(all []check) []check {
	var out []check
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i].Result == resultSkipped && all[i+n].Result == resultSkipped && all[i+n].Text == all[i].Text {
			n++
		}
		if n < foldFrom {
			out = append(out, all[i:i+n]...)
		} else {
			var names []string
			for _, c := range all[i : i+n] {
				names = append(names, c.Name)
			}
			c := all[i]
			c.Name = fmt.Sprintf("%d checks", n)
			c.Text = strings.TrimSuffix(c.Text, ".") + ": " + strings.Join(names, ", ") + "."
			out = append(out, c)
		}
		i += n
	}
	return out
}

// summary is "2 problems, 1 warning; 7 ok, 1 skipped."
func summary(all []check) string {
	count := func(r httpapi.DoctorCheckResult) int {
		return len(slices.DeleteFunc(slices.Clone(all), func(c check) bool { return c.Result != r }))
	}
	several := func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	var bad, rest []string
	if n := count(resultProblem); n > 0 {
		bad = append(bad, several(n, "problem"))
	}
	if n := count(resultWarning); n > 0 {
		bad = append(bad, several(n, "warning"))
	}
	if len(bad) == 0 {
		bad = []string{"Nothing is wrong"}
	}
	rest = append(rest, fmt.Sprintf("%d ok", count(resultOK)))
	if n := count(resultSkipped); n > 0 {
		rest = append(rest, fmt.Sprintf("%d skipped", n))
	}
	return strings.Join(bad, ", ") + "; " + strings.Join(rest, ", ") + "."
}

// doctor looks at everything, in the order in which one thing rests on another.
type doctor struct {
	o      *options
	place  *seatFlags
	only   wanted
	loaded *config.Loaded // the settings on the disk; nil: they are not right
	dir    string         // the state directory
	status *httpapi.Status
	users  []string                       // names of people and accounts that were met
	room   func(dir string) (room, error) // on the disk
	tools  serviceTools
	checks []check

	installed bool // the service
}

func newDoctorOf(o *options, place *seatFlags, only []string) *doctor {
	return &doctor{o: o, place: place, only: only, room: roomIn, tools: windowsService()}
}

func (d *doctor) found(name string, result httpapi.DoctorCheckResult, text, remedy string) {
	d.checks = append(d.checks, check{Name: name, Result: result, Text: text, Remedy: remedy})
}

// skip notes what cannot be looked at, and why.
func (d *doctor) skip(why string, names ...string) {
	d.checks = append(d.checks, skipped(why, names...)...)
}

// look does all of it. The error is wrong usage; what is wrong otherwise is a
// check.
func (d *doctor) look(ctx context.Context) error {
	if err := d.only.check(); err != nil {
		return err
	}
	if err := d.config(); err != nil {
		return err
	}
	dir, usable := d.stateDir()
	d.dir = dir
	key := d.adminKey(dir)
	d.disk(dir)
	d.service()
	var a *api
	if h, running := lifecycle.Holder(dir); dir != "" && running && h.Listen != "" {
		a = d.running(ctx, dir, h.Listen, key)
	} else {
		a = d.away(ctx, usable && key)
	}
	if a == nil {
		d.skip(blindText, append(examinedNames(), nameAccounts, nameConsumers, nameOutlook)...)
		return nil
	}
	d.ask(ctx, a)
	if err := a.close(); err != nil {
		d.found(nameBroker, resultProblem, sentence(err), "")
	}
	return nil
}
