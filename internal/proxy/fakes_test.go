package proxy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// source mints tokens CANARY-1, CANARY-2, …, or fails.
type source struct {
	mu       sync.Mutex
	requests []token.Request
	err      error
}

func (s *source) Token(_ context.Context, req token.Request) (token.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, req)
	if s.err != nil {
		return token.Token{}, s.err
	}
	now := time.Now()
	return token.Token{Access: token.NewSecret(fmt.Sprintf("CANARY-%d", len(s.requests))), ObtainedOn: now, ExpiresOn: now.Add(time.Hour), Scope: "x"}, nil
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// tokens is the policy of a consumer that may have everything of its one account.
type tokens struct{ cache *cache.Cache }

func newTokens(s *source) tokens {
	return tokens{cache.New(cache.Config{Source: s, Hold: func(*token.Error, int) time.Duration { return 0 }})}
}

func (f tokens) Token(ctx context.Context, _ *consumer.Identity, req token.Request) (cache.Answer, error) {
	if strings.HasPrefix(req.Key.Resource, "no") {
		return cache.Answer{}, token.NewError(token.KindUnknownResource, "", "There is no such resource.")
	}
	req.Key.Account = "ops"
	return f.cache.Token(ctx, req)
}

// somebody is a consumer.
func somebody() *consumer.Identity { return consumer.NewIdentity(consumer.Spec{Name: "crm"}) }
