package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// The values of --output that most commands share.
const (
	outputText = "text"
	outputJSON = "json"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("use %s", oneOf(c.allowed))
	}
	*c.value = s
	return nil
}

func (c choice) Type() string { return strings.Join(c.allowed, "|") }

// choiceFlag adds a flag that takes one of the allowed words; the first is the
// default.
func choiceFlag(cmd *cobra.Command, value *string, name, usage string, allowed ...string) {
	*value = allowed[0]
	cmd.Flags().Var(choice{value: value, allowed: allowed}, name, usage)
	// The flag was added above, so that this cannot fail.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
}

// outputFlag adds --output text|json.
func outputFlag(cmd *cobra.Command, value *string) {
	choiceFlag(cmd, value, "output", "form of what is printed", outputText, outputJSON)
}

// printJSON writes v with indentation and a newline.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows in aligned columns; the first row is the head.
func table(w io.Writer, indent string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
			if cell == "" {
				cells[i] = "-"
			}
		}
		// Cells that end a line are not padded, so that no line ends in spaces.
		fmt.Fprintln(t, indent+strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// printable drops what could move the cursor or change the terminal: user
// names, codes and links come from outside.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// oneOf writes "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// span is a length of time for people, in its one or two biggest units.
func span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return twoUnits(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	case d < 7*24*time.Hour:
		return twoUnits(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
	default:
		return fmt.Sprintf("%d d", int(d.Hours())/24)
	}
}

func twoUnits(a int, unitA string, b int, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unitA)
	}
	return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
}

// since is a moment in the past, "" where there was none.
func since(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(now.Sub(t)) + " ago"
}

// until is a moment to come, "" where there is none.
func until(now, t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Before(now):
		return "over"
	default:
		return "in " + span(t.Sub(now))
	}
}

// epoch is the moment of a Unix time; zero stays zero.
func epoch(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
