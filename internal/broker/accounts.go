package broker

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/refresh"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// StartSignIn begins a sign-in for an account (alias or user name; empty for
// whoever signs in), or gives the one that is running already (created is
// false). An empty flow means the device code, an empty resource the configured
// one.
func (b *Broker) StartSignIn(ctx context.Context, name string, flow token.Flow, resource string) (v signin.View, created bool, err error) {
	s := b.settings.Load()
	if flow == "" {
		flow = token.FlowDevice
	}
	if resource == "" {
		resource = s.SignIn
	}
	scopes := s.Resources[resource]
	if scopes == nil {
		return signin.View{}, false, token.NewError(token.KindUnknownResource, "sign in", "There is no resource "+resource+" to sign in for; see `broker config check`.")
	}
	canonical, ok := b.cfg.Book.Resolve(name)
	if !ok {
		canonical = strings.ToLower(name)
	}
	return b.cfg.SignIns.Start(ctx, signin.Request{
		Account: canonical, Flow: flow, App: b.cfg.Book.App(canonical), Scopes: scopes, LoginHint: b.hint(canonical),
	})
}

// hint is the user name to offer in the browser, empty where none is known.
func (b *Broker) hint(name string) string {
	if v, err := b.cfg.Book.View(name); err == nil {
		return v.Username
	}
	return name
}

// Keep takes a finished sign-in; see account.Book.Keep. Tokens of an earlier
// sign-in are dropped.
func (b *Broker) Keep(ctx context.Context, wanted string, g token.Grant) (string, error) {
	name, err := b.cfg.Book.Keep(ctx, wanted, g)
	if name == "" {
		return "", err
	}
	b.Forget([]string{name})
	b.declare()
	b.cfg.Wake()
	return name, err
}

// SignOut forgets an account everywhere on this machine. Nothing is revoked at
// the authority.
func (b *Broker) SignOut(ctx context.Context, name string) error {
	canonical, ok := b.cfg.Book.Resolve(name)
	if !ok {
		return account.Unknown(name)
	}
	if err := b.cfg.Book.Forget(ctx, canonical); err != nil {
		return err
	}
	b.Forget([]string{canonical})
	return nil
}

// Accounts lists the accounts with their cached tokens, sorted by name.
func (b *Broker) Accounts() []account.View {
	views := b.cfg.Book.Views()
	byName := make(map[string]*account.View, len(views))
	for i := range views {
		byName[views[i].Name] = &views[i]
	}
	for _, st := range b.cfg.Cache.Statuses() {
		if v := byName[st.Renewal.Key.Account]; v != nil {
			add(v, st)
		}
	}
	for i := range views {
		slices.SortFunc(views[i].Resources, func(x, y account.ResourceView) int { return cmp.Compare(x.Name, y.Name) })
	}
	return views
}

// Account shows one account by its alias or user name.
func (b *Broker) Account(name string) (account.View, error) {
	canonical, ok := b.cfg.Book.Resolve(name)
	if !ok {
		return account.View{}, account.Unknown(name)
	}
	for _, v := range b.Accounts() {
		if v.Name == canonical {
			return v, nil
		}
	}
	return account.View{}, account.Unknown(name)
}

// Idle lists the signed-in accounts for the refresh schedule, each with the
// resource to redeem for: the one that was asked for last, else the one that
// sign-ins are made for.
func (b *Broker) Idle() []refresh.Idle {
	s := b.settings.Load()
	asked := map[string]cache.Status{}
	for _, st := range b.cfg.Cache.Statuses() {
		name := st.Renewal.Key.Account
		if st.Problem == nil && st.Renewal.LastAsked.After(asked[name].Renewal.LastAsked) && s.Resources[st.Renewal.Key.Resource] != nil {
			asked[name] = st
		}
	}
	var out []refresh.Idle
	for _, v := range b.cfg.Book.Views() {
		if v.GoodOn.IsZero() || v.State == account.StateSignInRequired {
			continue
		}
		resource := cmp.Or(asked[v.Name].Renewal.Key.Resource, s.SignIn)
		out = append(out, refresh.Idle{Key: token.Key{Account: v.Name, Resource: resource}, UsedOn: v.GoodOn, Jitter: jitterOf(v.Name)})
	}
	return out
}

// jitterOf is a number from -1 to 1 that is fixed for one account.
func jitterOf(name string) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails, see hash.Hash
	return float64(h.Sum32())/(1<<31) - 1
}

// add puts what the cache knows of one resource into its account's view.
func add(v *account.View, st cache.Status) {
	r := account.ResourceView{
		Name: st.Renewal.Key.Resource, ExpiresOn: st.Renewal.ExpiresOn, LastAsked: st.Renewal.LastAsked, Problem: st.Problem,
	}
	due, ok := refresh.Due(st.Renewal)
	if ok && !st.Renewal.ExpiresOn.IsZero() {
		r.RefreshOn = due
	}
	if st.Problem != nil && ok && (v.NextTry.IsZero() || due.Before(v.NextTry)) {
		v.NextTry = due
	}
	v.Resources = append(v.Resources, r)
}
