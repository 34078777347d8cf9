package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/backup"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// importing is one call of `broker import`.
type importing struct {
	o                            *options
	in                           httpapi.ImportRequest
	passphraseFile, identityFile string
	withoutConfig, replaceConfig bool
	withoutCheck                 bool
	output                       string

	key     backup.Key
	done    imported
	reached bool // a broker has taken the accounts, or said what is wrong with each
}

// newImport is `broker import`.
func newImport(o *options) *cobra.Command {
	i := &importing{o: o}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over the sign-ins and the configuration of an export",
		Long: `Take over what broker export saved: the sign-ins, and the configuration where there
is none yet. Nobody has to sign in again.

The whole file is decrypted and checked before anything is changed: a wrong
passphrase or a damaged file changes nothing. Of two sign-ins of one person the newer
one stays; --replace takes that of the file. Each account is stored and read back, one
that fails does not hold up the others, and the same file can be imported again.
Afterwards a token is asked for, to see whether the sign-in works from here.

The configuration is written before the broker starts. Where one is there already it
stays, or with --replace-config is kept under the same names with .bak.

Exit codes: 0 done, 1 something could not be imported, or the file or its passphrase
is not right, 3 an account needs a new sign-in, 4 blocked by a policy, 5 Microsoft
Entra ID cannot be reached.`,
		Example: `  broker import broker.age
  broker import broker.age --dry-run
  broker import broker.age --passphrase-file pass.txt --no-config
  broker import nightly.age --identity key.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&i.passphraseFile, "passphrase-file", "", `file whose first line is the passphrase, or "-" for standard input`)
	f.StringVar(&i.identityFile, "identity", "", "file of age with the key that opens the export, instead of a passphrase")
	f.BoolVar(&i.in.DryRun, "dry-run", false, "change nothing, and say what would be done")
	f.BoolVar(&i.in.Replace, "replace", false, "take the sign-in of the file also where the one here is newer")
	f.BoolVar(&i.withoutConfig, "no-config", false, "take the sign-ins only")
	f.BoolVar(&i.replaceConfig, "replace-config", false, "put the configuration of the file in the place of the one here")
	f.BoolVar(&i.withoutCheck, "no-check", false, "ask for no token afterwards")
	outputFlag(cmd, &i.output)
	return cmd
}

func (i *importing) run(cmd *cobra.Command, file string) error {
	switch {
	case i.passphraseFile != "" && i.identityFile != "":
		return usagef("give one of --passphrase-file and --identity")
	case i.withoutConfig && i.replaceConfig:
		return usagef("give one of --no-config and --replace-config")
	case file == fromStdin && (i.passphraseFile == fromStdin || i.identityFile == fromStdin):
		return usagef("standard input cannot be both the export and what opens it; give one of the two as a file")
	}
	var err error
	if i.in.File, err = i.read(file); err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	i.in.Passphrase, i.in.Identity = i.key.Passphrase.Reveal(), i.key.Identity.Reveal()
	told, err := i.configuration()
	if err != nil || told {
		return err
	}
	err = withAPI(cmd, i.o, i.accounts)
	if n := len(i.done.ConfigWritten); err != nil && n > 0 && !i.reached {
		fmt.Fprintf(i.o.env.stderr, "The configuration was written (%s), but no account was imported; mend what follows, and import again.\n", printable(i.done.ConfigWritten[n-1]))
	}
	return err
}

// read reads the export.
func (i *importing) read(file string) ([]byte, error) {
	from := i.o.env.stdin
	if file != fromStdin {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("the export cannot be read: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, backup.MaxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the export cannot be read: %w", err)
	case len(data) > backup.MaxFile:
		return nil, fmt.Errorf("%s is no export of a broker: it is larger than %d KiB", file, backup.MaxFile>>10)
	case len(data) == 0:
		return nil, fmt.Errorf("%s is empty; take another copy of the export", file)
	}
	return data, nil
}

// open finds what opens the export.
func (i *importing) open() (err error) {
	if i.identityFile == "" {
		i.key.Passphrase, err = i.o.passphrase(i.passphraseFile, "Passphrase of the export: ")
		return err
	}
	text, err := i.o.secretFile(i.identityFile)
	if err == nil && text == "" {
		err = usagef("%s is empty; it must be an identity file of age", i.identityFile)
	}
	i.key.Identity = token.NewSecret(text)
	return err
}

// configuration writes the configuration of the export where there is none and no
// broker runs: the broker that this process makes next needs one. Where a broker
// runs, it alone opens the file. told: a dry run has said all there is to say.
func (i *importing) configuration() (told bool, err error) {
	where := config.Options{ConfigPath: i.o.config, StateDir: i.o.stateDir, Environ: i.o.env.environ}
	places, err := where.Places()
	if err != nil {
		return false, err
	}
	here, err := where.Present()
	if err != nil {
		return false, err
	}
	h, held := lifecycle.Holder(places.StateDir)
	running := held && h.Listen != ""
	whole := slices.Contains(here, places.ConfigFile) // else an import may have been cut short
	switch {
	case i.replaceConfig && running:
		return false, usagef("a broker is running with the configuration that --replace-config is to replace; stop it first")
	case i.withoutConfig, running, whole && !i.replaceConfig:
		return false, nil
	}
	d, err := backup.Open(i.in.File, i.key)
	switch {
	case err != nil:
		return false, ofTheFile(err)
	case len(d.Files) == 0 && i.replaceConfig:
		return false, usagef("there is no configuration in this export; leave --replace-config out")
	case len(d.Files) == 0:
		return false, nil
	}
	inTheWay, err := where.InTheWay(texts(d))
	switch {
	case err != nil, len(inTheWay) > 0 && !i.replaceConfig:
		return false, err
	case !i.in.DryRun:
		i.done.ConfigWritten, err = config.Restore(where, texts(d), i.replaceConfig)
		return false, err
	}
	i.done.wouldWrite = true
	if whole || len(inTheWay) > 0 {
		return false, nil
	}
	return true, i.preview(d)
}

// preview says what is in an export, where there is no configuration that a broker
// could compare it with.
func (i *importing) preview(d backup.Document) error {
	i.done.Import = httpapi.Import{CreatedAt: d.CreatedOn, Broker: d.Broker, Host: d.Host, DryRun: true, Accounts: []httpapi.ImportedAccount{}}
	for _, f := range d.Files {
		i.done.Config = append(i.done.Config, f.Path)
	}
	for _, a := range d.Accounts {
		i.done.Accounts = append(i.done.Accounts, httpapi.ImportedAccount{
			Account: a.Name, Username: a.Grant.Username, SignedInAt: a.Grant.SignedInOn, Result: httpapi.ImportedAccountResultNew,
		})
	}
	return i.say()
}

// accounts has the broker take over the sign-ins, tries them, and says what became
// of them.
func (i *importing) accounts(ctx context.Context, a *api) error {
	out, err := a.importFile(ctx, i.in)
	if err != nil {
		return ofTheFile(err)
	}
	i.done.Import, i.reached = out, true
	if !i.withoutCheck && !out.DryRun {
		for _, acc := range out.Accounts {
			if tookEffect(acc) {
				i.done.Checks = append(i.done.Checks, tryAccount(ctx, a, out.Resource, acc.Account))
			}
		}
	}
	if err := i.say(); err != nil {
		return err
	}
	return i.done.verdict()
}

// ofTheFile makes an error about the file or its passphrase one that is not about
// the command line.
func ofTheFile(err error) error {
	if e, ok := errors.AsType[*token.Error](err); ok && e.Kind == token.KindInvalidRequest {
		return errors.New(e.Detail)
	}
	return err
}

// tryAccount asks for a token of an imported account.
func tryAccount(ctx context.Context, a *api, resource, account string) importCheck {
	_, err := a.token(ctx, httpapi.TokenRequest{Resource: resource, Account: account})
	if err == nil {
		return importCheck{Account: account, OK: true}
	}
	c := importCheck{Account: account, Code: token.KindInternal.Code(), Detail: err.Error(), err: err}
	if e, ok := errors.AsType[*token.Error](err); ok {
		c.Code, c.Detail = e.Kind.Code(), e.Detail
	}
	return c
}

func (a *api) importFile(ctx context.Context, in httpapi.ImportRequest) (out httpapi.Import, err error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	err = a.call(ctx, http.MethodPost, "/v1/import", nil, in, &out)
	return out, err
}
