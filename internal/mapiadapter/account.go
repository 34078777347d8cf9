package mapiadapter

import (
	"strings"
)

// identity is a Windows account as the system shows it. What is not known is
// empty.
type identity struct {
	name string // DOMAIN\user
	sid  string
	host string // this machine, whose own accounts have it as their domain
}

// surelyNot reports whether an account that somebody wrote down (DOMAIN\user,
// .\user, user@domain, a SID; empty: not said) is another one than this. Names
// that can stand for the same account are taken for the same: a principal name
// need not be that of the account, and a domain has two names.
func (i identity) surelyNot(written string) bool {
	switch {
	case written == "":
		return false
	case isSID(written):
		return i.sid != "" && !strings.EqualFold(written, i.sid)
	case i.name == "" || isSID(i.name):
		return false
	}
	domain, user, said := strings.Cut(written, `\`)
	if !said {
		domain, user = "", written
	}
	ourDomain, ourUser, said := strings.Cut(i.name, `\`)
	if !said {
		ourDomain, ourUser = "", i.name
	}
	switch {
	case strings.Contains(user, "@"):
		return false
	case !strings.EqualFold(user, ourUser):
		return true
	case domain == "" || ourDomain == "":
		return false
	case domain == ".":
		return i.host != "" && !strings.EqualFold(ourDomain, netBIOS(i.host))
	}
	return !strings.EqualFold(domain, ourDomain) && !strings.Contains(domain, ".") && !strings.Contains(ourDomain, ".")
}

func isSID(account string) bool { return strings.HasPrefix(strings.ToUpper(account), "S-1-") }

// netBIOS is the machine's name as the domain of its own accounts.
func netBIOS(host string) string {
	host, _, _ = strings.Cut(host, ".")
	return host[:min(len(host), 15)]
}

// neverLogsOn reports whether an account of the service manager can have no
// interactive session: the built-in ones, and those that a machine manages. One
// that the service manager does not name is LocalSystem.
func neverLogsOn(account string) bool {
	domain, user, said := strings.Cut(strings.ToLower(account), `\`)
	if !said {
		domain, user = "", domain
	}
	switch domain {
	case "nt authority", "nt service", "iis apppool", "nt virtual machine":
		return true
	}
	user, _, _ = strings.Cut(user, "@")
	return user == "" || user == "localsystem" || strings.HasSuffix(user, "$")
}
