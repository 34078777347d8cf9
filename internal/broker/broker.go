// Package broker is the product on one page: a consumer's wish goes through its
// policy to the token cache, and from there, where no current token is at hand,
// to the authority with the account's refresh token.
package broker

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/signin"
	"github.com/m365-token-broker/broker/internal/token"
)

// SignIns runs sign-ins; signin.Desk is one.
type SignIns interface {
	Start(ctx context.Context, req signin.Request) (signin.View, bool, error)
	Pending(account string) (signin.View, bool)
}

// Settings are what a new configuration may change while the broker runs.
type Settings struct {
	Resources map[string]token.Scopes // by name
	SignIn    string                  // the resource that a sign-in asks for, where nobody names one
	MAPI      []string                // names of Outlook targets, for which there are no tokens
}

// Config is what a Broker needs.
type Config struct {
	Book     *account.Book
	Cache    *cache.Cache
	SignIns  SignIns
	Settings Settings
	Problems *Problems
	Wake     func() // the refresh schedule looks again
}

// Broker answers consumers and the administrator. It is safe for concurrent use.
type Broker struct {
	cfg      Config
	settings atomic.Pointer[Settings]
}

// New makes a Broker.
func New(cfg Config) *Broker {
	b := &Broker{cfg: cfg}
	b.Configure(cfg.Settings)
	return b
}

// Configure takes the settings of a new configuration. Tokens that were made with
// other scopes than a resource has now are dropped.
func (b *Broker) Configure(s Settings) {
	before := b.settings.Swap(&s)
	if before != nil {
		b.cfg.Cache.Drop(func(k token.Key) bool { return !slices.Equal(before.Resources[k.Resource], s.Resources[k.Resource]) })
	}
	b.declare()
}

// Forget drops what is cached of accounts that now mean another sign-in.
func (b *Broker) Forget(accounts []string) {
	b.cfg.Cache.Drop(func(k token.Key) bool { return slices.Contains(accounts, k.Account) })
}

// Problems lists the last failed redemptions, the newest first.
func (b *Broker) Problems() []Problem { return b.cfg.Problems.Last() }

// declare makes every possible key known to the cache in one step.
func (b *Broker) declare() {
	var keys []token.Key
	for _, a := range b.cfg.Book.Names() {
		for r := range b.settings.Load().Resources {
			keys = append(keys, token.Key{Account: a, Resource: r})
		}
	}
	b.cfg.Cache.Declare(keys...)
}

// Token gives a consumer the token that it asks for, if its policy allows.
// Errors are of type *token.Error.
func (b *Broker) Token(ctx context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error) {
	key, err := b.resolve(id, req.Key)
	if err != nil {
		return cache.Answer{}, err
	}
	req.Key = key
	ans, cerr := b.cfg.Cache.Token(ctx, req)
	if cerr != nil {
		return cache.Answer{}, b.explain(key, cerr)
	}
	return ans, nil
}

// Changed waits until the consumer's token is another than the one with this
// entity tag; it ends with ctx.
func (b *Broker) Changed(ctx context.Context, id *consumer.Identity, req token.Request, etag string) (cache.Answer, error) {
	ans, err := b.Token(ctx, id, req)
	if err != nil || ans.Entry.ETag() != etag {
		return ans, err
	}
	e, err := b.cfg.Cache.Changed(ctx, ans.Entry.Key(), etag)
	if err != nil {
		return cache.Answer{}, err
	}
	if e == nil { // signed out, or in again
		return b.Token(ctx, id, req)
	}
	return cache.Answer{Entry: e, FromCache: true}, nil
}

// explain turns "sign-in required" into "a sign-in is running" where one is, so
// that the consumer knows that it pays to ask again soon, and names the account
// in the sentence for the person.
func (b *Broker) explain(key token.Key, err error) error {
	e := *token.AsError(err)
	if e.Kind != token.KindSignInRequired {
		return &e
	}
	if v, ok := b.cfg.SignIns.Pending(key.Account); ok {
		return &token.Error{
			Kind: token.KindSignInPending, RetryAfter: max(v.Interval, minRetry),
			Detail: "Somebody is signing account " + key.Account + " in at this moment; ask again when that is done.",
		}
	}
	return &e
}
