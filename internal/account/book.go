package account

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Store keeps the records; credstore.Store is one.
type Store interface {
	Save(ctx context.Context, id string, data []byte) error
	Load(ctx context.Context, id string) ([]byte, error)
	Delete(ctx context.Context, id string) error
	List(ctx context.Context) ([]string, error)
}

// Alias is an account that the configuration names.
type Alias struct {
	Username string    // lower case; empty: whoever signs in first under this name
	App      token.App // the app registration to sign in with
}

// Config is what a Book needs.
type Config struct {
	Store   Store
	Default token.App        // for accounts that the configuration does not name
	Aliases map[string]Alias // by name
	Log     *slog.Logger
	Hash    func(name string) string // names an account in the log without its mail address
}

// Book is the accounts that are signed in, and those that the configuration
// names. It is safe for concurrent use.
type Book struct {
	cfg   Config
	dirty chan struct{} // wakes the writer
	store chan struct{} // holds one value: who has it may write to the store
	names atomic.Pointer[map[string]string]

	mu      sync.Mutex // guards what follows; never held over I/O
	aliases map[string]Alias
	app     token.App
	entries map[string]*entry // by account name
	unread  *token.Error      // why stored sign-ins could not be read; nil where all could
}

// entry is one account.
type entry struct {
	rec      record
	signedIn bool
	saved    uint64 // generation that is in the store
	problems map[string]*token.Error
	met      map[*token.Error]time.Time // when each problem was met
	narrow   map[string]bool            // resources whose need of a sign-in is their own: others work without
	since    time.Time
	last     time.Time // last good redemption
	shadowed []string  // records in the store that this one replaced
}

// rename keys the entries by the names that the configuration gives them, and
// publishes the table that Resolve reads. The caller holds mu.
func (b *Book) rename() {
	old := b.entries
	b.entries = make(map[string]*entry, len(old)+len(b.aliases))
	for _, e := range sorted(old) {
		if !e.signedIn {
			continue
		}
		if name, ok := b.nameOf(e.rec); ok {
			e.shadow(b.entries[name])
			b.entries[name] = e
		}
	}
	for name := range b.aliases {
		if b.entries[name] == nil {
			b.entries[name] = &entry{since: time.Now()}
		}
	}
	b.publishNames()
}

// publishNames makes the table from what an account may be called to its name.
// A name goes before a user name; where two accounts have one user, the first
// name in the alphabet has it. The caller holds mu.
func (b *Book) publishNames() {
	names := make(map[string]string, 2*len(b.entries))
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(b.entries))) {
		names[b.entries[name].rec.grant.Username] = name
		names[b.aliases[name].Username] = name
	}
	for name := range b.entries {
		names[name] = name
	}
	delete(names, "")
	b.names.Store(&names)
}

// shadow notes the record of the entry that e takes the name of, so that a
// sign-out deletes it too. A nil entry has none.
func (e *entry) shadow(old *entry) {
	if old == nil || !old.signedIn {
		return
	}
	e.shadowed = append(e.shadowed, old.shadowed...)
	if id := old.rec.id(); id != e.rec.id() {
		e.shadowed = append(e.shadowed, id)
	}
}

// sorted gives entries in the order of their sign-in, so that the newest wins a
// name that two records claim.
func sorted(m map[string]*entry) []*entry {
	var out []*entry
	for _, e := range m {
		out = append(out, e)
	}
	slices.SortFunc(out, func(x, y *entry) int { return x.rec.grant.SignedInOn.Compare(y.rec.grant.SignedInOn) })
	return out
}

// nameOf is the account name of a record: the alias it was signed in under, an
// alias that names its user, else the user name. ok is false where that user name
// is the alias of somebody else.
func (b *Book) nameOf(r record) (name string, ok bool) {
	if a, ok := b.aliases[r.name]; ok && a.fits(r.grant) && (a.Username == "" || a.Username == r.grant.Username) {
		return r.name, true
	}
	for _, name := range slices.Sorted(maps.Keys(b.aliases)) {
		if a := b.aliases[name]; a.fits(r.grant) && a.Username != "" && a.Username == r.grant.Username {
			return name, true
		}
	}
	_, taken := b.aliases[r.grant.Username]
	return r.grant.Username, !taken
}

// fits reports whether the alias is for the grant's app registration. The tenant
// is left out: the configuration may name it by its domain.
func (a Alias) fits(g token.Grant) bool {
	return a.App.Authority == g.App.Authority && a.App.ClientID == g.App.ClientID
}

// Configure takes the aliases and the default app registration of a new
// configuration. It returns the names that now mean another sign-in, or none:
// what is cached under them must be dropped.
func (b *Book) Configure(aliases map[string]Alias, app token.App) (changed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := maps.Clone(b.entries)
	b.aliases, b.app = aliases, app
	b.rename()
	for name, e := range before {
		if b.entries[name] != e {
			changed = append(changed, name)
		}
	}
	return changed
}

// Resolve gives the canonical name of an alias or user name; ok is false where
// neither the configuration nor a sign-in knows it. It takes no lock.
func (b *Book) Resolve(name string) (canonical string, ok bool) {
	names := *b.names.Load()
	if canonical, ok = names[name]; ok {
		return canonical, true
	}
	canonical, ok = names[strings.ToLower(name)]
	return canonical, ok
}

// Names lists the canonical account names, sorted.
func (b *Book) Names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.entries))
}

// App is the app registration to sign an account in with.
func (b *Book) App(name string) token.App {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a, ok := b.aliases[name]; ok {
		return a.App
	}
	return b.app
}

// Grant is what the account's redemptions need. An account that is not signed
// in gives KindSignInRequired, or KindStore where its sign-in may be among those
// that cannot be read.
func (b *Book) Grant(name string) (token.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[name]
	switch {
	case e != nil && e.signedIn:
		return e.rec.grant, nil
	case b.unread != nil:
		return token.Grant{}, b.unread
	default:
		return token.Grant{}, &token.Error{Kind: token.KindSignInRequired, Detail: signInSentence(name)}
	}
}

// signInSentence tells a person how to sign an account in.
func signInSentence(name string) string {
	return fmt.Sprintf("Account %s is not signed in on this machine; run: broker login --account %s", name, name)
}

// Rotated takes the refresh token that a redemption brought. It returns at once;
// the writer saves it. A token of a sign-in that was replaced meanwhile is
// dropped.
func (b *Book) Rotated(name string, from token.Grant, refresh token.Secret) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[name]
	if refresh.IsZero() || e == nil || !e.signedIn || !e.rec.grant.SignedInOn.Equal(from.SignedInOn) || e.rec.grant.RefreshToken.Equal(refresh) {
		return
	}
	e.rec.grant.RefreshToken = refresh
	e.rec.grant.ObtainedOn = time.Now().Round(0)
	e.rec.generation++
	b.wakeWriter()
}

func (b *Book) wakeWriter() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}
