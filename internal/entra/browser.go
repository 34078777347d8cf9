package entra

import (
	"context"
	"net/url"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/m365-token-broker/broker/internal/token"
)

// Browser signs a person in with the browser of this machine: authorization
// code with PKCE S256 on a loopback redirect (RFC 8252, RFC 7636). open is given
// the URL to open and must not block; the call ends when the browser came back,
// or ctx ends. loginHint may be empty. Errors are *token.Error.
func (c *Client) Browser(ctx context.Context, app token.App, scopes token.Scopes, loginHint string, open func(url string) error) (token.Grant, error) {
	if len(scopes) == 0 {
		return token.Grant{}, token.NewError(token.KindConfiguration, stepBrowser.op(), "The resource has no scopes; set its scopes in the configuration.")
	}
	s, err := c.open(ctx, app)
	if err != nil {
		return token.Grant{}, err
	}
	client, err := s.msal(app)
	if err != nil {
		return token.Grant{}, err
	}
	out := &outcome{step: stepBrowser}
	flow, cancel := context.WithCancel(ctx)
	defer cancel()
	rcv, err := listenRedirect(ctx, s.ends.host, cancel)
	if err != nil {
		return token.Grant{}, err
	}
	defer rcv.close(ctx)

	opts := []public.AcquireInteractiveOption{public.WithOpenURL(func(raw string) error {
		ours, err := rcv.adopt(raw)
		if err != nil {
			return err
		}
		out.redirect = rcv.redirect
		if err := open(ours); err != nil {
			out.problem = &token.Error{Kind: token.KindInternal, Op: stepBrowser.op(), Detail: "The browser could not be opened; use broker login --flow device.", Err: err}
			return errWithheld
		}
		return nil
	})}
	if loginHint != "" {
		opts = append(opts, public.WithLoginHint(loginHint))
	}
	_, _ = client.AcquireTokenInteractive(out.with(flow), scopes, opts...)
	if out.answer != nil {
		return newGrant(app, token.FlowBrowser, *out.answer, time.Now())
	}
	if p := rcv.refusal(); p != nil {
		return token.Grant{}, p
	}
	return token.Grant{}, out.failure(ctx)
}

// adopt puts the receiver between the browser and MSAL: it takes MSAL's
// authorization URL and returns it with our redirect address.
func (r *receiver) adopt(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errWithheld
	}
	q := u.Query()
	r.expect(q.Get("state"), q.Get("redirect_uri"))
	q.Set("redirect_uri", r.redirect)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
