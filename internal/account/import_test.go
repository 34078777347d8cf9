package account

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/token"
)

// snapshot is what a store holds.
func (s *fakeStore) snapshot() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.data)
}

// unchanged fails where the store does not hold what it held before.
func (s *fakeStore) unchanged(t *testing.T, before map[string][]byte) {
	t.Helper()
	if !maps.EqualFunc(before, s.snapshot(), bytes.Equal) {
		t.Error("the store was changed")
	}
}

// exported is alice and bob, as another machine exports them.
func exported(t *testing.T) []Saved {
	t.Helper()
	b := open(t, newStore(), map[string]Alias{"ops": {Username: "alice@x", App: app}})
	keep(t, b, "ops", "alice@x")
	keep(t, b, "", "bob@x")
	all, err := b.Export(nil)
	if err != nil || len(all) != 2 || all[0].Name != "bob@x" || all[1].Name != "ops" {
		t.Fatalf("exported %v, %v", all, err)
	}
	return all
}

func TestExport(t *testing.T) {
	b := open(t, newStore(), map[string]Alias{"ops": {App: app}})
	for _, names := range [][]string{nil, {"ops"}, {"nobody"}} {
		if _, err := b.Export(names); token.KindOf(err) != token.KindSignInRequired {
			t.Errorf("%v: %v", names, err)
		}
	}
	keep(t, b, "ops", "alice@x")
	keep(t, b, "", "bob@x")
	one, err := b.Export([]string{"ops"})
	if err != nil || len(one) != 1 || one[0].Grant.RefreshToken.Reveal() != "CANARY-alice@x" {
		t.Errorf("%v, %v", one, err)
	}
	down := newStore()
	down.unlisted = errors.New("locked")
	if _, err := openBook(t, down, nil).Export(nil); token.KindOf(err) != token.KindStore {
		t.Errorf("a store that cannot be read: %v", err)
	}
}

func TestImportOnAnEmptyMachine(t *testing.T) {
	store := newStore()
	aliases := map[string]Alias{"ops": {Username: "alice@x", App: app}}
	b := open(t, store, aliases)
	all := exported(t)
	for _, s := range all {
		if o := b.Weigh(s, false); o.Fate != FateNew {
			t.Errorf("would be %+v", o)
		}
	}
	store.unchanged(t, nil)
	for _, s := range all {
		if o := b.Import(t.Context(), s, false); o.Fate != FateNew || o.Name != s.Name || o.Err != nil || o.Note != "" {
			t.Errorf("%+v", o)
		}
	}
	if v, err := b.View("ops"); err != nil || !v.Persisted || v.State != StateOK {
		t.Errorf("%+v, %v", v, err)
	}
	saves, before := store.saves, store.snapshot()
	for _, s := range all { // once more
		if o := b.Import(t.Context(), s, true); o.Fate != FateUnchanged {
			t.Errorf("%+v", o)
		}
	}
	if store.saves != saves {
		t.Error("what is there was written again")
	}
	store.unchanged(t, before)
	for _, s := range all { // after a restart
		g, err := open(t, store, aliases).Grant(s.Name)
		if err != nil || !g.RefreshToken.Equal(s.Grant.RefreshToken) || !g.SignedInOn.Equal(s.Grant.SignedInOn) || g.App != s.Grant.App {
			t.Errorf("%+v, %v", g, err)
		}
	}
}

// An older sign-in that was wanted stays wanted after a restart, also where it has
// a record of its own in the store.
func TestTheWantedSignInOutlivesARestart(t *testing.T) {
	store := newStore()
	b := open(t, store, nil)
	all := exported(t) // before the sign-in here
	keep(t, b, "", "bob@x")
	bob := all[0]
	bob.Grant.App.ClientID = "another"
	bob.Grant.SignedInOn = time.Now().Add(-time.Hour).Round(0)
	if o := b.Import(t.Context(), bob, true); o.Fate != FateUpdated {
		t.Fatalf("%+v", o)
	}
	g, err := open(t, store, nil).Grant("bob@x")
	if err != nil || g.App != bob.Grant.App {
		t.Errorf("after a restart: %+v, %v", g.App, err)
	}
}

