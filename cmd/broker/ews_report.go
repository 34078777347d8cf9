package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/ews"
	"github.com/m365-token-broker/broker/internal/httpapi"
)

// ewsReport is the report as `broker ews report --output json` prints it.
type ewsReport struct {
	httpapi.EWSUsage
	DaysLeft int `json:"days_left"` // 0 or less from the day of the end on
	// Permissions are the delegated permissions that the app registration needs in
	// sum, Also those where the operations were used for more than messages.
	Permissions []string `json:"permissions"`
	Also        []string `json:"also_permissions"`
	// Unseen are the consumers with ews among their resources of which nothing was
	// counted.
	Unseen []string `json:"consumers_not_counted"`
}

// ewsResource is the built-in resource for Exchange Web Services.
const ewsResource = "ews"

// newEWSReportOf makes the report of what was counted, and of the consumers there
// are.
func newEWSReportOf(usage httpapi.EWSUsage, all []httpapi.Consumer, now time.Time) ewsReport {
	r := ewsReport{EWSUsage: usage, DaysLeft: ews.DaysLeft(now), Unseen: []string{}}
	var operations []string
	for _, c := range usage.Consumers {
		for _, op := range c.Operations {
			operations = append(operations, op.Operation)
		}
	}
	r.Permissions, r.Also = ews.Permissions(operations)
	r.Permissions, r.Also = append([]string{}, r.Permissions...), append([]string{}, r.Also...)
	for _, c := range all {
		counted := slices.ContainsFunc(usage.Consumers, func(u httpapi.EWSConsumer) bool { return u.Consumer == c.Name })
		if c.LeaseEndsAt.IsZero() && slices.Contains(c.Resources, ewsResource) && !counted {
			r.Unseen = append(r.Unseen, c.Name)
		}
	}
	slices.Sort(r.Unseen)
	return r
}

// calls is how many there were.
func (r ewsReport) calls() (n int64) {
	for _, c := range r.Consumers {
		n += c.Calls
	}
	return n
}

// show writes the report for people.
func (r ewsReport) show(w io.Writer, now time.Time) error {
	fmt.Fprintf(w, "EWS in Exchange Online %s; Exchange on premises goes on.\n", ewsDeadline(r.DaysLeft))
	from := ""
	if !r.SinceAt.IsZero() {
		from = " since " + r.SinceAt.Local().Format(time.DateTime)
	}
	if len(r.Consumers) == 0 {
		fmt.Fprintf(w, "Nothing has gone through the proxy to EWS%s.\n\n", from)
		_, err := fmt.Fprintln(w, r.unseen())
		return err
	}
	fmt.Fprintf(w, "Counted through the proxy%s: %s of %s.\n", from, counted(r.calls(), "call"), counted(int64(len(r.Consumers)), "consumer"))
	for _, c := range r.Consumers {
		if err := showEWSConsumer(w, now, c); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "\nDelegated permissions of Microsoft Graph")
	fmt.Fprintf(w, "  needed: %s\n", orNothing(r.Permissions))
	fmt.Fprintf(w, "  also, where used for more than messages or as a note says: %s\n", orNothing(r.Also))
	fmt.Fprintln(w, "\nWhat to do next")
	if len(r.Permissions) > 0 {
		fmt.Fprintln(w, "  Let an administrator consent to these permissions for the app registration, and sign in again: broker login")
	}
	fmt.Fprintf(w, "  Move %s first, by the calls above (docs/ews-exit.md has them all), and give it the resource graph.\n", printable(r.Consumers[0].Consumer))
	fmt.Fprintln(w, "  Then count anew, to see that nothing is left, and take ews from its resources: broker ews reset")
	_, err := fmt.Fprintf(w, "\n%s\n", r.unseen())
	return err
}

// ewsDeadline says when EWS ends, or that it has.
func ewsDeadline(daysLeft int) string {
	const day = "1 April 2027"
	switch {
	case daysLeft > 1:
		return fmt.Sprintf("ends on %s, in %d days", day, daysLeft)
	case daysLeft == 1:
		return "ends on " + day + ", which is tomorrow"
	default:
		return "has ended on " + day
	}
}

// unseen says what the counts do not show.
func (r ewsReport) unseen() string {
	const direct = "A program that takes a token of the resource ews and calls Exchange itself is not seen here."
	switch {
	case len(r.Unseen) > 0:
		return direct + " These consumers have ews among their resources, and nothing was counted of them: " + printable(strings.Join(r.Unseen, ", ")) + "."
	case len(r.Consumers) == 0:
		return direct + " No consumer has ews among its resources."
	default:
		return direct
	}
}

// showEWSConsumer writes the table of one consumer, and beneath it the notes.
func showEWSConsumer(w io.Writer, now time.Time, c httpapi.EWSConsumer) error {
	fmt.Fprintf(w, "\n%s: %s, the last %s\n", printable(c.Consumer), counted(c.Calls, "call"), since(now, c.LastAt))
	rows := [][]string{{"OPERATION", "CALLS", "LAST", "MICROSOFT GRAPH", "PERMISSION"}}
	for _, op := range c.Operations {
		call := op.Graph
		if call == "" {
			call = "none documented"
		}
		rows = append(rows, []string{op.Operation, thousands(op.Calls), since(now, op.LastAt), call, op.Permission})
	}
	if err := table(w, "  ", rows); err != nil {
		return err
	}
	for _, op := range c.Operations {
		if op.Note != "" {
			fmt.Fprintf(w, "  %s: %s\n", printable(op.Operation), printable(op.Note))
		}
	}
	return nil
}

// csv writes one line per consumer and operation, with a head.
func (r ewsReport) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"consumer", "operation", "calls", "last_at", "graph", "permission", "note"}}
	for _, c := range r.Consumers {
		for _, op := range c.Operations {
			rows = append(rows, []string{
				c.Consumer, op.Operation, strconv.FormatInt(op.Calls, 10), op.LastAt.UTC().Format(time.RFC3339), op.Graph, op.Permission, op.Note,
			})
		}
	}
	return out.WriteAll(rows)
}

// ewsLine is the line of `broker status`: "crm 1,204 calls (FindItem, GetItem);
// ends on …; run: broker ews report". It is empty where nothing was counted.
func ewsLine(list []httpapi.EWSConsumer, now time.Time) string {
	if len(list) == 0 {
		return ""
	}
	const most = 3 // of consumers, and of operations of each
	var all []string
	for _, c := range list[:min(len(list), most)] {
		var names []string
		for _, op := range c.Operations[:min(len(c.Operations), most)] {
			names = append(names, op.Operation)
		}
		if len(c.Operations) > most {
			names = append(names, "…")
		}
		all = append(all, fmt.Sprintf("%s %s (%s)", c.Consumer, counted(c.Calls, "call"), strings.Join(names, ", ")))
	}
	if more := len(list) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ") + "; " + ewsDeadline(ews.DaysLeft(now)) + "; run: broker ews report"
}

// counted is "1 call" or "1,204 calls".
func counted(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + one + "s"
}

// thousands is a number with commas: 1,204,000.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// orNothing is "Mail.Read, Mail.Send", or "none".
func orNothing(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
