package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// checker holds the finished settings against the rules that need more than one
// key, or more than text. It also puts values into their one canonical form.
type checker struct {
	*reader
	c *Config
}

func check(r *reader, c *Config) {
	k := checker{reader: r, c: c}
	k.listen()
	k.local()
	k.authority() // before tenant and client ID: it decides what they may be
	k.tenant("tenant", c.Tenant)
	k.clientID("client_id", c.ClientID)
	k.caFile()
	k.proxy()
	k.store()
	k.accounts()
	k.resources()
	k.consumers()
	k.unkeyed()
	k.targets()
	k.notify()
}

// wrong notes a problem at the place where the key was set.
func (k checker) wrong(at key, format string, args ...any) {
	if !k.bad[at] {
		k.fault(k.sources[at], at, fmt.Sprintf(format, args...))
	}
}

const listenRule = `listen on this machine only: 127.0.0.1:8477, [::1]:8477 or localhost:8477 (port 0 takes any free port)`

// listen lets only a loopback address pass: the API hands out tokens, so no
// other machine may ever reach it.
func (k checker) listen() {
	host, port, err := net.SplitHostPort(k.c.Listen)
	if err != nil {
		k.wrong("listen", "%q is not an address with a port; %s", k.c.Listen, listenRule)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		k.wrong("listen", "%q is not a port from 0 to 65535; %s", port, listenRule)
		return
	}
	if strings.EqualFold(host, "localhost") {
		k.c.Listen = net.JoinHostPort("localhost", port)
		return
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "":
		k.wrong("listen", "%q would listen on every network interface; %s", k.c.Listen, listenRule)
	case err != nil:
		k.wrong("listen", "%q is a host name; %s", host, listenRule)
	case ip.IsUnspecified():
		k.wrong("listen", "%s would listen on every network interface; %s", host, listenRule)
	case !ip.IsLoopback() || ip.Is4In6() || ip.Zone() != "":
		k.wrong("listen", "%s is not a loopback address; %s", host, listenRule)
	default:
		k.c.Listen = net.JoinHostPort(ip.String(), port)
	}
}

// authority allows https://host[:port] only. MSAL Go makes the device code
// address by replacing every "token" in the token address, host included.
func (k checker) authority() {
	raw := k.c.Authority
	if raw == "" {
		return
	}
	const rule = "write https://host or https://host:port"
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		k.wrong("authority", "is not a URL; %s", rule)
	case u.User != nil:
		k.wrong("authority", "holds a user name or password; %s", rule)
	case u.Scheme != "https":
		k.wrong("authority", "%q is not https; sign-ins go over https only, so %s", raw, rule)
	case strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		k.wrong("authority", "%q has something behind the host; the tenant goes into %q, so %s", raw, "tenant", rule)
	case badPort(u):
		k.wrong("authority", "%q is not a port from 1 to 65535; %s", u.Port(), rule)
	case strings.Contains(strings.ToLower(u.Host), "token"):
		k.wrong("authority", `the host %q holds the word "token"; the Microsoft library replaces that word by "devicecode" to find the sign-in address, and so would ask another host; use another name for it, such as an alias in DNS`, u.Host)
	default:
		k.c.Authority = "https://" + strings.ToLower(u.Host)
	}
}

func badPort(u *url.URL) bool {
	if u.Port() == "" {
		return strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err != nil || n == 0
}

var (
	guidPattern   = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)
	domainPattern = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z][a-zA-Z0-9-]{0,61}[a-zA-Z0-9]$`)
)

// tenant checks a tenant; empty is for Ready to judge.
func (k checker) tenant(at key, tenant string) {
	switch {
	case tenant == "":
	case strings.ContainsAny(tenant, "/\\?#% "):
		k.wrong(at, `%q holds a character that cannot stand in a tenant's address; write the tenant's ID or one of its domains, such as contoso.com`, tenant)
	case anyOrganisation(tenant):
		k.wrong(at, `%q stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`, tenant)
	case k.c.Authority != "":
		if strings.Contains(strings.ToLower(tenant), "token") {
			k.warn(k.sources[at], at, `holds the word "token", which the Microsoft library replaces in addresses; should sign-in by device code fail, use the tenant's ID`)
		}
	case !guidPattern.MatchString(tenant) && !domainPattern.MatchString(tenant):
		k.wrong(at, `%q is neither a tenant ID (a GUID) nor a domain such as contoso.com; the Entra admin center shows both under Overview`, tenant)
	}
}

// anyOrganisation reports the names under which Entra lets accounts of any
// tenant sign in, at its own hosts and at those that imitate it.
func anyOrganisation(tenant string) bool {
	return slices.Contains([]string{"common", "organizations", "consumers"}, strings.ToLower(tenant))
}

