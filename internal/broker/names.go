package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file finds what the callers of foreign protocols mean: they know a
// resource by its audience and an account by a client ID.

// Names finds what a caller means. It is safe for concurrent use.
type Names struct{ b *Broker }

// Names finds what the callers of this broker mean.
func (b *Broker) Names() Names { return Names{b} }

// How well a text names a resource.
const (
	noMatch       = iota
	audienceMatch // its audience, which several resources may share
	scopeMatch    // a scope of its set
	nameMatch     // its name
)

// maxShown bounds how much of a caller's text an error repeats, in bytes: an
// access token in the wrong place is longer.
const maxShown = 128

// Resource is the configured resource that all of these texts stand for, each a
// resource's name, its audience (with / or /.default behind it or not), or a scope
// of its set. Where several would do, those that the identity may have tokens for
// are meant, and of those the ones that the texts name best; that there are still
// several is an error, as the broker does not guess.
func (n Names) Resource(id *consumer.Identity, texts ...string) (string, error) {
	s := n.b.settings.Load()
	texts = withoutReserved(texts)
	if len(texts) == 0 {
		return "", token.NewError(token.KindInvalidRequest, "", "No resource is named; name a configured resource or its audience, for example https://graph.microsoft.com.")
	}
	found := map[string]int{}
	for name, scopes := range s.Resources {
		if how := matchAll(name, scopes, texts); how != noMatch {
			found[name] = how
		}
	}
	names := slices.Sorted(maps.Keys(found))
	if len(names) == 0 {
		return "", s.noMatch(id, texts)
	}
	if own := allowed(id, names); len(own) > 0 {
		names = own
	} else {
		return names[0], nil // the policy refuses each of them, in its own words
	}
	best := 0
	for _, name := range names {
		best = max(best, found[name])
	}
	names = slices.DeleteFunc(names, func(name string) bool { return found[name] < best })
	if len(names) > 1 {
		return "", token.NewError(token.KindInvalidRequest, "",
			fmt.Sprintf("Several resources have this audience: %s; ask for one of them by its name, or by a scope that only it has.", strings.Join(names, ", ")))
	}
	return names[0], nil
}

// withoutReserved drops OpenID Connect's own scopes, which some libraries add to
// every request and which name no resource.
func withoutReserved(texts []string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(t string) bool { return t == "" || token.IsReserved(t) })
}

// allowed are those of the names that the identity may have tokens for.
func allowed(id *consumer.Identity, names []string) []string {
	if id.Admin {
		return names
	}
	may := id.Resources()
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(may, n) })
}

// matchAll is how well the text that fits worst names the resource.
func matchAll(name string, scopes token.Scopes, texts []string) int {
	worst := nameMatch
	for _, t := range texts {
		worst = min(worst, matchOne(name, scopes, t))
	}
	return worst
}

func matchOne(name string, scopes token.Scopes, text string) int {
	if text == name {
		return nameMatch
	}
	for _, s := range scopes {
		if text == s || sameScope(text, s) {
			return scopeMatch
		}
	}
	if sameAudience(strings.TrimSuffix(text, "/.default"), scopes.Audience()) {
		return audienceMatch
	}
	return noMatch
}

// sameScope reports whether two scopes are the same one of one audience. The
// name of a scope must be the same to the letter.
func sameScope(a, b string) bool {
	i, j := strings.LastIndexByte(a, '/'), strings.LastIndexByte(b, '/')
	return a[i+1:] == b[j+1:] && sameAudience(token.Audience(a), token.Audience(b))
}

// sameAudience reports whether two texts name one audience: of a web address,
// scheme and host in any case (RFC 3986 section 6.2.2.1), a slash at the end or
// not; anything else, such as api://…, to the letter.
func sameAudience(a, b string) bool {
	a, b = strings.TrimRight(a, "/"), strings.TrimRight(b, "/")
	return a != "" && webCase(a) == webCase(b)
}

// webCase writes scheme and host of a web address in lower case.
func webCase(s string) string {
	const scheme = "https://"
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return s
	}
	host, path, _ := strings.Cut(s[len(scheme):], "/")
	if path != "" {
		path = "/" + path
	}
	return scheme + strings.ToLower(host) + path
}

// noMatch says what the identity may ask for, by name and audience.
func (s *Settings) noMatch(id *consumer.Identity, texts []string) *token.Error {
	names := id.Resources()
	if id.Admin {
		names = slices.Sorted(maps.Keys(s.Resources))
	}
	var may []string
	for _, n := range names {
		if scopes, ok := s.Resources[n]; ok {
			may = append(may, fmt.Sprintf("%s (%s)", n, scopes.Audience()))
		}
	}
	what := "No resource has what was asked for"
	if len(texts) == 1 && len(texts[0]) <= maxShown {
		what = fmt.Sprintf("There is no resource %q", texts[0])
	}
	if len(may) == 0 {
		return token.NewError(token.KindUnknownResource, "", what+"; this caller may use none, so add one to the resources of the consumer.")
	}
	return token.NewError(token.KindUnknownResource, "",
		fmt.Sprintf("%s; you may ask for: %s. A resource is asked for by its name, its audience, or a scope of its configured set.", what, strings.Join(may, ", ")))
}

// Account is the account that a text stands for: its name, its user name, or the
// client ID of the app registration that it is signed in with, as programs have
// it in AZURE_CLIENT_ID; "" where the text is empty.
func (n Names) Account(id *consumer.Identity, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	name, err := n.b.account(id, text)
	if err == nil || token.KindOf(err) != token.KindUnknownAccount {
		return name, err
	}
	candidates := id.Accounts()
	if id.Admin {
		candidates = n.b.cfg.Book.Names()
	}
	same := slices.DeleteFunc(candidates, func(c string) bool { return !strings.EqualFold(n.ClientID(c), text) })
	switch {
	case len(same) == 1:
		return same[0], nil
	case len(same) > 1:
		return "", token.NewError(token.KindInvalidRequest, "",
			"Several accounts use this app registration; name one of them in its place: "+strings.Join(same, ", "))
	}
	return "", err
}

// ClientID is the app registration that an account is signed in with, or would
// be.
func (n Names) ClientID(account string) string {
	if v, err := n.b.cfg.Book.View(account); err == nil {
		return v.ClientID
	}
	return n.b.cfg.Book.App(account).ClientID
}

// InTenant reports whether a text names the tenant that an account is signed in
// to: its GUID, the domain that the configuration has for it, or the domain of
// the user name.
func (n Names) InTenant(account, tenant string) bool {
	is := func(t string) bool { return t != "" && strings.EqualFold(t, tenant) }
	v, err := n.b.cfg.Book.View(account)
	if err != nil {
		return is(n.b.cfg.Book.App(account).Tenant)
	}
	_, domain, _ := strings.Cut(v.Username, "@")
	return is(v.Tenant) || is(n.b.cfg.Book.App(account).Tenant) || is(domain)
}
