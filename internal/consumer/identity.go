package consumer

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/m365-token-broker/broker/internal/token"
)

// Identity is who is calling, made once at the border. It is immutable and safe
// for concurrent use. After a change of the configuration a request goes on
// with the identity that it began with.
type Identity struct {
	Name    string // of the consumer; "admin" for the admin key, "agent" for the Outlook agent's, "ui" for the broker's own page
	Label   string // what metrics and spans call it: one of few, see label
	Admin   bool   // may do everything
	Agent   bool   // may do an Outlook agent's work, and nothing else
	Metrics bool   // may read /metrics

	accounts, resources, targets []string
	tie                          *tie // nil: anybody who has the key, at any time
	usage                        *usage
	limiter                      *rate.Limiter // nil: no limit
}

// AdminIdentity is whoever holds the admin key.
func AdminIdentity() *Identity {
	return &Identity{Name: adminName, Label: adminName, Admin: true, Metrics: true, usage: &usage{}}
}

// PageIdentity is a person at the broker's own page. The admin key let them in, so
// they are the administrator, under a name that the audit log tells apart.
func PageIdentity() *Identity {
	return &Identity{Name: pageName, Label: adminName, Admin: true, usage: &usage{}}
}

// AgentIdentity is the Outlook agent of this account.
func AgentIdentity() *Identity {
	return &Identity{Name: agentName, Label: agentName, Agent: true, usage: &usage{}}
}

// NewIdentity is an identity with the rights of s that no registry counts.
func NewIdentity(s Spec) *Identity { return newIdentity(s, &usage{}) }

func newIdentity(s Spec, u *usage) *Identity {
	return &Identity{
		Name: s.Name, Label: s.label(), Metrics: s.Metrics,
		accounts: slices.Clone(s.Accounts), resources: slices.Clone(s.Resources), targets: slices.Clone(s.MAPI),
		tie: u.tieFor(s), usage: u, limiter: u.limiterFor(s.Rate),
	}
}

// Accounts are the accounts that the consumer may use, in the order of the
// configuration; of no meaning for the administrator, who may use all.
func (id *Identity) Accounts() []string { return slices.Clone(id.accounts) }

// Resources are the resources that the consumer may have tokens for; of no
// meaning for the administrator.
func (id *Identity) Resources() []string { return slices.Clone(id.resources) }

// Allows reports whether the key's token may be given to this identity, by its
// canonical names. Its error is of KindDenied and says what to add; it speaks of
// nothing but what the caller asked for.
func (id *Identity) Allows(k token.Key) error {
	if id.Admin {
		return nil
	}
	account, resource := slices.Contains(id.accounts, k.Account), slices.Contains(id.resources, k.Resource)
	switch {
	case account && resource:
		return nil
	case account:
		return id.deny(fmt.Sprintf("resource %q; add it to the resources of the consumer", k.Resource))
	case resource:
		return id.deny(fmt.Sprintf("account %q; add it to the accounts of the consumer", k.Account))
	default:
		return id.deny(fmt.Sprintf("resource %q of account %q; add both to the consumer", k.Resource, k.Account))
	}
}

// Served notes which token the consumer was answered with, for the list of
// consumers. It is on the hot path, and writes only where it is another one than
// before. It is called once for every token that leaves: by the API and by the
// proxy's wiring beside the audit log, and by the writer of token files.
func (id *Identity) Served(k token.Key) { id.usage.serve(k) }

// HasTarget reports whether the identity may use the Outlook target.
func (id *Identity) HasTarget(name string) bool { return id.Admin || slices.Contains(id.targets, name) }

// AllowsTarget is HasTarget with an error of KindNotFound: to a consumer, a
// target of others is the same as none, so that nobody can find names by asking.
func (id *Identity) AllowsTarget(name string) error {
	if id.HasTarget(name) {
		return nil
	}
	e := token.NewError(token.KindNotFound, "check policy", fmt.Sprintf("Consumer %q has no Outlook target %q; add it to the mapi of the consumer if it should.", id.Name, name))
	id.usage.refused(time.Now(), e.Detail)
	return e
}

func (id *Identity) deny(what string) error {
	e := token.NewError(token.KindDenied, "check policy", fmt.Sprintf("Consumer %q may not use %s if it should.", id.Name, what))
	id.usage.refused(time.Now(), e.Detail)
	return e
}

// Admit holds the consumer to its rate. Its error is of KindRateLimited and says
// when to try again.
func (id *Identity) Admit() error {
	if id.limiter == nil {
		return nil
	}
	now := time.Now()
	res := id.limiter.ReserveN(now, 1)
	wait := res.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	res.CancelAt(now)
	e := token.NewError(token.KindRateLimited, "check rate", fmt.Sprintf("Consumer %q calls more often than its rate allows; call less often, or raise its rate.", id.Name))
	e.RetryAfter = wait
	id.usage.refused(now, e.Detail)
	return e
}
