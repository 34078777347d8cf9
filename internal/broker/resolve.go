package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// minRetry is the least time that a caller is told to wait for a sign-in.
const minRetry = 5 * time.Second

// resolve turns the names that a consumer sent into a key that its policy
// allows.
func (b *Broker) resolve(id *consumer.Identity, raw token.Key) (token.Key, error) {
	s := b.settings.Load()
	if _, ok := s.Resources[raw.Resource]; !ok {
		return token.Key{}, s.noResource(id, raw.Resource)
	}
	name, err := b.account(id, raw.Account)
	if err != nil {
		return token.Key{}, err
	}
	key := token.Key{Account: name, Resource: raw.Resource}
	if err := id.Allows(key); err != nil {
		return token.Key{}, err
	}
	return key, nil
}

// noResource is why there is no such resource. An Outlook target of the
// consumer's is told apart, so that who looks for its token learns what to do.
func (s *Settings) noResource(id *consumer.Identity, name string) *token.Error {
	if slices.Contains(s.MAPI, name) && id.HasTarget(name) {
		return token.NewError(token.KindUnsupported, "",
			fmt.Sprintf("No token exists for Extended MAPI; ask POST /v1/mapi/%s/ensure before MAPILogonEx, or use Microsoft Graph.", name))
	}
	return unknownResource(id, name, slices.Sorted(maps.Keys(s.Resources)))
}

func unknownResource(id *consumer.Identity, name string, configured []string) *token.Error {
	if name == "" {
		return token.NewError(token.KindInvalidRequest, "", "The parameter resource is missing; name a configured resource, for example resource=graph.")
	}
	if !id.Admin {
		configured = id.Resources()
	}
	return token.NewError(token.KindUnknownResource, "",
		fmt.Sprintf("There is no resource %q; you may ask for: %s. Scopes and addresses are configured in broker.yaml, callers name a resource.", name, strings.Join(configured, ", ")))
}

// account is the canonical name of the account that the consumer means. One that
// names none means the only one that it may have.
func (b *Broker) account(id *consumer.Identity, raw string) (string, error) {
	if raw != "" {
		if name, ok := b.cfg.Book.Resolve(raw); ok {
			return b.ownOf(id, raw, name), nil
		}
		if lower := strings.ToLower(raw); slices.Contains(id.Accounts(), lower) {
			return lower, nil // in its policy, but nobody has signed in yet
		}
		return "", b.notFound(account.Unknown(raw))
	}
	names := id.Accounts()
	if id.Admin {
		names = b.cfg.Book.Names()
	}
	switch len(names) {
	case 0:
		if !id.Admin {
			return "", token.NewError(token.KindDenied, "check policy", fmt.Sprintf("Consumer %q may use no account; add one to the accounts of the consumer if it should.", id.Name))
		}
		return "", b.notFound(token.NewError(token.KindSignInRequired, "", "No account is signed in on this machine; run: broker login"))
	case 1:
		if name, ok := b.cfg.Book.Resolve(names[0]); ok {
			return name, nil
		}
		return names[0], nil
	default:
		return "", token.NewError(token.KindInvalidRequest, "", "Several accounts are possible; say which with account=…: "+strings.Join(names, ", "))
	}
}

// ownOf is the account that the consumer means where a user has several, each
// with an app registration of its own: the one in its policy. Otherwise it is the
// one that was found.
func (b *Broker) ownOf(id *consumer.Identity, raw, found string) string {
	if raw == found || id.Admin {
		return found
	}
	own := id.Accounts()
	if slices.Contains(own, found) {
		return found
	}
	for _, name := range own {
		if v, err := b.cfg.Book.View(name); err == nil && strings.EqualFold(v.Username, raw) {
			return name
		}
	}
	return found
}

// notFound is err, or the store's fault where the account may be among the
// sign-ins that cannot be read.
func (b *Broker) notFound(err *token.Error) *token.Error {
	if unread := b.cfg.Book.Unread(); unread != nil {
		return unread
	}
	return err
}
