package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/token"
)

// newUI is `broker ui`.
func newUI(o *options) *cobra.Command {
	var withoutBrowser, bare bool
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Open the sign-in and status page in a browser",
		Long: `Open the running broker's own page in the browser of this machine: sign in, sign out,
and see how the accounts, the consumers and the Outlook targets are.

The link is good once, and for one minute. The page then stays open until nobody has
used it for 30 minutes, or for 8 hours, or until the broker ends. A link that this
command opens by itself is good for a browser of your own account of this machine only;
one that it prints is good for whoever has it. No token and no key is ever on the page.`,
		Example: `  broker ui
  broker ui --no-browser      print the link, to open it yourself
  broker ui --print           print the link and nothing else`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			a, err := running(o)
			if err != nil {
				return err
			}
			defer func() { _ = a.close() }() // a running broker's connection; nothing is lost
			return showUI(ctx, o, a, withoutBrowser || bare, bare)
		},
	}
	cmd.Flags().BoolVar(&withoutBrowser, "no-browser", false, "print the link instead of opening it")
	cmd.Flags().BoolVar(&bare, "print", false, "print the link and nothing else")
	return cmd
}

// running gives an API to the running broker. Where none runs there is no page.
func running(o *options) (*api, error) {
	places, err := config.Options{ConfigPath: o.config, StateDir: o.stateDir, Environ: o.env.environ}.Places()
	if err != nil {
		return nil, err
	}
	if places.Service {
		return ofService(places.StateDir)
	}
	h, ok := lifecycle.Holder(places.StateDir)
	if !ok || h.Listen == "" {
		return nil, token.NewError(token.KindConflict, "", "No broker runs, and the page is a running broker's; start one with `broker serve`, and try again.")
	}
	return remote(places.StateDir, h.Listen)
}

// showUI gets a ticket and takes it to a browser.
func showUI(ctx context.Context, o *options, a *api, withoutBrowser, bare bool) error {
	// What a browser is started with can be seen by other accounts of the machine.
	link, err := a.uiLink(ctx, !withoutBrowser)
	if err != nil {
		return err
	}
	if bare {
		fmt.Fprintln(o.env.stdout, link)
		return nil
	}
	if !withoutBrowser && openBrowser(link, o.env.getenv) == nil {
		fmt.Fprintln(o.env.stdout, "Your browser opens the broker's page. If it does not, run: broker ui --no-browser")
		return nil
	}
	if !withoutBrowser { // nobody saw that link; one for whoever has it takes its place
		if link, err = a.uiLink(ctx, false); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.env.stdout, "Open this link in a browser on this machine within one minute; it is good once:\n  %s\n", link)
	return nil
}

// uiLink is a link to the page with a new ticket.
func (a *api) uiLink(ctx context.Context, sameUser bool) (string, error) {
	var t httpapi.UITicket
	if err := a.do(ctx, http.MethodPost, "/v1/ui/tickets", httpapi.UITicketRequest{SameUser: sameUser}, &t); err != nil {
		return "", err
	}
	return a.base + t.Path + "#ticket=" + t.Ticket, nil
}
