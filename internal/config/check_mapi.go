package config

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// targets fills the defaults, and checks what ends up on Outlook's command line
// and whose Outlook it is.
func (k checker) targets() {
	for _, name := range sortedKeys(k.c.MAPI) {
		t, at := k.c.MAPI[name], key("mapi").in(name)
		if t.Mode == "" {
			t.Mode = ModeCached
		}
		if t.Policy == "" {
			t.Policy = PolicyNudge
		}
		if k.sources[at.in("notice")] == (Source{}) {
			t.Notice = true
		}
		k.c.MAPI[name] = t
		switch where := at.in("profile"); {
		case k.bad[where]:
		case t.Profile == "":
			k.wrong(at, "has no profile; add the name of the Outlook profile, as Control Panel, Mail, Show Profiles shows it")
		case utf8.RuneCountInString(t.Profile) > 64:
			k.wrong(where, "is longer than 64 characters, which no Outlook profile is")
		case strings.ContainsAny(t.Profile, `"/\`):
			k.wrong(where, `holds a character that cannot be handed to Outlook safely (one of " / \); rename the profile`)
		}
		k.windowsAccount(at.in("account"), t.Account)
		if strings.ContainsAny(t.Service, `/\`) || utf8.RuneCountInString(t.Service) > 256 {
			k.wrong(at.in("service"), `is not the name of a Windows service, which has at most 256 characters and none of / and \; services.msc shows it as "Service name"`)
		}
		k.onlyTarget(at, t)
	}
}

// onlyTarget refuses a second target for one Outlook profile: each would count and
// trigger for itself. Windows' names are without case.
func (k checker) onlyTarget(at key, t Target) {
	for _, other := range sortedKeys(k.c.MAPI) {
		o := k.c.MAPI[other]
		if other < at.name() && t.Profile != "" && strings.EqualFold(o.Profile, t.Profile) && strings.EqualFold(o.Account, t.Account) {
			k.wrong(at, "has the profile and the account of %s; one profile is one target, so keep one of the two", other)
		}
	}
}

// The forms of a Windows account. None of " / \ [ ] : ; | = , + * ? < > can stand
// in a logon name; a principal name is kept to what has no second reading.
var (
	domainUser    = regexp.MustCompile(`^[^"/\\\[\]:;|=,+*?<>@]+\\[^"/\\\[\]:;|=,+*?<>]+$`)
	principalName = regexp.MustCompile(`^[^\s"/\\\[\]:;|=,*?<>@]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	anySID        = regexp.MustCompile(`(?i)^S-1-[0-9]+(-[0-9]+)+$`)
	// Of a domain or a machine (S-1-5-21), or of Entra ID (S-1-12-1).
	userSID = regexp.MustCompile(`(?i)^S-1-(5-21|12-1)(-[0-9]+){4}$`)
)

// windowsAccount wants an account that can be logged on: only that has a session,
// and only in a session of its own account can Outlook renew a sign-in. The texts
// do not quote the account.
func (k checker) windowsAccount(at key, account string) {
	if account == "" {
		return
	}
	const remedy = `run the consumer as a user account that can log on here, and name that`
	switch {
	case isServiceAccount(account):
		k.wrong(at, "is an account of Windows for services, which can never have a session with Outlook in it, so that nobody can renew its sign-in; "+remedy)
	case isManaged(account):
		k.wrong(at, "ends in $, as managed service accounts (gMSA) and computers do; such an account can never have a session with Outlook in it, so that nobody can renew its sign-in; "+remedy)
	case anySID.MatchString(account) && !userSID.MatchString(account):
		k.wrong(at, "is the SID of no user account; those begin with S-1-5-21 or S-1-12-1, as `whoami /user` shows")
	case !anySID.MatchString(account) && !domainUser.MatchString(account) && !principalName.MatchString(account):
		k.wrong(at, `is not a Windows account; write DOMAIN\user, .\user for one of this machine, user@domain, or a SID`)
	}
}

// isManaged knows group managed service accounts, and computers, by their last
// character ("CONTOSO\svc$").
func isManaged(account string) bool {
	user, _, _ := strings.Cut(account, "@")
	return strings.HasSuffix(user, "$")
}

// serviceNames are the accounts of the service manager, by name and without blanks;
// they also come with the domain NT AUTHORITY, whatever Windows' language calls it.
var serviceNames = []string{"system", "localsystem", "localservice", "networkservice"}

// serviceDomains are where Windows makes accounts by itself: for services, IIS
// pools, and the drivers of fonts and windows.
var serviceDomains = []string{"nt authority", "nt service", "iis apppool", "font driver host", "window manager", "nt virtual machine"}

// serviceSIDs begin the SIDs of those accounts.
var serviceSIDs = []string{"s-1-5-18", "s-1-5-19", "s-1-5-20", "s-1-5-80-", "s-1-5-82-", "s-1-5-83-", "s-1-5-90-", "s-1-5-96-"}

// isServiceAccount reports an account that nobody can log on as.
func isServiceAccount(account string) bool {
	account = strings.ToLower(account)
	if anySID.MatchString(account) {
		return slices.ContainsFunc(serviceSIDs, func(sid string) bool {
			return account == sid || (strings.HasSuffix(sid, "-") && strings.HasPrefix(account, sid))
		})
	}
	domain, user, ok := strings.Cut(account, `\`)
	if !ok {
		domain, user = "", account
	}
	return slices.Contains(serviceDomains, domain) || slices.Contains(serviceNames, strings.ReplaceAll(user, " ", ""))
}
