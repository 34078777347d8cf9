package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/entra"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file looks at the way to the login host: outbound proxy, name, certificate,
// answer, time.

// examineLogin goes the way to the login host, and asks it of the tenant and the
// app registration once it is there.
func (p *parts) examineLogin(ctx context.Context, only wanted) []check {
	base, name := hostOf(p.loaded.Config.AuthorityURL())
	l := p.lookAt(ctx, base)
	all := wayChecks(name, l, time.Now())
	all = append(all, clockCheck(name, l.On, time.Now()))
	if l.Problem != nil {
		return append(all, skipped(later(obstacleCheck(l.Obstacle)), nameTenant, nameRegistration)...)
	}
	tenants, good := p.examineTenants(ctx, name)
	return append(append(all, tenants...), p.examineRegistrations(ctx, only, good)...)
}

// examineOutlook asks Exchange whether it is there, where Outlook needs it.
func (p *parts) examineOutlook(ctx context.Context, _ wanted) []check {
	r := p.loaded.Config.Resources[ewsResource]
	if r.BaseURL == "" || len(p.watcher.Current().Config.MAPI) == 0 {
		return skipped("No Outlook target is configured, and only those need Outlook's host.", nameOutlookHost)
	}
	base, name := hostOf(r.BaseURL)
	if l := p.lookAt(ctx, base); l.Problem != nil {
		text, remedy := divide(l.Problem.Detail)
		return []check{{Name: nameOutlookHost, Result: resultProblem, Text: text, Remedy: remedy}}
	}
	return []check{{Name: nameOutlookHost, Result: resultOK, Text: name + " answers."}}
}

// lookAt asks one host.
func (p *parts) lookAt(ctx context.Context, base string) entra.Look {
	ctx, cancel := context.WithTimeout(ctx, examineOne)
	defer cancel()
	l, err := p.entra.LookAt(ctx, base)
	if err != nil {
		return entra.Look{Obstacle: entra.ObstacleHost, Problem: token.AsError(err)}
	}
	return l
}

// hostOf is the address of a URL without its path, and its host[:port].
func hostOf(raw string) (base, host string) {
	u, err := url.Parse(raw)
	if err != nil {
		return raw, raw
	}
	return u.Scheme + "://" + u.Host, u.Host
}

// skipped are checks that could not be made, and why.
func skipped(why string, names ...string) []check {
	var all []check
	for _, name := range names {
		all = append(all, check{Name: name, Result: resultSkipped, Text: why})
	}
	return all
}

// way are the checks of the way to a host, in its order.
var way = [...]struct {
	check    string
	obstacle entra.Obstacle
}{
	{nameProxy, entra.ObstacleProxy}, {nameDNS, entra.ObstacleName}, {nameTLS, entra.ObstacleTLS}, {nameLoginHost, entra.ObstacleHost},
}

// obstacleCheck is the check that an obstacle is said under.
func obstacleCheck(o entra.Obstacle) string {
	for _, w := range way {
		if w.obstacle == o {
			return w.check
		}
	}
	return nameLoginHost
}

// wayChecks are a check for each part of the way: well up to the obstacle, and
// not to be seen behind it.
func wayChecks(name string, l entra.Look, now time.Time) []check {
	var all []check
	met := false
	for _, w := range way {
		c := check{Name: w.check, Result: resultOK}
		switch {
		case met:
			c.Result, c.Text = resultSkipped, later(obstacleCheck(l.Obstacle))
		case l.Problem != nil && obstacleCheck(l.Obstacle) == w.check:
			met = true
			c.Result = resultProblem
			c.Text, c.Remedy = obstacleText(name, l, now)
		case w.check == nameTLS && l.Certificate == nil: // the connection was not even made
			c.Result, c.Text = resultSkipped, later(nameLoginHost)
		default:
			c = goodWay(w.check, name, l, now)
		}
		all = append(all, c)
	}
	return all
}

// obstacleText is what stands in the way, and what to do.
func obstacleText(name string, l entra.Look, now time.Time) (text, remedy string) {
	if text, remedy = certificateText(name, l.Certificate, now); text != "" {
		return text, remedy
	}
	text, remedy = divide(l.Problem.Detail)
	if l.Obstacle == entra.ObstacleProxy && l.Proxy != "" {
		text = strings.Replace(text, "The proxy", "The outbound proxy "+l.Proxy, 1)
	}
	return text, remedy
}

