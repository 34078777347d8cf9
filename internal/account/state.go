package account

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// idleEnd is how long an unused refresh token lives (Microsoft identity
// platform, "Refresh tokens": 90 days for other than single-page apps).
const idleEnd = 90 * 24 * time.Hour

// Report notes the outcome of a redemption of one of the account's resources
// with this grant; nil is a good one. The outcome of a sign-in that was replaced
// meanwhile is dropped. A change of state is logged once.
func (b *Book) Report(ctx context.Context, name string, from token.Grant, resource string, err *token.Error) {
	before, after, why := b.note(name, from, resource, err)
	b.learn(ctx, name, from, resource, err)
	if after == before {
		return
	}
	level := slog.LevelWarn
	if after == StateOK {
		level = slog.LevelInfo
	}
	b.cfg.Log.Log(ctx, level, "account state changed", slog.String("account", b.cfg.Hash(name)),
		slog.String("from", string(before)), slog.String("to", string(after)), slog.Any("why", why))
}

// learn takes an outcome into what is known of the account's sign-in frequency,
// and logs what is new.
func (b *Book) learn(ctx context.Context, name string, from token.Grant, resource string, err *token.Error) {
	b.mu.Lock()
	e := b.entries[name]
	if e == nil || !e.signedIn || !e.rec.grant.SignedInOn.Equal(from.SignedInOn) {
		b.mu.Unlock()
		return
	}
	f, news := e.learn(resource, err, time.Now().Round(0))
	if e.saved < e.rec.generation {
		b.wakeWriter()
	}
	b.mu.Unlock()
	switch {
	case !news:
	case err == nil:
		b.cfg.Log.InfoContext(ctx, "the sign-in outlived the sign-in frequency that was learned, which is forgotten",
			slog.String("account", b.cfg.Hash(name)), slog.String("resource", resource))
	default:
		every, _ := f.span()
		b.cfg.Log.InfoContext(ctx, "a sign-in frequency policy ended the sign-in; learned for the next one",
			slog.String("account", b.cfg.Hash(name)), slog.String("resource", resource), slog.Duration("every", every),
			slog.Duration("least", f.least), slog.Duration("most", f.most), slog.Int("times", f.times))
	}
}

// note enters an outcome, and gives the state before and after it.
func (b *Book) note(name string, from token.Grant, resource string, err *token.Error) (before, after State, why *token.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[name]
	if e == nil || !e.signedIn || !e.rec.grant.SignedInOn.Equal(from.SignedInOn) {
		return "", "", nil
	}
	before, _ = e.state()
	if err == nil {
		e.last = time.Now().Round(0) // by the wall clock: a machine's sleep counts
		e.worked(resource)
	} else {
		if e.problems == nil {
			e.problems, e.met = map[string]*token.Error{}, map[*token.Error]time.Time{}
		}
		e.problems[resource], e.met[err] = err, time.Now().Round(0)
		maps.DeleteFunc(e.met, func(p *token.Error, _ time.Time) bool {
			return !slices.Contains(slices.Collect(maps.Values(e.problems)), p)
		})
	}
	if after, why = e.state(); after != before {
		e.since = time.Now()
	}
	return before, after, why
}

// worked takes a good redemption: what would meet every resource is over. That
// another one wants a new sign-in is not: the policy behind it is about that one
// alone.
func (e *entry) worked(resource string) {
	delete(e.problems, resource)
	delete(e.narrow, resource)
	for other, p := range e.problems {
		switch {
		case !p.AccountWide():
		case p.Kind != token.KindSignInRequired:
			delete(e.problems, other)
		case e.narrow == nil:
			e.narrow = map[string]bool{other: true}
		default:
			e.narrow[other] = true
		}
	}
}

// state is the account's health and the problem that decides it.
func (e *entry) state() (State, *token.Error) {
	if !e.signedIn {
		return StateSignInRequired, nil
	}
	state, why := StateOK, (*token.Error)(nil)
	for _, r := range slices.Sorted(maps.Keys(e.problems)) {
		p := e.problems[r]
		if p.Kind == token.KindSignInRequired && p.AccountWide() && !e.narrow[r] {
			return StateSignInRequired, p
		}
		if state == StateOK || urgency(p) > urgency(why) {
			state, why = StateDegraded, p
		}
	}
	return state, why
}

// urgency puts what needs somebody before what passes by itself.
func urgency(p *token.Error) int {
	switch p.Kind.UserAction() {
	case "sign-in":
		return 2
	case "contact-admin":
		return 1
	default:
		return 0
	}
}

// Views lists the accounts, sorted by name. Resources are left empty: the book
// knows none.
func (b *Book) Views() []View {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]View, 0, len(b.entries))
	for _, name := range slices.Sorted(maps.Keys(b.entries)) {
		out = append(out, b.view(name))
	}
	return out
}

// View shows one account; an unknown name gives KindUnknownAccount.
func (b *Book) View(name string) (View, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries[name] == nil {
		return View{}, Unknown(name)
	}
	return b.view(name), nil
}

// Unknown is the error for a name that neither the configuration nor a sign-in
// knows.
func Unknown(name string) *token.Error {
	return &token.Error{
		Kind:   token.KindUnknownAccount,
		Detail: fmt.Sprintf("There is no account %q; `broker accounts` lists those that are signed in or configured.", name),
	}
}

// view shows an entry. The caller holds mu.
func (b *Book) view(name string) View {
	e := b.entries[name]
	g := e.rec.grant
	state, why := e.state()
	v := View{
		Name: name, Username: g.Username, Tenant: g.App.Tenant, ClientID: g.App.ClientID,
		State: state, Problem: why, Since: e.since, Flow: g.Flow,
		SignedInOn: g.SignedInOn, LastRefresh: e.last, RefreshTokenOn: g.ObtainedOn,
		Persisted: e.signedIn && e.saved >= e.rec.generation,
	}
	if e.signedIn {
		v.GoodOn, v.ProblemOn = e.goodOn(), e.met[why]
		if f, ok := e.shortest(); ok {
			v.Frequency.Times = f.times
			v.Frequency.Every, _ = f.span()
		}
		if state != StateSignInRequired {
			v.PredictedEnd, v.PredictedWhy = e.predict()
		}
		return v
	}
	a := b.aliases[name]
	v.Username, v.Tenant, v.ClientID = a.Username, a.App.Tenant, a.App.ClientID
	v.Problem = &token.Error{Kind: token.KindSignInRequired, Detail: signInSentence(name)}
	return v
}
