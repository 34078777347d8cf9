// Command journey takes a built broker through its main story from outside, as a
// person and a program would: sign in once, get tokens, rotate, be killed,
// start again without a new sign-in, sign out.
//
//	journey sandbox  -broker bin/broker [-store file]
//	journey sandbox  -broker bin/broker.exe -wine -store wincred
//	journey provider -broker bin/broker -node DIR
//	journey outlook  -broker bin/broker
//	journey outlook  -broker bin/broker.exe -wine -store wincred -outlook FILE
//	journey msi      -wine -store wincred -msi FILE -newer FILE
//
// The authority is the project's own sandbox, or the OpenID provider of
// scripts/independent-provider, installed in DIR, where a person's steps are
// done by posting the provider's own forms.
//
// "outlook" is about the Outlook fallback: broker and agent, two processes,
// with a desktop that a script plays, and under Wine with a stand-in for Outlook,
// the test program FILE. The broker is killed in every phase.
//
// "msi" installs the broker as a service from a package for Windows Installer,
// upgrades it to a newer one, and uninstalls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "journey:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	authority string // "sandbox" or "provider"
	outlook   bool   // take the stories of the Outlook fallback
	install   bool   // take the story of the packages
	standIn   string // what plays Outlook under Wine
	msi       string // the package to install
	newer     string // the package to upgrade to
	broker    string // the program
	wine      bool   // run it with wine
	store     string // the config's store
	node      string // where the provider is installed
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("journey sandbox|provider|outlook|msi", flag.ContinueOnError)
	fs.StringVar(&o.broker, "broker", "bin/broker", "the broker `program`")
	fs.BoolVar(&o.wine, "wine", false, "run it with wine")
	fs.StringVar(&o.store, "store", "file", "where it keeps the sign-in")
	fs.StringVar(&o.standIn, "outlook", "", "the `program` that plays Outlook under Wine")
	fs.StringVar(&o.msi, "msi", "", "the `package` of version 1.0.0")
	fs.StringVar(&o.newer, "newer", "", "the `package` of version 1.1.0")
	fs.StringVar(&o.node, "node", "", "the `folder` that the provider is installed in")
	if len(args) == 0 {
		fs.Usage()
		return o, errors.New("name the journey: sandbox, provider, outlook or msi")
	}
	o.authority = args[0]
	switch o.authority {
	case "outlook":
		o.authority, o.outlook = "sandbox", true
	case "msi":
		o.authority, o.install = "sandbox", true
	}
	if err := fs.Parse(args[1:]); err != nil {
		return o, err
	}
	for _, file := range []*string{&o.broker, &o.msi, &o.newer} {
		if *file == "" {
			continue
		}
		abs, err := filepath.Abs(*file)
		if err != nil {
			return o, err
		}
		*file = abs
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "journey-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	auth, err := startAuthority(ctx, o, dir)
	if err != nil {
		return err
	}
	defer auth.close()

	if o.outlook {
		return runOutlook(ctx, o, auth, dir)
	}
	if o.install {
		return runMSI(ctx, o, auth, dir)
	}
	b, err := newBroker(ctx, o, auth, dir)
	if err != nil {
		return err
	}
	defer b.kill()
	started := time.Now()
	if err := (&journey{broker: b, authority: auth}).run(ctx); err != nil {
		return fmt.Errorf("the broker's log:\n%s\n\n%w", b.logTail(), err)
	}
	fmt.Printf("journey: done in %.1f s\n", time.Since(started).Seconds())
	return nil
}