// Of two sign-ins of one person the newer stays; of one sign-in the token that
// came later does.
func TestTheNewerSignInStays(t *testing.T) {
	signedIn := time.Now().Add(-time.Hour).Round(0)
	for _, tt := range []struct {
		name             string
		signed, obtained time.Duration // against what is here
		replace          bool
		want             Fate
	}{
		{"a newer sign-in", time.Minute, 0, false, FateUpdated},
		{"an older one", -time.Minute, time.Hour, false, FateKept},
		{"an older one that is wanted", -time.Minute, 0, true, FateUpdated},
		{"the same, renewed later", 0, time.Minute, false, FateUpdated},
		{"the same, renewed earlier", 0, -time.Minute, false, FateKept},
		{"the same, renewed earlier, that is wanted", 0, -time.Minute, true, FateUpdated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newStore()
			b := open(t, store, nil)
			here := grant("alice@x")
			here.SignedInOn, here.ObtainedOn = signedIn, signedIn
			if _, err := b.Keep(t.Context(), "", here); err != nil {
				t.Fatal(err)
			}
			s := Saved{Name: "alice@x", Grant: here}
			s.Grant.SignedInOn, s.Grant.ObtainedOn = signedIn.Add(tt.signed), signedIn.Add(tt.obtained)
			s.Grant.RefreshToken = token.NewSecret("CANARY-imported")
			before := store.snapshot()
			if o := b.Weigh(s, tt.replace); o.Fate != tt.want {
				t.Errorf("would be %+v", o)
			}
			store.unchanged(t, before)
			if o := b.Import(t.Context(), s, tt.replace); o.Fate != tt.want || (o.Note == "") != tt.want.Changes() {
				t.Errorf("%+v", o)
			}
			for _, book := range []*Book{b, open(t, store, nil)} {
				g, err := book.Grant("alice@x")
				if err != nil || (g.RefreshToken.Reveal() == "CANARY-imported") != tt.want.Changes() {
					t.Errorf("%v: %v", g.RefreshToken.Reveal(), err)
				}
			}
		})
	}
}

// What does not fit the configuration is named, and changes nothing.
func TestImportsThatConflict(t *testing.T) {
	other := app
	other.ClientID = "another"
	for _, tt := range []struct {
		name    string
		aliases map[string]Alias
		change  func(*Saved)
		here    string // who is signed in
		want    string
	}{
		{"the alias of another user", map[string]Alias{"ops": {Username: "carol@x", App: app}}, nil, "", "Account ops is carol@x in the configuration here, and alice@x in the export"},
		{"a user name that is an alias", map[string]Alias{"alice@x": {Username: "carol@x", App: app}}, func(s *Saved) { s.Name = "alice@x" }, "", "Account alice@x is carol@x"},
		{"an alias that is somebody's name", map[string]Alias{"alice@x": {Username: "carol@x", App: app}}, nil, "", "alice@x is the name of another account"},
		{"another registration", map[string]Alias{"ops": {Username: "alice@x", App: other}}, nil, "", "with app registration client, and the configuration here says another"},
		{"another authority", nil, func(s *Saved) { s.Grant.App.Authority = "https://login.elsewhere" }, "", "alice@x signed in at https://login.elsewhere"},
		{"an open alias with another user", map[string]Alias{"ops": {App: app}}, nil, "dave@x", "Account ops is signed in as dave@x here, and as alice@x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newStore()
			b := open(t, store, tt.aliases)
			if tt.here != "" {
				keep(t, b, "ops", tt.here)
			}
			s := exported(t)[1]
			if tt.change != nil {
				tt.change(&s)
			}
			before := store.snapshot()
			o := b.Import(t.Context(), s, true)
			if o.Fate != FateConflict || o.Err == nil || o.Err.Kind != token.KindConflict || !strings.HasPrefix(o.Err.Detail, tt.want) && !strings.Contains(o.Err.Detail, tt.want) {
				t.Errorf("%+v", o)
			}
			store.unchanged(t, before)
		})
	}
	b := open(t, newStore(), nil)
	s := exported(t)[0]
	s.Grant.App = other
	if o := b.Import(t.Context(), s, false); o.Fate != FateNew || !strings.Contains(o.Note, "app registration another") {
		t.Errorf("%+v", o)
	}
}

