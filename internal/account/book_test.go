package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeStore is a store in memory that fails on demand.
type fakeStore struct {
	mu    sync.Mutex
	data  map[string][]byte
	fail  error
	saves int

	unlisted, unreadable error // of List, of Load
	slow                 time.Duration
}

func newStore() *fakeStore { return &fakeStore{data: map[string][]byte{}} }

func (s *fakeStore) Save(_ context.Context, id string, data []byte) error {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	if s.fail != nil {
		return s.fail
	}
	s.data[id] = bytes.Clone(data)
	return nil
}

func (s *fakeStore) Load(_ context.Context, id string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unreadable != nil {
		return nil, s.unreadable
	}
	if d, ok := s.data[id]; ok {
		return d, nil
	}
	return nil, credstore.ErrNotFound
}

func (s *fakeStore) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	delete(s.data, id)
	return nil
}

func (s *fakeStore) List(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unlisted != nil {
		return nil, s.unlisted
	}
	return slices.Collect(maps.Keys(s.data)), nil
}

func (s *fakeStore) setFail(err error) { s.mu.Lock(); defer s.mu.Unlock(); s.fail = err }

var app = token.App{Authority: "https://login.example", Tenant: "11111111-2222-3333-4444-555555555555", ClientID: "client"}

func grant(user string) token.Grant {
	return token.Grant{
		App: app, HomeAccountID: "oid-" + strings.ToLower(user) + ".tid", Username: user, Flow: token.FlowDevice,
		RefreshToken: token.NewSecret("CANARY-" + user), SignedInOn: time.Now().Round(0), ObtainedOn: time.Now().Round(0),
	}
}

func open(t *testing.T, s Store, aliases map[string]Alias) *Book {
	t.Helper()
	b := openBook(t, s, aliases)
	if err := b.Unread(); err != nil {
		t.Fatal(err)
	}
	return b
}

func openBook(t *testing.T, s Store, aliases map[string]Alias) *Book {
	t.Helper()
	return Open(t.Context(), Config{Store: s, Default: app, Aliases: aliases, Log: slog.New(slog.DiscardHandler), Hash: func(string) string { return "hash" }})
}

func keep(t *testing.T, b *Book, wanted, user string) string {
	t.Helper()
	name, err := b.Keep(t.Context(), wanted, grant(user))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func refreshToken(t *testing.T, b *Book, name string) string {
	t.Helper()
	g, err := b.Grant(name)
	if err != nil {
		t.Fatal(err)
	}
	return g.RefreshToken.Reveal()
}

func TestKeepSurvivesARestart(t *testing.T) {
	s := newStore()
	b := open(t, s, nil)
	if name := keep(t, b, "", "Alice@Contoso.example"); name != "alice@contoso.example" {
		t.Errorf("name %q", name)
	}
	b = open(t, s, nil)
	if got := refreshToken(t, b, "alice@contoso.example"); got != "CANARY-Alice@Contoso.example" {
		t.Errorf("refresh token %q", got)
	}
	v, err := b.View("alice@contoso.example")
	if err != nil || v.State != StateOK || !v.Persisted || v.Tenant != app.Tenant {
		t.Errorf("view %+v, %v", v, err)
	}
	for id, d := range s.data {
		if bytes.Contains(d, []byte("CANARY")) { // deflated; the store encrypts
			t.Logf("%s holds the text as it is", id)
		}
	}
}

func TestNames(t *testing.T) {
	aliases := map[string]Alias{
		"ops":   {Username: "ops@contoso.example", App: app},
		"robot": {App: app},
	}
	tests := []struct {
		name, wanted, user, want, kind string
	}{
		{"no account named", "", "bob@contoso.example", "bob@contoso.example", ""},
		{"user name, other case", "BOB@contoso.example", "bob@contoso.example", "bob@contoso.example", ""},
		{"alias", "ops", "ops@contoso.example", "ops", ""},
		{"alias found by its user", "", "OPS@contoso.example", "ops", ""},
		{"alias of nobody takes the first", "robot", "r2@contoso.example", "robot", ""},
		{"wrong person for an alias", "ops", "bob@contoso.example", "", "conflict"},
		{"wrong person for a user name", "bob@contoso.example", "eve@contoso.example", "", "conflict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore()
			b := open(t, s, aliases)
			name, err := b.Keep(t.Context(), tt.wanted, grant(tt.user))
			if tt.kind != "" {
				if token.KindOf(err).Code() != tt.kind || len(s.data) != 0 {
					t.Fatalf("Keep = %q, %v with %d records", name, err, len(s.data))
				}
				return
			}
			if err != nil || name != tt.want {
				t.Fatalf("Keep = %q, %v; want %q", name, err, tt.want)
			}
			for _, again := range []*Book{b, open(t, s, aliases)} {
				for _, as := range []string{tt.want, tt.user, strings.ToUpper(tt.user)} {
					if got, ok := again.Resolve(as); !ok || got != tt.want {
						t.Errorf("Resolve(%q) = %q, %v", as, got, ok)
					}
				}
			}
		})
	}
}

