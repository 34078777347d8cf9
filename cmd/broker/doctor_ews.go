package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file asks Exchange whether it lets Exchange Web Services in: since October
// 2026 Exchange Online refuses apps that are on no allow-list, whatever their token.

// ewsQuestion changes nothing and reads nothing of the mailbox: what it asks to
// convert is no identifier. The proxy does not count it, as it does not go there.
const ewsQuestion = `<?xml version="1.0" encoding="utf-8"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">
<s:Header><t:RequestServerVersion Version="Exchange2016"/></s:Header>
<s:Body><ConvertId xmlns="http://schemas.microsoft.com/exchange/services/2006/messages" DestinationFormat="EwsId">
<SourceIds><t:AlternateId Format="EwsId" Id="AA==" Mailbox="nobody@invalid"/></SourceIds></ConvertId></s:Body></s:Envelope>`

// maxMailboxes bounds how many accounts are asked for.
const maxMailboxes = 8

// examineEWS asks once for each account whose mailbox a consumer may use by EWS.
func (p *parts) examineEWS(ctx context.Context, _ wanted) []check {
	base := p.watcher.Current().Config.Resources[ewsResource].BaseURL
	who := ewsAccounts(p.consumers.List(), p.book.Names())
	switch {
	case len(who) == 0 || base == "":
		return skipped("No consumer has the resource ews and an account that is signed in.", nameEWS)
	case p.listener == nil:
		return skipped("Only a running broker asks Exchange, since it has the tokens at hand.", nameEWS)
	}
	client, done, err := p.resourceClient()
	if err != nil {
		return []check{{Name: nameEWS, Result: resultProblem, Text: sentence(err)}}
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, examineOne)
	defer cancel()
	all := make([]check, len(who))
	var wait sync.WaitGroup
	for i, account := range who {
		wait.Go(func() {
			all[i] = p.askExchange(ctx, client, base, account)
			all[i].Name = nameEWS + "/" + account
		})
	}
	wait.Wait()
	return all
}

// ewsAccounts are the accounts that are signed in and that some consumer may use
// the resource ews of.
func ewsAccounts(consumers []consumer.View, signedIn []string) []string {
	var all []string
	for _, c := range consumers {
		if !slices.Contains(c.Resources, ewsResource) {
			continue
		}
		for _, a := range c.Accounts {
			if slices.Contains(signedIn, a) && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	slices.Sort(all)
	return all[:min(len(all), maxMailboxes)]
}

// resourceClient is the way to the resources that the proxy takes too; call done
// when it is not needed any more.
func (p *parts) resourceClient() (way http.RoundTripper, done func(), err error) {
	if p.upstream != nil {
		return p.upstream, func() {}, nil
	}
	t, err := resourceTransport(p.loaded.Config)
	if err != nil {
		return nil, nil, err
	}
	return t, t.CloseIdleConnections, nil
}

// askExchange sends the question with the account's token.
func (p *parts) askExchange(ctx context.Context, way http.RoundTripper, base, account string) check {
	admin := consumer.AdminIdentity()
	answer, err := p.broker.Token(ctx, admin, token.Request{Key: token.Key{Account: account, Resource: ewsResource}})
	if err != nil {
		return check{Result: resultSkipped, Text: "There is no token to ask Exchange with; see what is said of the account."}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+"/EWS/Exchange.asmx", strings.NewReader(ewsQuestion))
	if err != nil {
		return check{Result: resultProblem, Text: "The base_url of the resource ews is no address.", Remedy: "Correct resources.ews.base_url in the configuration."}
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("User-Agent", "M365TokenBroker/doctor")
	req.Header.Set("Authorization", answer.Entry.Authorization().Reveal())
	if name := p.username(account); name != "" {
		req.Header.Set("X-AnchorMailbox", name)
	}
	p.audited().Issued(admin, answer.Entry.Key(), answer.Entry.ETag(), "doctor")
	res, err := way.RoundTrip(req)
	if err != nil {
		return check{Result: resultProblem, Text: req.URL.Host + " did not answer a request of Exchange Web Services.", Remedy: "See what is said of login-host, proxy and tls: the way to Exchange is the same; have both let through."}
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer>>8)
	return ewsAnswer(req.URL.Host, res.StatusCode, res.Header)
}

// ewsAnswer reads the answer: only its status and the headers that say why.
func ewsAnswer(host string, status int, h http.Header) check {
	reason, blocked := strings.Join(h.Values("X-Ews-Policy-Reason"), " "), len(h.Values("X-Ews-Policy-Reason")) > 0
	c := check{Result: resultProblem}
	switch {
	case status == http.StatusForbidden && blocked && strings.Contains(strings.ToLower(reason), "disabled"):
		c.Text = "The token is fine, and the tenant has switched Exchange Web Services off for this mailbox (EwsEnabled)."
		c.Remedy = "An administrator runs Set-OrganizationConfig -EwsEnabled $true and Set-CASMailbox -EwsEnabled $true; on 1 April 2027 EWS ends for good, so move to Microsoft Graph: broker ews report"
	case status == http.StatusForbidden && blocked:
		c.Text = "The token is fine, and the tenant blocks Exchange Web Services for this app: it is not on the allow-list (EwsAllowedAppIDs)."
		c.Remedy = "An administrator runs Set-OrganizationConfig -EwsEnabled $true, and again with -EwsAllowedAppIDs and the broker's client_id beside all that are on the list, which it replaces; that is required since October 2026 and takes up to 24 h. On 1 April 2027 EWS ends for good: broker ews report"
	case status == http.StatusForbidden:
		c.Text = "Exchange takes the token, and it lacks the permission for Exchange Web Services (HTTP 403)."
		c.Remedy = "Add the delegated permission EWS.AccessAsUser.All to the app registration, have an administrator consent, and run: broker login"
	case status == http.StatusUnauthorized:
		c.Text = "Exchange does not take the token for Exchange Web Services (HTTP 401): it is for another audience, or the mailbox is not there."
		c.Remedy = "Compare resources.ews.scopes with resources.ews.base_url in the configuration; both must be of one Exchange."
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		c.Text = fmt.Sprintf("%s has no Exchange Web Services (HTTP %d).", host, status)
		c.Remedy = "Correct resources.ews.base_url in the configuration."
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		c.Result, c.Text, c.Remedy = resultWarning, fmt.Sprintf("%s wants fewer requests at the moment (HTTP %d).", host, status), "Try again later."
	case status < http.StatusMultipleChoices || status == http.StatusInternalServerError: // a SOAP fault: Exchange has let the question in
		c.Result, c.Text = resultOK, host+" lets Exchange Web Services in with this account's token."
	default:
		c.Result, c.Text = resultWarning, fmt.Sprintf("%s answers a request of Exchange Web Services with HTTP %d, which does not say whether it lets them in.", host, status)
		c.Remedy = "See whether a proxy answers in Exchange's place (see what is said of proxy and tls), and try again later."
	}
	return c
}