// A store that fails, in writing or in reading back, loses neither what is here
// nor what was imported before, and the import can be repeated.
func TestAnImportIntoAFailingStore(t *testing.T) {
	all := exported(t)
	for name, fail := range map[string]func(*fakeStore){
		"writing":      func(s *fakeStore) { s.fail = errors.New("disk full") },
		"reading back": func(s *fakeStore) { s.unreadable = credstore.ErrCorrupt },
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore()
			b := open(t, store, nil)
			here := grant("alice@x")
			here.SignedInOn, here.RefreshToken = time.Now().Add(-time.Hour), token.NewSecret("CANARY-here")
			if _, err := b.Keep(t.Context(), "", here); err != nil {
				t.Fatal(err)
			}
			if o := b.Import(t.Context(), all[0], false); o.Fate != FateNew {
				t.Fatalf("%+v", o)
			}
			fail(store)
			s := all[1]
			s.Name = "alice@x"
			o := b.Import(t.Context(), s, false)
			if o.Fate != FateFailed || o.Err.Kind != token.KindStore || o.Name != "alice@x" {
				t.Errorf("%+v", o)
			}
			if g, err := b.Grant("alice@x"); err != nil || g.RefreshToken.Reveal() != "CANARY-here" {
				t.Errorf("in memory: %v", err)
			}
			store.mu.Lock()
			store.fail, store.unreadable = nil, nil
			store.mu.Unlock()
			if err := b.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			again := open(t, store, nil)
			if g, err := again.Grant("alice@x"); err != nil || g.RefreshToken.Reveal() != "CANARY-here" {
				t.Errorf("in the store: %v, %v", g.RefreshToken.Reveal(), err)
			}
			if _, err := again.Grant("bob@x"); err != nil {
				t.Error(err)
			}
			if o := b.Import(t.Context(), s, false); o.Fate != FateUpdated {
				t.Errorf("repeated: %+v", o)
			}
		})
	}
	down := newStore()
	down.unlisted = errors.New("locked")
	if o := openBook(t, down, nil).Import(t.Context(), all[0], false); o.Fate != FateFailed || o.Err.Kind != token.KindStore {
		t.Errorf("a store that cannot be read: %+v", o)
	}
}

// Somebody who signs in while the record is being written has the newer one.
func TestASignInDuringAnImport(t *testing.T) {
	store := newStore()
	b := open(t, store, nil)
	s := exported(t)[1]
	s.Name = "alice@x"
	b.cfg.Store = hooked{store, func() {
		g := grant("alice@x")
		g.SignedInOn, g.RefreshToken = time.Now().Add(time.Hour), token.NewSecret("CANARY-newer")
		if _, _, err := b.admit("alice@x", g); err != nil { // as Keep does, before it waits for the store
			t.Error(err)
		}
	}}
	if o := b.Import(t.Context(), s, false); o.Fate != FateFailed || o.Err.Kind != token.KindConflict {
		t.Errorf("%+v", o)
	}
	b.cfg.Store = store
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g, err := open(t, store, nil).Grant("alice@x"); err != nil || g.RefreshToken.Reveal() != "CANARY-newer" {
		t.Errorf("%v, %v", g.RefreshToken.Reveal(), err)
	}
}

// hooked does something before each load.
type hooked struct {
	*fakeStore
	do func()
}

func (h hooked) Load(ctx context.Context, id string) ([]byte, error) {
	h.do()
	return h.fakeStore.Load(ctx, id)
}

// What was learned of a tenant goes with the sign-in.
func TestWhatWasLearnedIsExported(t *testing.T) {
	from := open(t, newStore(), nil)
	g := grant("alice@x")
	g.SignedInOn = time.Now().Add(-10 * 24 * time.Hour).Round(0)
	if _, err := from.Keep(t.Context(), "", g); err != nil {
		t.Fatal(err)
	}
	from.Report(t.Context(), "alice@x", g, "graph", nil)
	from.Report(t.Context(), "alice@x", g, "graph", &token.Error{Kind: token.KindSignInRequired, AADSTS: codeFrequency})
	before, err := from.View("alice@x")
	if err != nil || before.Frequency.Times == 0 {
		t.Fatalf("nothing was learned: %+v, %v", before, err)
	}
	all, err := from.Export(nil)
	if err != nil {
		t.Fatal(err)
	}
	store := newStore()
	to := open(t, store, nil)
	if o := to.Import(t.Context(), all[0], false); o.Fate != FateNew {
		t.Fatalf("%+v", o)
	}
	all[0].Learned = []byte("nonsense")
	all[0].Grant.RefreshToken, all[0].Grant.ObtainedOn = token.NewSecret("CANARY-later"), time.Now().Add(time.Hour)
	if o := to.Import(t.Context(), all[0], false); o.Fate != FateUpdated {
		t.Fatalf("%+v", o)
	}
	for _, b := range []*Book{to, open(t, store, nil)} {
		if v, err := b.View("alice@x"); err != nil || v.Frequency != before.Frequency {
			t.Errorf("%+v, %v, want %+v", v.Frequency, err, before.Frequency)
		}
	}
}
