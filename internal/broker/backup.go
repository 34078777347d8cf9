package broker

import (
	"context"
	"slices"

	"github.com/m365-token-broker/broker/internal/account"
)

// Export gives the sign-ins of these accounts (aliases or user names), or of all.
func (b *Broker) Export(names []string) ([]account.Saved, error) {
	var canonical []string
	for _, name := range names {
		c, ok := b.cfg.Book.Resolve(name)
		if !ok {
			return nil, account.Unknown(name)
		}
		if !slices.Contains(canonical, c) { // an alias and its user are one
			canonical = append(canonical, c)
		}
	}
	return b.cfg.Book.Export(canonical)
}

// Import takes over a sign-in; see account.Book.Import. Tokens of an earlier
// sign-in are dropped.
func (b *Broker) Import(ctx context.Context, s account.Saved, replace bool) account.Outcome {
	o := b.cfg.Book.Import(ctx, s, replace)
	if o.Fate.Changes() {
		b.Forget([]string{o.Name})
		b.declare()
		b.cfg.Wake()
	}
	return o
}

// SignInResource is the resource that a sign-in asks for where nobody names one.
func (b *Broker) SignInResource() string { return b.settings.Load().SignIn }
