// Command clients takes official clients that the project did not write through
// a built broker, against the project's sandbox: Azure SDKs, Graph and EWS
// clients, the Microsoft 365 Agents SDK, mail tools, curl. What it runs are the
// recipes of docs/consumers.md, as they stand on the page, with the sandbox's
// addresses in place of Microsoft's: with the page's variables, and under
// `broker exec` with none.
//
//	clients -broker bin/broker -install DIR
//
// scripts/clients/run installs the clients in DIR, in the versions of their lock
// files.
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
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("clients", flag.ContinueOnError)
	broker := fs.String("broker", "", "the broker `program`")
	install := fs.String("install", "", "the `folder` that the clients are installed in")
	only := fs.String("only", "", "only the recipe of this `name`")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *broker == "" || *install == "" {
		return errors.New("-broker and -install are missing; scripts/clients/run gives them")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	page, err := os.ReadFile(filepath.Join("docs", "consumers.md"))
	if err != nil {
		return fmt.Errorf("run it from the repository's root: %w", err)
	}
	named, err := recipes(string(page))
	if err != nil {
		return fmt.Errorf("docs/consumers.md: %w", err)
	}
	w, err := newWorld(ctx, *broker, *install, dir)
	if err != nil {
		return err
	}
	defer w.close()
	s := &suite{world: w, recipes: named, only: *only}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("%w\n\nthe broker's log:\n%s", err, w.logTail())
	}
	return s.verdict()
}
