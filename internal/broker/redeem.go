package broker

import (
	"context"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/token"
)

// Redeem exchanges a refresh token for an access token at the authority. The
// refresh token it returns is the rotated one, or zero; it may come with an
// error.
type Redeem func(ctx context.Context, g token.Grant, scopes token.Scopes, claims string) (token.Token, token.Secret, error)

// Redeemer is the token.Source under the cache: it redeems the account's refresh
// token and hands the rotated one and the outcome to the book. The cache calls
// it once at a time per account.
type Redeemer struct {
	Book     *account.Book
	Scopes   func(resource string) token.Scopes
	Redeem   Redeem
	Problems *Problems
}

// Token redeems upstream. Errors are of type *token.Error.
func (r *Redeemer) Token(ctx context.Context, req token.Request) (token.Token, error) {
	g, err := r.Book.Grant(req.Key.Account)
	if err != nil {
		return token.Token{}, err
	}
	tok, rotated, rerr := r.Redeem(ctx, g, r.Scopes(req.Key.Resource), req.Claims)
	r.Book.Rotated(req.Key.Account, g, rotated)
	if rerr == nil {
		r.Book.Report(ctx, req.Key.Account, g, req.Key.Resource, nil)
		return tok, nil
	}
	e := token.AsError(rerr)
	r.Problems.add(req.Key, e)
	// What one consumer's challenge met says nothing of the account.
	if req.Claims == "" || e.Kind.Retryable() {
		r.Book.Report(ctx, req.Key.Account, g, req.Key.Resource, e)
	}
	return token.Token{}, e
}

// Scopes is the scope set of a configured resource, nil where there is none.
func (b *Broker) Scopes(resource string) token.Scopes { return b.settings.Load().Resources[resource] }
