package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// imported is what an import did; the JSON that the command prints.
type imported struct {
	httpapi.Import
	ConfigWritten []string      `json:"config_written"`
	Checks        []importCheck `json:"checks"`
	wouldWrite    bool          // the configuration, but for the dry run
}

// importCheck is whether an imported account gives tokens here.
type importCheck struct {
	Account string `json:"account"`
	OK      bool   `json:"ok"`
	Code    string `json:"code,omitempty"`
	Detail  string `json:"detail,omitempty"`
	err     error
}

// tookEffect reports whether an account is now as it was in the file.
func tookEffect(a httpapi.ImportedAccount) bool {
	return a.Result == httpapi.ImportedAccountResultNew || a.Result == httpapi.ImportedAccountResultUpdated
}

// verdict is the exit code: an account that could not be imported goes before a
// sign-in that does not work.
func (d imported) verdict() error {
	code := exitDone
	for _, c := range d.Checks {
		if !c.OK && code == exitDone {
			code = exitCode(c.err)
		}
	}
	for _, a := range d.Accounts {
		if a.Problem.Code != "" {
			code = exitFailed
		}
	}
	if code == exitDone {
		return nil
	}
	return exitError(code)
}

func (i *importing) say() error {
	d, out := i.done, i.o.env.stdout
	if i.output == outputJSON {
		d.ConfigWritten = append([]string{}, d.ConfigWritten...)
		d.Checks = append([]importCheck{}, d.Checks...)
		return printJSON(out, d)
	}
	fmt.Fprintf(out, "The export was made on %s by broker %s, %s.\n", printable(d.Host), printable(d.Broker), d.CreatedAt.Local().Format(time.DateTime))
	switch {
	case d.wouldWrite:
		fmt.Fprintf(out, "Would write the configuration: %s\n", printable(strings.Join(d.Config, ", ")))
	case len(d.ConfigWritten) > 0:
		fmt.Fprintf(out, "Wrote the configuration: %s\n", printable(strings.Join(d.ConfigWritten, ", ")))
	case len(d.Config) > 0 && !i.withoutConfig:
		fmt.Fprintln(out, "The configuration here stays; that of the export was left out.")
	}
	rows := [][]string{{"ACCOUNT", "USER", "SIGNED IN", "RESULT"}}
	for _, a := range d.Accounts {
		result := string(a.Result)
		if d.DryRun && tookEffect(a) {
			result = "would be " + result
		}
		rows = append(rows, []string{a.Account, a.Username, since(time.Now(), a.SignedInAt), result})
	}
	if err := table(out, "", rows); err != nil {
		return err
	}
	i.sayDetails()
	if d.DryRun {
		fmt.Fprintln(out, "Nothing was changed.")
	}
	return nil
}

// sayDetails writes what is beneath the table.
func (i *importing) sayDetails() {
	out := i.o.env.stdout
	for _, a := range i.done.Accounts {
		for _, sentence := range []string{a.Note, a.Problem.Detail} {
			if sentence != "" {
				fmt.Fprintf(out, "%s: %s\n", printable(a.Account), printable(sentence))
			}
		}
	}
	for _, c := range i.done.Checks {
		if c.OK {
			fmt.Fprintf(out, "%s: tokens are served.\n", printable(c.Account))
		} else {
			fmt.Fprintf(out, "%s: imported, but no token could be had: %s (%s)\n", printable(c.Account), printable(c.Detail), c.Code)
		}
	}
}
