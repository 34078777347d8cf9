package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
)

// initiation is one call of `broker init`.
type initiation struct {
	o            *options
	values       config.InitValues
	cloud        string
	file         string
	force        bool
	registerOnly bool
	shown        bool // the registration was shown between two questions
}

// newInit is `broker init`.
func newInit(o *options) *cobra.Command {
	i := &initiation{o: o}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration, and show how to register the app",
		Long: `Write a first broker.yaml, and print the commands that register the app with
Microsoft Entra ID, for the Azure CLI and for PowerShell.

In a terminal it asks for what is missing. The tenant is your organisation: its ID
or one of its domains (Entra admin center, Overview). The client ID is that of your
own app registration (App registrations, "Application (client) ID"); where there is
none yet, the printed commands make it.`,
		Example: `  broker init
  broker init --tenant contoso.com --client-id 66666666-7777-8888-9999-000000000000
  broker init --register-only > register.txt`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return i.run() },
	}
	f := cmd.Flags()
	f.StringVar(&i.values.Tenant, "tenant", "", "your organisation: its ID or one of its domains")
	f.StringVar(&i.values.ClientID, "client-id", "", "application (client) ID of your app registration")
	choiceFlag(cmd, &i.cloud, "cloud", "Microsoft cloud",
		string(config.CloudGlobal), string(config.CloudGCCHigh), string(config.CloudDoD), string(config.CloudChina))
	f.StringVar(&i.values.Listen, "listen", "", "loopback address and port (default "+config.DefaultListen+")")
	f.StringVar(&i.values.Authority, "authority", "", "another login host, for private clouds and tests: https://host[:port]")
	f.StringVar(&i.values.CAFile, "ca-file", "", "extra root certificates (PEM)")
	f.StringVar(&i.file, "output-file", "", "file to write (default: see broker config path)")
	f.BoolVar(&i.force, "force", false, "replace a file that exists")
	f.BoolVar(&i.registerOnly, "register-only", false, "write nothing, only print the commands that register the app")
	return cmd
}

func (i *initiation) run() error {
	i.values.Cloud = config.Cloud(i.cloud)
	out := i.o.env.stdout
	if i.registerOnly {
		if err := i.check(); err != nil {
			return err
		}
		fmt.Fprint(out, i.registration())
		return nil
	}
	if err := i.where(); err != nil {
		return err
	}
	if err := i.fill(); err != nil {
		return err
	}
	if err := config.Init(i.file, i.values, i.force); err != nil {
		return err
	}
	fmt.Fprintf(out, "Wrote %s\n\n", i.file)
	if !i.shown {
		fmt.Fprintf(out, "%s\n", i.registration())
	}
	fmt.Fprint(out, "Next:\n  broker config check\n  broker serve\n  broker login\n")
	return nil
}

// where finds the file to write, and refuses one that exists before any
// question is asked.
func (i *initiation) where() error {
	if i.file == "" {
		p, err := places(i.o)
		if err != nil {
			return err
		}
		i.file = p.ConfigFile
	}
	file, err := filepath.Abs(i.file)
	if err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	i.file = file
	if _, err := os.Lstat(file); err == nil && !i.force {
		return fmt.Errorf("%s exists already; edit it, or use --force to replace it", file)
	}
	if i.values.CAFile != "" {
		if i.values.CAFile, err = filepath.Abs(i.values.CAFile); err != nil {
			return fmt.Errorf("find the working directory: %w", err)
		}
	}
	return nil
}

// fill asks for what is missing; where nobody can be asked, that is wrong usage.
func (i *initiation) fill() error {
	if err := i.check(); err != nil {
		return err
	}
	if i.values.Tenant != "" && i.values.ClientID != "" {
		return nil
	}
	if !i.o.interactive() {
		return usagef("--tenant and --client-id are needed where there is no terminal to ask at")
	}
	ask := i.o.asker()
	if i.values.Tenant == "" {
		fmt.Fprint(ask.out, "Which organisation is it? Its tenant ID or one of its domains, such as contoso.com.\n(Entra admin center > Overview)\n")
		if err := i.answer(ask, "Tenant: ", &i.values.Tenant, nil); err != nil {
			return err
		}
	}
	if i.values.ClientID != "" {
		return nil
	}
	fmt.Fprint(ask.out, "\nWhich app registration is it? Its application (client) ID.\n(Entra admin center > App registrations; press Enter to see how to make one)\n")
	return i.answer(ask, "Client ID: ", &i.values.ClientID, func() {
		fmt.Fprintf(ask.out, "\n%s\n", i.registration())
		i.shown = true
	})
}

// answer asks until the answer is one that the configuration takes.
func (i *initiation) answer(ask *asker, question string, value *string, empty func()) error {
	for {
		line, err := ask.ask(question)
		if err != nil {
			return err
		}
		if line == "" {
			if empty != nil {
				empty()
			}
			continue
		}
		*value = line
		problems := i.problems()
		if len(problems) == 0 {
			return nil
		}
		for _, p := range problems {
			fmt.Fprintln(ask.out, p.Text)
		}
		*value = ""
	}
}

// check refuses flags that the configuration would not take.
func (i *initiation) check() error {
	problems := i.problems()
	if len(problems) == 0 {
		return nil
	}
	return usagef("%s", (&config.Error{Problems: problems}).Error())
}

// problems holds what is there already against the configuration's own rules.
func (i *initiation) problems() []config.Problem {
	var flags []config.Override
	add := func(flag, key, value string) {
		if value != "" {
			flags = append(flags, config.Override{Flag: flag, Key: key, Value: value})
		}
	}
	add("--cloud", "cloud", i.cloud)
	add("--authority", "authority", i.values.Authority)
	add("--tenant", "tenant", i.values.Tenant)
	add("--client-id", "client_id", i.values.ClientID)
	add("--listen", "listen", i.values.Listen)
	add("--ca-file", "ca_file", i.values.CAFile)
	// An empty file stands in for the one to be written.
	_, err := config.Load(config.Options{ConfigPath: os.DevNull, StateDir: os.TempDir(), Flags: flags})
	found, ok := errors.AsType[*config.Error](err)
	if !ok {
		return nil
	}
	var ours []config.Problem
	for _, p := range found.Problems {
		if p.Where.Kind == config.FromFlag {
			ours = append(ours, p)
		}
	}
	return ours
}