func TestAliasWithoutUserIsBoundByTheFirstSignIn(t *testing.T) {
	b := open(t, newStore(), map[string]Alias{"robot": {App: app}})
	keep(t, b, "robot", "r2@contoso.example")
	keep(t, b, "robot", "r2@contoso.example")
	if _, err := b.Keep(t.Context(), "robot", grant("c3po@contoso.example")); token.KindOf(err) != token.KindConflict {
		t.Errorf("another person under the same name: %v", err)
	}
}

func TestAnAliasAddedLaterLosesNothing(t *testing.T) {
	s := newStore()
	b := open(t, s, nil)
	keep(t, b, "", "ops@contoso.example")
	b.Configure(map[string]Alias{"ops": {Username: "ops@contoso.example", App: app}}, app)
	if _, err := b.Grant("ops"); err != nil {
		t.Error(err)
	}
	b.Configure(nil, app)
	if _, err := b.Grant("ops@contoso.example"); err != nil {
		t.Error(err)
	}
	if got := b.Names(); len(got) != 1 {
		t.Errorf("names %v", got)
	}
}

func TestConfiguredAccountThatIsNotSignedIn(t *testing.T) {
	b := open(t, newStore(), map[string]Alias{"ops": {Username: "ops@contoso.example", App: app}})
	if name, ok := b.Resolve("ops@contoso.example"); !ok || name != "ops" {
		t.Errorf("Resolve = %q, %v", name, ok)
	}
	_, err := b.Grant("ops")
	if token.KindOf(err) != token.KindSignInRequired || !strings.Contains(token.AsError(err).Detail, "broker login --account ops") {
		t.Errorf("Grant: %v", err)
	}
	v, err := b.View("ops")
	if err != nil || v.State != StateSignInRequired || v.Username != "ops@contoso.example" || v.Problem == nil {
		t.Errorf("view %+v, %v", v, err)
	}
	if _, err := b.View("nobody"); token.KindOf(err) != token.KindUnknownAccount {
		t.Errorf("View of nobody: %v", err)
	}
}

func TestRotationIsSavedByTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := open(t, s, nil)
		name := keep(t, b, "", "a@x")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		g, _ := b.Grant(name)
		b.Rotated(name, g, token.NewSecret("second"))
		synctest.Wait()
		if got := refreshToken(t, open(t, s, nil), name); got != "second" {
			t.Errorf("the store holds %q", got)
		}
		saves := s.saves
		b.Rotated(name, g, token.NewSecret("second"))
		b.Rotated(name, g, token.Secret{})
		b.Rotated("nobody", g, token.NewSecret("x"))
		synctest.Wait()
		if s.saves != saves {
			t.Error("saved though nothing changed")
		}
		s.setFail(errors.New("no logon session"))
		b.Rotated(name, g, token.NewSecret("third"))
		synctest.Wait()
		if v, _ := b.View(name); v.Persisted {
			t.Error("says persisted while the store fails")
		}
		s.setFail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := refreshToken(t, open(t, s, nil), name); got != "third" {
			t.Errorf("after the store came back it holds %q", got)
		}
		cancel()
		b.Rotated(name, g, token.NewSecret("last"))
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := b.Flush(t.Context()); err != nil { // what came while Run was ending
			t.Error(err)
		}
		if got := refreshToken(t, open(t, s, nil), name); got != "last" {
			t.Errorf("after the stop the store holds %q", got)
		}
	})
}

func TestALateRotationOfAnOldSignInIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newStore(), nil)
		name := keep(t, b, "", "a@x")
		old, _ := b.Grant(name)
		time.Sleep(time.Second)
		keep(t, b, "", "a@x")
		b.Rotated(name, old, token.NewSecret("stale"))
		if got := refreshToken(t, b, name); got == "stale" {
			t.Error("a new sign-in was overwritten by the old one's rotation")
		}
	})
}

func TestALateRefusalOfAnOldSignInIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newStore(), nil)
		name := keep(t, b, "", "a@x")
		old, _ := b.Grant(name)
		time.Sleep(time.Second)
		keep(t, b, "", "a@x")
		b.Report(t.Context(), name, old, "graph", &token.Error{Kind: token.KindSignInRequired})
		if v, _ := b.View(name); v.State != StateOK {
			t.Errorf("the new sign-in is %s", v.State)
		}
	})
}

func TestASignInDuringASignOutStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := open(t, s, nil)
		name := keep(t, b, "", "a@x")
		s.slow = time.Second
		out := make(chan error, 1)
		go func() { out <- b.Forget(t.Context(), name) }()
		synctest.Wait() // the record is being deleted
		in := make(chan error, 1)
		go func() { _, err := b.Keep(t.Context(), name, grant("a@x")); in <- err }()
		if err := errors.Join(<-out, <-in); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Grant(name); err != nil || len(s.data) != 1 {
			t.Errorf("Grant: %v, with %d records", err, len(s.data))
		}
	})
}

func TestARotationBeforeTheFirstSaveIsNotOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := open(t, s, nil)
		b.store <- struct{}{} // the writer has the turn
		kept := make(chan error, 1)
		go func() { _, err := b.Keep(t.Context(), "", grant("a@x")); kept <- err }()
		synctest.Wait()
		g, err := b.Grant("a@x")
		if err != nil {
			t.Fatal(err)
		}
		b.Rotated("a@x", g, token.NewSecret("second"))
		for _, rec := range b.unsaved() {
			if err := b.save(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
			b.markSaved(rec)
		}
		<-b.store
		if err := errors.Join(<-kept, b.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := refreshToken(t, open(t, s, nil), "a@x"); got != "second" {
			t.Errorf("the store holds %q", got)
		}
	})
}

func TestConfigureNamesWhatChangedHands(t *testing.T) {
	b := open(t, newStore(), map[string]Alias{"ops": {Username: "alice@x", App: app}})
	keep(t, b, "ops", "alice@x")
	keep(t, b, "", "bob@x")
	if changed := b.Configure(map[string]Alias{"ops": {Username: "alice@x", App: app}}, app); len(changed) != 0 {
		t.Errorf("nothing changed, yet %v did", changed)
	}
	changed := b.Configure(map[string]Alias{"ops": {Username: "bob@x", App: app}}, app)
	slices.Sort(changed)
	if !slices.Equal(changed, []string{"bob@x", "ops"}) {
		t.Errorf("changed: %v", changed)
	}
	if v, _ := b.View("ops"); v.Username != "bob@x" {
		t.Errorf("ops is %s", v.Username)
	}
}

func TestAConfigurationThatWasOnlyTriedChangesNoName(t *testing.T) {
	b := open(t, newStore(), map[string]Alias{"ops": {App: app}})
	keep(t, b, "ops", "alice@x")
	keep(t, b, "", "bob@x")
	b.Configure(map[string]Alias{"ops": {Username: "bob@x", App: app}}, app)
	b.Configure(map[string]Alias{"ops": {App: app}}, app)
	if v, _ := b.View("ops"); v.Username != "alice@x" {
		t.Errorf("ops is %s", v.Username)
	}
}

func TestAUserNamedLikeAnAliasDoesNotTakeIt(t *testing.T) {
	b := open(t, newStore(), map[string]Alias{"ops": {Username: "alice@x", App: app}})
	keep(t, b, "ops", "alice@x")
	if _, err := b.Keep(t.Context(), "", grant("ops")); token.KindOf(err) != token.KindConflict {
		t.Errorf("Keep: %v", err)
	}
	if v, _ := b.View("ops"); v.Username != "alice@x" {
		t.Errorf("ops is %s", v.Username)
	}
}

