package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// installing is one run of `broker service install`.
type installing struct {
	*services
	account, passwordFile string
	start, listen         string
}

// newInstall is `broker service install`.
func (s *services) newInstall() *cobra.Command {
	i := &installing{services: s}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make the service, or change it",
		Long: `Make the service, or change the one that is there, and set what it needs: delayed
start, recovery actions, the event source, and the rights on its directory under
%ProgramData%. It needs an administrator, and does not start the service.

Without --account the service gets a virtual account of its own, which has no password
and no other rights. Where Outlook targets are configured it must be the account whose
Outlook they are: its profile, its tokens and its secret store are open to nobody else,
not even to LocalSystem. The password is asked for, or read from a file.`,
		Example: `  broker service install
  broker service install --account CONTOSO\svc-mail
  broker service install --account .\svc-mail --password-file C:\secure\password.txt --start auto
  broker service install --listen 127.0.0.1:9000`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := s.supported(); err != nil {
				return err
			}
			return i.run()
		},
	}
	cmd.Flags().StringVar(&i.account, "account", "", "the `account` that it runs as, DOMAIN\\user or .\\user; a group-managed one ends in $")
	cmd.Flags().StringVar(&i.passwordFile, "password-file", "", "read the account's password from the first line of this `file`")
	cmd.Flags().StringVar(&i.listen, "listen", "", "loopback `address` and port for the service (the setting listen)")
	startFlag(cmd, &i.start, lifecycle.StartDelayed)
	return cmd
}

func (i *installing) run() error {
	if err := i.readable(); err != nil {
		return err
	}
	was, err := i.tools.manager.Look(i.name)
	there := err == nil
	if e, ok := errors.AsType[*lifecycle.ManagerError](err); err != nil && (!ok || e.Code != lifecycle.CodeNoService) {
		return err
	}
	account := i.account
	switch {
	case account == "" && there:
		account = was.Account
	case account == "":
		account = serviceAccount
	}
	if err := i.fit(account); err != nil {
		return err
	}
	spec, err := i.spec(account, there && strings.EqualFold(account, was.Account))
	if err != nil {
		return err
	}
	made, err := i.tools.manager.Put(spec)
	if err != nil {
		return err
	}
	if made {
		i.say("The service %s is installed.", i.name)
	} else {
		i.say("The service %s was there; it is changed. What runs of it goes on as it was until it is started again.", i.name)
		if now, err := i.tools.manager.Look(i.name); err == nil && now.Command != was.Command {
			i.say("Its command is now %s\n           it was %s", now.Command, was.Command)
		}
	}
	if err := i.configure(account, lifecycle.StartType(i.start)); err != nil {
		return fmt.Errorf("the service is installed, and must not run yet: %w", err)
	}
	i.next()
	return nil
}

// readable reads the service's settings, where there are some, so that what is
// wrong with them shows now.
func (i *installing) readable() error {
	for _, path := range []*string{&i.o.config, &i.o.stateDir} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path) // the service starts in another directory
		if err != nil {
			return fmt.Errorf("find %s: %w", *path, err)
		}
		*path = abs
	}
	var set []string
	if i.listen != "" {
		set = append(set, "listen="+i.listen)
	}
	_, err := i.settings(set...)
	return err
}

// fit refuses an account that cannot do what is configured.
func (s *services) fit(account string) error {
	names := s.targets()
	if len(names) == 0 || lifecycle.HasPassword(account) {
		return nil
	}
	return token.NewError(token.KindInvalidRequest, "", fmt.Sprintf(
		"Outlook targets are configured (%s), and %s has no Outlook: profile, tokens and secret store belong to the account of the mailbox, and nobody can log on as %s to start Outlook. Make it run as that account: broker service install --account DOMAIN\\user",
		strings.Join(names, ", "), account, account))
}

// spec is the service as it is to be. Its password is asked for only where the
// account is a new one.
func (i *installing) spec(account string, same bool) (lifecycle.ServiceSpec, error) {
	if i.passwordFile != "" && !lifecycle.HasPassword(account) {
		return lifecycle.ServiceSpec{}, usagef("--password-file: %s has no password; name the account whose password it is with --account", account)
	}
	program, err := i.tools.program()
	if err != nil {
		return lifecycle.ServiceSpec{}, err
	}
	args := []string{"service", "run"}
	if i.listen != "" {
		args = append(args, "--set", "listen="+i.listen)
	}
	spec := lifecycle.ServiceSpec{
		Name: i.name, DisplayName: serviceDisplay, Program: program, Args: append(args, globalArgs(i.o)...), Start: lifecycle.StartType(i.start),
	}
	if same && i.passwordFile == "" {
		return spec, nil
	}
	spec.Account = account
	if lifecycle.HasPassword(account) {
		spec.Password, err = i.password(account)
	}
	return spec, err
}

// maxPassword bounds what is read of a password file; Windows takes 256.
const maxPassword = 4 << 10

// password reads the password of an account: never from the command line, which
// every user of the machine can see.
func (i *installing) password(account string) (token.Secret, error) {
	if i.passwordFile != "" {
		info, err := os.Stat(i.passwordFile)
		if err == nil && info.Size() > maxPassword {
			err = errors.New("it is too long for a password")
		}
		var raw []byte
		if err == nil {
			raw, err = os.ReadFile(i.passwordFile)
		}
		if err != nil {
			return token.Secret{}, fmt.Errorf("read --password-file: %w", err)
		}
		line, _, _ := strings.Cut(strings.TrimPrefix(string(raw), "\ufeff"), "\n")
		password := token.NewSecret(strings.TrimSuffix(line, "\r"))
		if password.IsZero() {
			return password, usagef("the first line of %s is empty; it must be the password of %s", i.passwordFile, account)
		}
		return password, nil
	}
	in, ok := i.o.env.stdin.(*os.File)
	if !ok || !i.o.interactive() {
		return token.Secret{}, usagef("the password of %s is needed, and there is no terminal to ask: use --password-file", account)
	}
	fmt.Fprintf(i.o.env.stderr, "Password of %s: ", account)
	raw, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(i.o.env.stderr)
	if err != nil {
		return token.Secret{}, fmt.Errorf("read the password: %w", err)
	}
	return token.NewSecret(string(raw)), nil
}

// next says what comes next.
func (i *installing) next() {
	_, file, _ := config.ServicePlaces(i.o.env.getenv)
	if i.o.config != "" {
		file = i.o.config
	}
	if _, err := os.Stat(file); err != nil {
		i.say("\nNext: broker init --config \"%s\"      writes the configuration", file)
		i.say("      broker service start")
		return
	}
	if i.o.config != "" {
		i.say("\nAs the configuration is in a place of its own, the other commands need: --config \"%s\" --state-dir \"%s\"", file, i.stateDir())
	}
	i.say("\nNext: broker service start")
	i.say("      broker login                       signs in, once; the service keeps it")
}