// certificateText says what is wrong with a certificate by itself: its dates, or
// its names. Whether its issuer is trusted is another matter.
func certificateText(name string, c *x509.Certificate, now time.Time) (text, remedy string) {
	if c == nil {
		return "", ""
	}
	const by = ", issued by %q, "
	issuer := entra.IssuerOf(c)
	host := name
	if h, _, err := net.SplitHostPort(name); err == nil {
		host = h
	}
	day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("The certificate of %s"+by+"expired on %s.", name, issuer, day(c.NotAfter)), "Have who runs it renew it; where the date is still to come, set this machine's clock."
	case now.Before(c.NotBefore):
		return fmt.Sprintf("The certificate of %s"+by+"is not valid before %s.", name, issuer, day(c.NotBefore)), "Set this machine's clock, which seems to be behind."
	case c.VerifyHostname(host) != nil:
		return fmt.Sprintf("The certificate of %s"+by+"is for other names (%s).", name, issuer, printable(strings.Join(namesIn(c), ", "))),
			"Check authority in the configuration; where something stands between (TLS inspection, a captive portal), have it let this host through."
	}
	return "", ""
}

// namesIn are the first names that a certificate is for.
func namesIn(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all[:min(len(all), 3)]
}

// goodWay is a part of the way that is well.
func goodWay(part, name string, l entra.Look, now time.Time) check {
	c := check{Name: part, Result: resultOK}
	switch part {
	case nameProxy:
		c.Text = name + " is reached through the outbound proxy " + l.Proxy + "."
		if l.Proxy == "" {
			c.Text = name + " is reached without an outbound proxy."
		}
	case nameDNS:
		c.Text = "The name " + name + " is resolved."
		if addr, err := netip.ParseAddrPort(name); err == nil {
			c.Result, c.Text = resultSkipped, addr.String()+" is an address, and needs no DNS."
		} else if l.Proxy != "" {
			c.Result, c.Text = resultSkipped, "The outbound proxy resolves the name."
		}
	case nameTLS:
		return tlsCheck(name, l.Certificate, now)
	default:
		c.Text = name + " answers."
	}
	return c
}

// certificateSoon is how long before its end a certificate is worth a look.
const certificateSoon = 14 * 24 * time.Hour

// tlsCheck looks at a certificate that is trusted: who issued it tells whether
// TLS is inspected on the way to Microsoft.
func tlsCheck(name string, c *x509.Certificate, now time.Time) check {
	issuer := entra.IssuerOf(c)
	out := check{Name: nameTLS, Result: resultOK, Text: fmt.Sprintf("The certificate of %s was issued by %q, which this machine trusts, and is valid until %s.", name, issuer, c.NotAfter.UTC().Format(time.DateOnly))}
	switch left := c.NotAfter.Sub(now); {
	case isMicrosoftLogin(name) && !isPublicIssuer(c):
		out.Result, out.Text = resultWarning, fmt.Sprintf("TLS to %s is inspected: its certificate was issued by %q, which is none of Microsoft's.", name, issuer)
		out.Remedy = "Have the login hosts excepted from TLS inspection: what inspects them can read every token."
	case left < certificateSoon:
		out.Result, out.Text = resultWarning, fmt.Sprintf("The certificate of %s ends %s.", name, until(now, c.NotAfter))
		out.Remedy = "Have who runs it renew it."
	}
	return out
}

// isMicrosoftLogin reports whether a host is the login host of one of the clouds.
func isMicrosoftLogin(host string) bool {
	return slices.ContainsFunc([]config.Cloud{config.CloudGlobal, config.CloudGCCHigh, config.CloudChina}, func(c config.Cloud) bool {
		return c.Endpoints().Login == "https://"+host
	})
}

// isPublicIssuer reports whether one of those issued it that Microsoft's login
// hosts have their certificates from.
func isPublicIssuer(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Issuer.Organization, func(o string) bool {
		return strings.HasPrefix(o, "Microsoft") || strings.HasPrefix(o, "DigiCert")
	})
}

// clockAway is how wrong the clock may be before it is worth a look.
const clockAway = time.Minute

// clockCheck compares our clock with that of a host; a zero on is one that did
// not say.
func clockCheck(name string, on, now time.Time) check {
	c := check{Name: nameClock, Result: resultOK, Text: "The clock of this machine is that of " + name + "."}
	if on.IsZero() {
		return check{Name: nameClock, Result: resultSkipped, Text: name + " did not say its time."}
	}
	away := now.Sub(on)
	if away.Abs() <= clockAway {
		return c
	}
	c.Result, c.Remedy = resultWarning, "Have the machine set its clock by the network; where it is wrong by more than 5 min, tokens are refused."
	if away.Abs() > clockError {
		c.Result = resultProblem
	}
	side := "ahead of"
	if away < 0 {
		side = "behind"
	}
	c.Text = fmt.Sprintf("The clock of this machine is %s %s that of %s.", span(away), side, name)
	return c
}