func TestTwoAccountsOfOneUser(t *testing.T) {
	own := token.App{Authority: app.Authority, Tenant: app.Tenant, ClientID: "own"}
	aliases := map[string]Alias{"crm": {Username: "a@x", App: own}, "ops": {Username: "a@x", App: app}}
	b := open(t, newStore(), aliases)
	for range 50 {
		b.Configure(aliases, app)
		if name, ok := b.Resolve("a@x"); !ok || name != "crm" {
			t.Fatalf("Resolve = %q, %v", name, ok)
		}
	}
}

func TestASignInUsesTheConfiguredApp(t *testing.T) {
	b := open(t, newStore(), nil)
	name := keep(t, b, "", "a@x")
	corrected := token.App{Authority: app.Authority, Tenant: app.Tenant, ClientID: "corrected"}
	b.Configure(nil, corrected)
	if got := b.App(name); got != corrected {
		t.Errorf("App = %+v", got)
	}
}

func TestStoreFailureAtSignIn(t *testing.T) {
	s := newStore()
	b := open(t, s, nil)
	s.setFail(errors.New("no logon session"))
	name, err := b.Keep(t.Context(), "", grant("a@x"))
	if token.KindOf(err) != token.KindStore || name != "a@x" {
		t.Fatalf("Keep = %q, %v", name, err)
	}
	if refreshToken(t, b, name) == "" {
		t.Error("not served from memory")
	}
	s.setFail(nil)
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, _ := b.View(name); !v.Persisted {
		t.Error("not written when the store came back")
	}
}

func TestForget(t *testing.T) {
	s := newStore()
	b := open(t, s, nil)
	name := keep(t, b, "", "a@x")
	s.setFail(errors.New("locked"))
	if err := b.Forget(t.Context(), name); token.KindOf(err) != token.KindStore {
		t.Errorf("Forget with a locked store: %v", err)
	}
	if _, err := b.Grant(name); err != nil {
		t.Error("half signed out")
	}
	s.setFail(nil)
	if err := b.Forget(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if len(s.data) != 0 {
		t.Errorf("%d records are left", len(s.data))
	}
	if err := b.Forget(t.Context(), name); token.KindOf(err) != token.KindUnknownAccount {
		t.Errorf("Forget again: %v", err)
	}
}

func TestForgetDeletesReplacedRecordsToo(t *testing.T) {
	s := newStore()
	b := open(t, s, nil)
	keep(t, b, "", "a@x")
	other := grant("a@x")
	other.HomeAccountID = "recreated.tid"
	if _, err := b.Keep(t.Context(), "", other); err != nil {
		t.Fatal(err)
	}
	b = open(t, s, nil)
	if err := b.Forget(t.Context(), "a@x"); err != nil {
		t.Fatal(err)
	}
	if names := open(t, s, nil).Names(); len(names) != 0 {
		t.Errorf("signed out, but after a restart there is %v again", names)
	}
}

func TestASignOutIsNotUndoneByTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := open(t, s, nil)
		name := keep(t, b, "", "a@x")
		s.slow = time.Second
		g, _ := b.Grant(name)
		b.Rotated(name, g, token.NewSecret("second"))
		flushed := make(chan error, 1)
		go func() { flushed <- b.Flush(t.Context()) }()
		synctest.Wait()
		if err := b.Forget(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		<-flushed
		if len(s.data) != 0 {
			t.Error("the writer brought the account back")
		}
	})
}

