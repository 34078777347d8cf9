package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// login is one call of `broker login`.
type login struct {
	o                                *options
	account, flow, resource, output  string
	flowGiven                        bool // --flow was given, and so is meant
	withoutQRCode, withoutOwnBrowser bool
}

// newLogin is `broker login`.
func newLogin(o *options) *cobra.Command {
	l := &login{o: o}
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Sign a person in, once",
		Long: `Sign a person in to Microsoft 365, once. From then on the broker renews tokens by
itself, until the sign-in is revoked or has not been used for 90 days.

--flow device shows a code that the person types on any device. Where an
organisation blocks device codes by Conditional Access, the page then says "You
don't have access to this" (error 53003); use --flow browser, which needs a
browser on this machine.

With --output json there is one JSON object per line, first
  {"state":"pending","id":…,"user_code":…,"verification_uri":…,"expires_on":…}
then {"state":"succeeded","account":…} or {"state":"failed","code":…,"detail":…}.
In this mode no browser is opened; the calling program shows verification_uri.

Exit codes: 0 signed in, 3 declined or not finished in time, 4 blocked by a
policy, 5 Microsoft Entra ID cannot be reached, 1 anything else.`,
		Example: `  broker login                                   whoever signs in
  broker login --account ops                     an alias of broker.yaml, or a user name
  broker login --account ops --flow browser      where device codes are blocked
  broker login --output json                     for programs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l.flowGiven = cmd.Flags().Changed("flow")
			err := withAPI(cmd, o, l.run)
			if l.output != outputJSON || err == nil {
				return err
			}
			return l.failed(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&l.account, "account", "", "alias or user name; without it, whoever signs in")
	choiceFlag(cmd, &l.flow, "flow", "way to sign in", string(token.FlowDevice), string(token.FlowBrowser))
	f.StringVar(&l.resource, "resource", "", "resource to sign in for (default: chosen by the broker); one sign-in serves all")
	f.BoolVar(&l.withoutQRCode, "no-qr", false, "show no QR code")
	f.BoolVar(&l.withoutOwnBrowser, "no-browser", false, "with --flow browser, print the link instead of opening it")
	outputFlag(cmd, &l.output)
	complete(cmd, "account", accountNames(o))
	complete(cmd, "resource", resourceNames(o))
	return cmd
}

// run signs in and says how it ended. In JSON mode the end of a failed sign-in
// is told by failed.
func (l *login) run(ctx context.Context, a *api) error {
	p := l.prompt()
	p.already(l.signedIn(ctx, a))
	s, err := l.start(ctx, a, p)
	if err != nil {
		return err
	}
	s, err = follow(ctx, a, s, p)
	if err != nil {
		return err
	}
	if err := outcome(s); err != nil {
		return err
	}
	p.succeeded(s)
	return nil
}

// start begins the sign-in. The broker gives a pending one of the account,
// whatever its flow; where another flow was asked for, that one is cancelled
// and a new one begun. One that was finished in that very moment stays.
func (l *login) start(ctx context.Context, a *api, p prompt) (httpapi.SignIn, error) {
	in := httpapi.SignInRequest{Account: l.account, Flow: httpapi.Flow(l.flow), Resource: l.resource}
	s, err := a.startSignIn(ctx, in)
	if err != nil || !l.flowGiven || s.Flow == in.Flow || s.State != httpapi.SignInStatePending {
		return s, err
	}
	old, err := a.cancelSignIn(ctx, s.ID)
	if err != nil || old.State != httpapi.SignInStateCancelled {
		return old, err
	}
	p.replaced(old.Flow)
	return a.startSignIn(ctx, in)
}

// failed writes the last line of JSON mode, which then says it all.
func (l *login) failed(err error) error {
	if _, usage := errors.AsType[usageError](err); usage {
		return err
	}
	line := struct {
		State  string `json:"state"`
		Code   string `json:"code"`
		Detail string `json:"detail,omitempty"`
	}{"failed", token.KindInternal.Code(), err.Error()}
	if e, ok := errors.AsType[*token.Error](err); ok {
		line.Code, line.Detail = e.Kind.Code(), e.Detail
	}
	if failed := printLine(l.o.env.stdout, line); failed != nil {
		return failed
	}
	return exitError(exitCode(err))
}

// signedIn names the account whose sign-in this one will replace, or "". It is
// told for comfort only, so that a fault here is met by the next call instead.
func (l *login) signedIn(ctx context.Context, a *api) string {
	list, err := a.accounts(ctx)
	if err != nil || l.account == "" {
		return ""
	}
	for _, acc := range list {
		named := acc.Account == l.account || strings.EqualFold(acc.Username, l.account)
		if named && isSignedIn(acc) && acc.State != httpapi.AccountStateSignInRequired {
			return acc.Account
		}
	}
	return ""
}

// look is one answer about a sign-in.
type look struct {
	s   httpapi.SignIn
	err error
}

// follow shows a pending sign-in until it ends. An interruption cancels it.
func follow(ctx context.Context, a *api, s httpapi.SignIn, p prompt) (httpapi.SignIn, error) {
	defer p.done()
	looks := make(chan look, 1)
	again := func() {
		go func() {
			s, err := a.signIn(ctx, s.ID)
			looks <- look{s, err}
		}()
	}
	if s.State != httpapi.SignInStatePending {
		return s, nil
	}
	p.pending(s)
	again()
	looking := true
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if looking {
				<-looks
			}
			return cancelled(ctx, a, s.ID)
		case now := <-tick.C:
			p.tick(now, s)
			if !looking { // at most one look a second, also where nobody holds the answer
				again()
				looking = true
			}
		case l := <-looks:
			if l.err != nil && ctx.Err() == nil {
				return s, l.err
			}
			if l.err == nil && l.s.State != httpapi.SignInStatePending {
				return l.s, nil
			}
			if l.err == nil {
				s = l.s
				p.pending(s)
			}
			looking = false
		}
	}
}

// cancelled cancels the sign-in after an interruption. One that was finished in
// that very moment has succeeded all the same.
func cancelled(ctx context.Context, a *api, id string) (httpapi.SignIn, error) {
	ctx, stop := afterwards(ctx)
	defer stop()
	s, err := a.cancelSignIn(ctx, id)
	if err != nil {
		return s, token.NewError(token.KindCancelled, "", "You interrupted the sign-in, and the broker could not be told; it ends by itself when its code expires.")
	}
	if s.State == httpapi.SignInStateCancelled {
		return s, token.NewError(token.KindCancelled, "", "You cancelled the sign-in; nothing was changed.")
	}
	return s, nil
}

// outcome is the error that an ended sign-in stands for, nil where it succeeded.
func outcome(s httpapi.SignIn) error {
	if s.State == httpapi.SignInStateSucceeded {
		return nil
	}
	if s.Problem.Code != "" {
		return fromProblem(s.Problem)
	}
	kind := token.KindInternal
	switch s.State {
	case httpapi.SignInStateDeclined:
		kind = token.KindDeclined
	case httpapi.SignInStateExpired:
		kind = token.KindExpired
	case httpapi.SignInStateCancelled:
		kind = token.KindCancelled
	default:
	}
	return token.NewError(kind, "", s.Message)
}