func (k checker) clientID(at key, id string) {
	if id != "" && k.c.Authority == "" && !guidPattern.MatchString(id) {
		k.wrong(at, `%q is not a GUID; use the "Application (client) ID" of your app registration`, id)
	}
}

// caFile makes the path absolute and wants at least one certificate in it.
func (k checker) caFile() {
	path := k.c.CAFile
	if path == "" {
		return
	}
	path, ok := k.absolute("ca_file", path)
	if !ok {
		return
	}
	k.c.CAFile = path
	data, err := readFile(path)
	if err != nil {
		k.wrong("ca_file", "%s cannot be read: %s", path, reason(err))
		return
	}
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		found++
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			k.wrong("ca_file", "certificate %d of %s is damaged; export it again", found, path)
			return
		}
	}
	if found == 0 {
		k.wrong("ca_file", `%s holds no certificate; it must be in PEM form, with lines "-----BEGIN CERTIFICATE-----"`, path)
	}
}

// absolute is the path of a file that a setting names; a relative one counts from
// the directory of the file that says so. A policy has no directory.
func (k checker) absolute(at key, path string) (string, bool) {
	switch src := k.sources[at]; {
	case filepath.IsAbs(path):
	case src.Kind == FromFile:
		path = filepath.Join(filepath.Dir(src.Name), path)
	case (src.Kind == FromPolicy || src.Kind == FromMandatory) && path != "" && !IsAbsolute(path):
		k.wrong(at, "%q is a relative path, which means nothing in a policy; write it in full", path)
		return path, false
	}
	path, err := filepath.Abs(path)
	if err != nil {
		k.wrong(at, "is a relative path and the working directory cannot be found out; give an absolute path")
	}
	return path, err == nil
}

// proxy never shows the value: it may hold a password.
func (k checker) proxy() {
	raw := secretText(k.c.ProxyURL)
	if raw == "" {
		return
	}
	const rule = "write http://host:port, https://host:port or socks5://host:port, where needed with user:password@ before the host"
	switch u, err := url.Parse(raw); {
	case err != nil:
		k.wrong("proxy_url", "is not a URL (characters such as @, / and # in a password must be percent-encoded); %s", rule)
	case !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme):
		k.wrong("proxy_url", "is not a http, https or socks5 URL; %s", rule)
	case u.Hostname() == "":
		k.wrong("proxy_url", "names no host; %s", rule)
	case badPort(u):
		k.wrong("proxy_url", "has no valid port; %s", rule)
	case strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		k.wrong("proxy_url", "has something behind the host; %s", rule)
	}
}

// store refuses a store that this platform does not have.
func (k checker) store() {
	windows := k.goos == "windows"
	switch s := k.c.Store; {
	case s == StoreWincred && !windows:
		k.wrong("store", `"wincred" is the Credential Manager of Windows, and this is %s; use "auto", or "file"`, k.goos)
	case s == StoreSecretService && (windows || k.goos == "darwin"):
		k.wrong("store", `"secret-service" is the keyring of Linux desktops, and this is %s; use "auto"`, k.goos)
	}
}

// baseURL lets https pass, and http where it never leaves this machine.
func (k checker) baseURL(at key, raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		k.wrong(at, "is not a URL; write https://host")
	case u.User != nil:
		k.wrong(at, "holds a user name or password; write https://host")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		k.wrong(at, "%q has a query or a fragment; write https://host or https://host/path", raw)
	case badPort(u):
		k.wrong(at, "%q is not a port from 1 to 65535", u.Port())
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		k.wrong(at, "%q would send tokens in clear; use https (http is allowed to 127.0.0.1, [::1] and localhost only)", raw)
	}
	return strings.TrimRight(raw, "/")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || (err == nil && ip.IsLoopback())
}

func (k checker) resources() {
	for _, name := range sortedKeys(k.c.Resources) {
		res, at := k.c.Resources[name], key("resources").in(name)
		scopes, err := token.ParseScopes(res.Scopes)
		switch where := at.in("scopes"); {
		case k.bad[where]:
		case k.sources[where] == (Source{}):
			k.wrong(at, `has no scopes; add what a token for it is asked for, such as scopes: ["https://%s.example.com/.default"]`, name)
		case err != nil:
			k.wrong(where, "%v", err)
		case len(scopes) > 1 && slices.ContainsFunc(scopes, func(s string) bool { return strings.HasSuffix(s, "/.default") }):
			k.wrong(where, `".default" stands for every permission of the app and cannot be asked for together with others; keep one kind`)
		}
		k.c.Resources[name] = Resource{Scopes: scopes, BaseURL: k.baseURL(at.in("base_url"), res.BaseURL)}
	}
}