func TestStates(t *testing.T) {
	revoked := &token.Error{Kind: token.KindSignInRequired, OAuthError: "invalid_grant", SubError: "bad_token"}
	consent := &token.Error{Kind: token.KindSignInRequired, SubError: "consent_required"}
	down := &token.Error{Kind: token.KindUnavailable, Status: 503}
	type report struct {
		resource string
		err      *token.Error
	}
	tests := []struct {
		name    string
		reports []report
		want    State
	}{
		{"nothing yet", nil, StateOK},
		{"good", []report{{"graph", nil}}, StateOK},
		{"upstream down", []report{{"graph", nil}, {"graph", down}}, StateDegraded},
		{"recovered", []report{{"graph", down}, {"graph", nil}}, StateOK},
		{"recovered through the other resource", []report{{"graph", down}, {"ews", nil}}, StateOK},
		{"revoked", []report{{"graph", revoked}}, StateSignInRequired},
		{"revoked, then unreachable for another", []report{{"graph", revoked}, {"ews", down}}, StateSignInRequired},
		{"consent for one resource", []report{{"graph", nil}, {"ews", consent}}, StateDegraded},
		{"consent is not healed by the other", []report{{"ews", consent}, {"graph", nil}}, StateDegraded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, newStore(), nil)
			name := keep(t, b, "", "a@x")
			g, err := b.Grant(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range tt.reports {
				b.Report(t.Context(), name, g, r.resource, r.err)
			}
			b.Report(t.Context(), "nobody", g, "graph", down)
			v, _ := b.View(name)
			if v.State != tt.want || (v.Problem == nil) != (tt.want == StateOK) {
				t.Errorf("state %s (%v), want %s", v.State, v.Problem, tt.want)
			}
		})
	}
}

func TestAStoreThatCannotBeReadIsReadLater(t *testing.T) {
	locked := errors.New("the keyring is locked")
	for name, lock := range map[string]func(*fakeStore, error){
		"no list":    func(s *fakeStore, err error) { s.unlisted = err },
		"no records": func(s *fakeStore, err error) { s.unreadable = err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				keep(t, open(t, s, nil), "", "a@x")
				lock(s, locked)
				b := openBook(t, s, map[string]Alias{"ops": {App: app}})
				if b.Unread() == nil || !errors.Is(b.Unread(), locked) {
					t.Errorf("Unread = %v", b.Unread())
				}
				if _, err := b.Grant("ops"); token.KindOf(err) != token.KindStore {
					t.Errorf("Grant: %v; want the store's fault, not a missing sign-in", err)
				}
				done := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { done <- b.Run(ctx) }()
				time.Sleep(time.Minute)
				s.mu.Lock()
				lock(s, nil)
				s.mu.Unlock()
				time.Sleep(5 * time.Minute)
				if got := refreshToken(t, b, "a@x"); got != "CANARY-a@x" || b.Unread() != nil {
					t.Errorf("after the unlock: %q, %v", got, b.Unread())
				}
				if _, err := b.Grant("ops"); token.KindOf(err) != token.KindSignInRequired {
					t.Errorf("Grant: %v", err)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestDamagedRecordsAreReportedAndLeft(t *testing.T) {
	s := newStore()
	b := open(t, s, nil)
	keep(t, b, "", "a@x")
	s.data["account-00000000000000000000"] = []byte("\x01garbage")
	s.data["account-00000000000000000001"] = []byte("\x09from the future")
	s.data["account-00000000000000000002"] = nil
	s.data["other"] = []byte("not ours")
	b = open(t, s, nil) // nothing to wait for: only a new sign-in helps
	if got := b.Names(); len(got) != 1 || len(s.data) != 5 {
		t.Errorf("names %v, %d records", got, len(s.data))
	}
}

func TestRecordSize(t *testing.T) {
	// One credential of Windows holds 2,560 bytes, 56 of them the header; Entra's
	// refresh tokens have 1,200 to 1,900 characters of base64url.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	g := grant("some.body@contoso.onmicrosoft.example")
	raw := make([]byte, 1900)
	for i := range raw {
		raw[i] = alphabet[rand.N(len(alphabet))]
	}
	g.RefreshToken = token.NewSecret(string(raw))
	data, err := record{name: "ops", grant: g, generation: 1 << 40}.encode()
	if err != nil || len(data) > 2560-56 {
		t.Errorf("a refresh token of 1,900 characters takes %d bytes, %v", len(data), err)
	}
	back, err := decode(data)
	if err != nil || back.grant.RefreshToken.Reveal() != string(raw) || back.generation != 1<<40 || !back.grant.SignedInOn.Equal(g.SignedInOn) {
		t.Errorf("decode: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v", back, back, back); strings.Contains(s, string(raw)) {
		t.Error("a record prints its refresh token")
	}
}

func FuzzDecode(f *testing.F) {
	data, err := record{name: "ops", grant: grant("a@x")}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err == nil && r.grant.RefreshToken.IsZero() {
			t.Error("a record without a refresh token was accepted")
		}
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Error("the error shows the record")
		}
	})
}
