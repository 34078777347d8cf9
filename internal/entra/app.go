package entra

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/m365-token-broker/broker/internal/token"
)

// loginHosts are the login hosts of Microsoft's clouds that a person can sign
// in to: global, US government (gcchigh and dod share one), China.
// Source: Microsoft, "National clouds", application endpoints.
func loginHosts() []string {
	return []string{
		"login.microsoftonline.com",
		"login.microsoftonline.us",
		"login.partner.microsoftonline.cn",
	}
}

// issuerHosts are the hosts that Entra names as issuer besides the login host
// that was asked: version 1 issuers and the hosts behind private front ends.
func issuerHosts() []string {
	return append(loginHosts(), "sts.windows.net", "sts.chinacloudapi.cn")
}

var (
	guidPattern   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	tenantPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?$`)
	clientPattern = regexp.MustCompile(`^[\x21-\x7e]{1,256}$`)
)

// isGUID reports whether s is a GUID in its canonical form, in either case.
func isGUID(s string) bool { return guidPattern.MatchString(strings.ToLower(s)) }

// checkApp holds an App to the rules: https, an allowed host and nothing else
// in the authority, a tenant and a client ID.
func (c *Client) checkApp(op string, app token.App) error {
	bad := func(format string, a ...any) error {
		return token.NewError(token.KindConfiguration, op, fmt.Sprintf(format, a...))
	}
	u, err := url.Parse(app.Authority)
	switch {
	case err != nil || u.Host == "":
		return bad("authority is not a URL; write it as https://host.")
	case u.Scheme != "https":
		return bad("authority %s is not https; sign-ins only go over TLS.", u.Host)
	case u.User != nil:
		return bad("authority %s holds a user name or password; write it as https://host.", u.Host)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return bad("authority %s holds a path or a query; write it as https://host and the tenant under tenant.", u.Host)
	case !slices.Contains(c.hosts, strings.ToLower(u.Host)):
		return bad("authority %s is neither a Microsoft login host nor the configured authority; set authority in the configuration.", u.Host)
	case !tenantPattern.MatchString(app.Tenant) || reservedTenant(app.Tenant):
		return bad("tenant %q is neither a GUID nor a domain; set tenant in the configuration.", printable(app.Tenant, 64))
	case !clientPattern.MatchString(app.ClientID):
		return bad("client_id is empty or holds a space; set client_id to the application ID of your app registration.")
	}
	return nil
}

// reservedTenant reports the first path segments that make MSAL speak another
// protocol than Entra's.
func reservedTenant(tenant string) bool {
	return strings.EqualFold(tenant, "adfs") || strings.EqualFold(tenant, "dstsv2")
}

// authorityHost is the host of a checked App, in lower case, with its port.
func authorityHost(app token.App) string {
	u, err := url.Parse(app.Authority)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}

// authorityURL is the App's authority with its tenant, as MSAL wants it and as
// the key of the discovery cache: in lower case, so that one authority has one.
func authorityURL(app token.App) string {
	return "https://" + authorityHost(app) + "/" + strings.ToLower(app.Tenant) + "/"
}

// printable keeps at most n printable ASCII characters of s, so that text from
// outside cannot steer a terminal or a log.
func printable(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= n {
			break
		}
		if r >= ' ' && r <= '~' {
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// readable keeps of s what a person can read, in any script, at most n bytes of
// it: control characters and the invisible ones that format text are dropped.
// It is for names of people and things, which two of them must not share just
// because their alphabets differ; addresses and codes are printable.
func readable(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > n {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// equalHost compares hosts with their ports, where :443 says nothing.
func equalHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, ":443"), strings.TrimSuffix(b, ":443"))
}
