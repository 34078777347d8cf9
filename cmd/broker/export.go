package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/backup"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// backupTime bounds an export or an import: scrypt takes a second or two, and a
// store with many accounts its time.
const backupTime = 80 * time.Second

// export is one call of `broker export`.
type export struct {
	o              *options
	in             httpapi.ExportRequest
	file           string
	passphraseFile string
	generate       bool
	force          bool
	output         string
}

// newExport is `broker export`.
func newExport(o *options) *cobra.Command {
	e := &export{o: o}
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Save the sign-ins and the configuration in an encrypted file",
		Long: `Save the sign-ins and the configuration in one encrypted file, for a new machine or
a bad day. broker import reads it; so does the age tool (age-encryption.org).

The file is worth as much as the sign-ins in it: whoever has it and its passphrase
can read the mailboxes from anywhere, until the sign-ins are revoked. Keep the two in
different places. The export changes nothing here, and both machines can use the
sign-in side by side.

A passphrase is asked for at the terminal, twice; or it is the first line of the file
of --passphrase-file, which only its owner may read ("-": standard input). For exports
without a person, --recipient takes a public key of age instead, and this machine
never has what opens the file.

Not in the file: the admin key, the audit log, files that the configuration names,
such as ca_file, and what was learned of Outlook targets.`,
		Example: `  broker export broker.age
  broker export broker.age --generate
  broker export ops.age --account ops --no-config
  broker export nightly.age --force --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.file = args[0]
			if err := notEmpty(cmd, "account", "recipient"); err != nil {
				return err
			}
			lock, err := e.lock()
			if err != nil {
				return err
			}
			e.in.Passphrase = lock.Passphrase.Reveal()
			return withAPI(cmd, o, func(ctx context.Context, a *api) error { return e.run(ctx, a, lock) })
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&e.in.Accounts, "account", nil, "alias or user name (repeatable; default: all that are signed in)")
	f.BoolVar(&e.in.WithoutConfig, "no-config", false, "leave the configuration out")
	f.StringVar(&e.passphraseFile, "passphrase-file", "", `file whose first line is the passphrase, or "-" for standard input`)
	f.BoolVar(&e.generate, "generate", false, "make a passphrase, and show it once")
	f.StringSliceVar(&e.in.Recipients, "recipient", nil, "public key of age (age1…) to encrypt to, instead of a passphrase (repeatable)")
	f.BoolVar(&e.force, "force", false, "replace a file that exists")
	outputFlag(cmd, &e.output)
	complete(cmd, "account", accountNames(o))
	return cmd
}

// lock is what to encrypt with. What is wrong with the file's name is said before a
// person types anything.
func (e *export) lock() (backup.Lock, error) {
	ways := 0
	for _, given := range []bool{e.passphraseFile != "", e.generate, len(e.in.Recipients) > 0} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return backup.Lock{}, usagef("give one of --passphrase-file, --generate and --recipient")
	}
	if err := e.checkFile(); err != nil {
		return backup.Lock{}, err
	}
	switch {
	case len(e.in.Recipients) > 0:
		return backup.Lock{Recipients: e.in.Recipients}, nil
	case e.generate && !e.o.interactive():
		return backup.Lock{}, usagef("--generate shows the passphrase at a terminal, and there is none; use --passphrase-file or --recipient")
	case e.generate:
		return backup.Lock{Passphrase: backup.NewPassphrase()}, nil
	}
	p, err := e.o.newPassphrase(e.passphraseFile)
	return backup.Lock{Passphrase: p}, err
}

func (e *export) checkFile() error {
	if e.file == fromStdin {
		if screenOf(e.o.env.stdout, e.o.env.getenv).any() {
			return usagef("the export is binary; send standard output to a file or a program")
		}
		return nil
	}
	return checkTarget(e.file, e.force)
}

// checkTarget refuses a file that cannot be written, or must not be replaced.
func checkTarget(file string, replace bool) error {
	dir := filepath.Dir(file)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return usagef("there is no directory %s to write %s to; make it, or give another name", dir, filepath.Base(file))
	}
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return usagef("%s is no regular file; give another name", file)
	case !replace:
		return usagef("%s exists already; give another name, or --force to replace it", file)
	}
	return nil
}

// run asks for the file and writes it.
func (e *export) run(ctx context.Context, a *api, lock backup.Lock) error {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	var out httpapi.Export
	if err := a.call(ctx, http.MethodPost, "/v1/export", nil, e.in, &out); err != nil {
		return err
	}
	var err error
	if e.file == fromStdin {
		_, err = e.o.env.stdout.Write(out.File)
	} else {
		err = ownerfile.WriteOwned(e.file, out.File)
	}
	if err != nil {
		return fmt.Errorf("the export could not be written: %w", err)
	}
	return e.say(out, lock)
}

func (e *export) say(out httpapi.Export, lock backup.Lock) error {
	to := e.o.env.stdout
	if e.file == fromStdin {
		to = e.o.env.stderr
	}
	if e.generate {
		fmt.Fprintf(e.o.env.stderr, "The passphrase of the export, shown only this once:\n\n  %s\n\n", lock.Passphrase.Reveal())
	}
	if e.output == outputJSON {
		return printJSON(to, struct {
			File     string   `json:"file"`
			Size     int      `json:"size"`
			Accounts []string `json:"accounts"`
			Config   []string `json:"config"`
		}{e.file, len(out.File), out.Accounts, out.Config})
	}
	fmt.Fprintf(to, "Exported to %s: the sign-in of %s\n", e.file, printable(strings.Join(out.Accounts, ", ")))
	if len(out.Config) > 0 {
		fmt.Fprintf(to, "With the configuration: %s\n", printable(strings.Join(out.Config, ", ")))
	}
	_, err := fmt.Fprint(to, `Whoever has this file and what opens it can use the sign-in from anywhere. Keep the
two in different places. To end it on all machines, its owner uses "Sign out
everywhere" at https://mysignins.microsoft.com.
`)
	return err
}
