package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Keep takes a new sign-in: it checks that the right person signed in, writes
// the record and reads it back. It returns the account's canonical name.
//
// Where the record cannot be stored the sign-in is kept in memory, served, and
// written as soon as the store allows; the error (KindStore) says so.
func (b *Book) Keep(ctx context.Context, wanted string, g token.Grant) (string, error) {
	g.Username = strings.ToLower(g.Username)
	name, rec, err := b.admit(wanted, g)
	if err != nil {
		return "", err
	}
	if err := b.exclusively(ctx, func() error {
		rec = b.newest(rec) // a renewal may have rotated it while others wrote
		return b.saveAndVerify(ctx, rec)
	}); err != nil {
		b.wakeWriter()
		return name, &token.Error{
			Kind: token.KindStore, Op: "store sign-in", Err: err,
			Detail: "You are signed in, but the sign-in could not be stored, so it would be lost when the broker stops. The broker serves it from memory and keeps trying; " +
				"`broker status` and the log say what is wrong with the store.",
		}
	}
	b.markSaved(rec)
	return name, nil
}

// admit checks a sign-in against the account it was made for and enters it into
// the book.
func (b *Book) admit(wanted string, g token.Grant) (string, record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	alias, isAlias := b.aliases[wanted]
	rec := record{name: wanted, grant: g, generation: 1}
	expected := wanted
	if isAlias {
		expected = alias.Username
		if old := b.entries[wanted]; expected == "" && old != nil && old.signedIn && old.rec.grant.HomeAccountID != g.HomeAccountID {
			expected = old.rec.grant.Username
		}
	}
	if expected != "" && !strings.EqualFold(expected, g.Username) {
		return "", record{}, &token.Error{
			Kind: token.KindConflict, Op: "sign in",
			Detail: fmt.Sprintf("You signed in as %s, but this sign-in is for %s; sign in again as %s.", g.Username, describe(wanted, expected), expected),
		}
	}
	name, free := b.nameOf(rec)
	if !free {
		return "", record{}, &token.Error{
			Kind: token.KindConflict, Op: "sign in",
			Detail: fmt.Sprintf("You signed in as %s, but that is the name of another account in the configuration; rename the alias, or sign in as the account's own user.", g.Username),
		}
	}
	rec.name = name
	e := &entry{rec: rec, signedIn: true, since: time.Now()}
	if old := b.entries[name]; old != nil && old.signedIn {
		e.rec.generation = old.rec.generation + 1
		if old.rec.grant.HomeAccountID == g.HomeAccountID {
			e.rec.learned = old.rec.learned // the tenant's policy is what it was
		}
		e.shadow(old)
	}
	b.entries[name] = e
	b.rename()
	return name, e.rec, nil
}

func describe(name, username string) string {
	if name == username || name == "" {
		return username
	}
	return fmt.Sprintf("account %s (%s)", name, username)
}

var errReadBack = errors.New("what was read back differs from what was written")

// saveAndVerify writes a record and reads it back.
func (b *Book) saveAndVerify(ctx context.Context, rec record) error {
	data, err := rec.encode()
	if err != nil {
		return err
	}
	if err := b.cfg.Store.Save(ctx, rec.id(), data); err != nil {
		return err
	}
	back, err := b.cfg.Store.Load(ctx, rec.id())
	if err != nil {
		return err
	}
	if !bytes.Equal(back, data) {
		return errReadBack
	}
	return nil
}

// newest is the record as the book has it now.
func (b *Book) newest(rec record) record {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		if e.signedIn && e.rec.id() == rec.id() && e.rec.grant.SignedInOn.Equal(rec.grant.SignedInOn) {
			return e.rec
		}
	}
	return rec
}

// markSaved notes that a generation of the entry is in the store.
func (b *Book) markSaved(rec record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		if e.signedIn && e.rec.id() == rec.id() && e.rec.grant.SignedInOn.Equal(rec.grant.SignedInOn) {
			e.saved = max(e.saved, rec.generation)
		}
	}
}

// Forget drops an account and deletes its record from the store. Nothing is
// revoked at the authority. An unknown account gives KindUnknownAccount.
func (b *Book) Forget(ctx context.Context, name string) error {
	return b.exclusively(ctx, func() error {
		e, ids := b.stored(name)
		if e == nil {
			return &token.Error{Kind: token.KindUnknownAccount, Detail: fmt.Sprintf("Account %s is not signed in on this machine.", name)}
		}
		for _, id := range ids {
			if err := b.cfg.Store.Delete(ctx, id); err != nil {
				return &token.Error{
					Kind: token.KindStore, Op: "delete account", Err: err,
					Detail: "The account could not be removed from the secret store; it is still signed in. `broker status` says what is wrong with the store.",
				}
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.entries[name] == e { // else somebody signed in meanwhile
			delete(b.entries, name)
			b.rename()
		}
		return nil
	})
}

// stored is a signed-in account and its records in the store; nil where it is
// not signed in.
func (b *Book) stored(name string) (*entry, []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[name]
	if e == nil || !e.signedIn {
		return nil, nil
	}
	return e, append([]string{e.rec.id()}, e.shadowed...)
}
