package config

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// accounts checks each alias, and that no two mean the same sign-in.
func (k checker) accounts() {
	for _, name := range sortedKeys(k.c.Accounts) {
		a, at := k.c.Accounts[name], key("accounts").in(name)
		a.Username = strings.ToLower(a.Username)
		k.c.Accounts[name] = a
		k.tenant(at.in("tenant"), a.Tenant)
		k.clientID(at.in("client_id"), a.ClientID)
		switch where := at.in("username"); {
		case a.Username == "" && k.sources[where] != (Source{}):
			k.wrong(where, "is empty; write the user name, such as ops@contoso.com, or leave the key out to take whoever signs in as %s", name)
		case a.Username != "" && !k.isUsername(a.Username):
			k.wrong(where, "%q is not a user name; write it as it is typed at sign-in, such as ops@contoso.com", a.Username)
		}
		for _, other := range k.c.aliasesOf(a.Username) {
			if b := k.c.Accounts[other]; other < name && k.c.App(other) == k.c.App(name) {
				k.wrong(at, "is the same account as %s (%s); keep one of the two", other, b.Username)
			}
		}
	}
}

// isUsername is loose where a private authority is set: its user names need not
// look like mail addresses.
func (k checker) isUsername(s string) bool {
	if strings.ContainsAny(s, " \t/\\") {
		return false
	}
	local, domain, ok := strings.Cut(s, "@")
	return k.c.Authority != "" || (ok && local != "" && domain != "" && !strings.Contains(domain, "@"))
}

var (
	sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	windowsPath   = regexp.MustCompile(`^([A-Za-z]:[\\/]|\\\\)`)
)

func (k checker) consumers() {
	owner := map[string]key{} // key digest -> whose it is
	sinks := map[string]key{} // token file -> whose it is
	for _, name := range sortedKeys(k.c.Consumers) {
		c, at := k.c.Consumers[name], key("consumers").in(name)
		c.KeySHA256 = k.digests(at, c.KeySHA256, owner)
		c.Accounts = k.accountRefs(at.in("accounts"), c.Accounts)
		k.refs(at.in("resources"), c.Resources, "resource", sortedKeys(k.c.Resources))
		k.refs(at.in("mapi"), c.MAPI, "MAPI target", sortedKeys(k.c.MAPI))
		k.caller(at, &c)
		k.sink(at, &c, sinks)
		k.c.Consumers[name] = c
		switch src := k.sources[at]; {
		case len(c.Resources) > 0 && len(c.Accounts) == 0:
			k.warn(src, at, "has resources but no accounts, so that it can get no token; add accounts: [NAME]")
		case len(c.Accounts) > 0 && len(c.Resources) == 0:
			k.warn(src, at, "has accounts but no resources, so that it can get no token; add resources: [graph]")
		}
	}
}

// digests wants the key to be there, because a consumer without a key can never
// call; an empty list written out locks it out on purpose.
func (k checker) digests(at key, digests []string, owner map[string]key) []string {
	where := at.in("key_sha256")
	switch {
	case k.bad[where]:
	case k.sources[where] == (Source{}):
		k.wrong(at, "has no key_sha256; `broker consumers add %s` makes a key and writes it (key_sha256: [] locks a consumer out on purpose)", at.name())
	case len(digests) == 0 && at.name() != openConsumer:
		k.warn(k.sources[where], at, "is locked out, because key_sha256 is empty")
	}
	for i, d := range digests {
		h, err := ParseKeyHash(d)
		digests[i] = h.String()
		switch item := where.item(i); {
		case strings.HasPrefix(d, "brk_") || strings.HasPrefix(d, "bra_") || strings.HasPrefix(d, "brg_"):
			k.wrong(item, "is a key itself; only its SHA-256 belongs into a file, so treat this key as known to others and run `broker consumers rotate %s`", at.name())
		case !sha256Pattern.MatchString(h.SHA256):
			k.wrong(item, "is not a SHA-256 in hex (64 digits of 0-9 and a-f; it has %d characters); `broker consumers rotate %s` writes a right one", utf8.RuneCountInString(h.SHA256), at.name())
		case err != nil:
			k.wrong(item, "has a time after its @ that is not like 2026-11-23T08:00:00Z; it is when the key stops working, and may be left out with its @")
		case owner[h.SHA256] != "":
			k.wrong(item, "is the key of %s too; every consumer needs a key of its own", owner[h.SHA256])
		default:
			owner[h.SHA256] = at
		}
	}
	return digests
}

// accountRefs turns references into canonical account names.
func (k checker) accountRefs(at key, names []string) []string {
	for i, name := range names {
		_, isAlias := k.c.Accounts[name]
		aliases := k.c.aliasesOf(name)
		switch {
		case isAlias:
		case len(aliases) > 1:
			k.wrong(at.item(i), "%q is the user name of %s; name the one you mean", name, strings.Join(aliases, " and "))
		case len(aliases) == 0 && !strings.Contains(name, "@") && k.c.Authority == "":
			hint := didYouMean(name, sortedKeys(k.c.Accounts))
			if hint == "" {
				hint = `; name an alias from "accounts", or write the user name, such as ops@contoso.com`
			}
			k.wrong(at.item(i), "there is no account %q%s", name, hint)
		case len(aliases) == 0 && !k.isUsername(name):
			k.wrong(at.item(i), "%q is neither an alias from \"accounts\" nor a user name such as ops@contoso.com", name)
		}
		names[i] = k.c.Canonical(name)
		if slices.Contains(names[:i], names[i]) {
			k.wrong(at.item(i), "%q is the account %s, which is in the list already; remove it", name, names[i])
		}
	}
	return names
}

// refs checks that each name exists.
func (k checker) refs(at key, names []string, what string, known []string) {
	for i, name := range names {
		switch hint := didYouMean(name, known); {
		case slices.Contains(names[:i], name):
			k.wrong(at.item(i), "%q is in the list already; remove it", name)
		case slices.Contains(known, name):
		case hint == "" && len(known) == 0:
			k.wrong(at.item(i), "there is no %s %q; none is configured", what, name)
		case hint == "":
			k.wrong(at.item(i), "there is no %s %q; there is %s", what, name, oneOf(known))
		default:
			k.wrong(at.item(i), "there is no %s %q%s", what, name, hint)
		}
	}
}

// IsAbsolute reports whether path is absolute on any system: a configuration may
// be checked on another machine than the one it is for.
func IsAbsolute(path string) bool {
	return strings.HasPrefix(path, "/") || windowsPath.MatchString(path)
}
