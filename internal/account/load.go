package account

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/token"
)

// Open makes the book of what the store holds. A store that cannot be read is
// not fatal: the book says so (Unread), and Run tries again. A damaged record is
// reported and left where it is; a new sign-in replaces it.
func Open(ctx context.Context, cfg Config) *Book {
	b := &Book{cfg: cfg, dirty: make(chan struct{}, 1), store: make(chan struct{}, 1), aliases: cfg.Aliases, app: cfg.Default, entries: map[string]*entry{}}
	b.load(ctx)
	return b
}

// Unread is why stored sign-ins could not be read, of KindStore; nil where all
// could.
func (b *Book) Unread() *token.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unread
}

// load reads the records that the book does not have yet.
func (b *Book) load(ctx context.Context) {
	known := b.known()
	var found []record
	ids, failed := b.cfg.Store.List(ctx)
	for _, id := range ids {
		if !strings.HasPrefix(id, idPrefix) || known[id] {
			continue
		}
		rec, err := b.read(ctx, id)
		switch {
		case err == nil:
			found = append(found, rec)
		case errors.Is(err, credstore.ErrCorrupt), errors.Is(err, errRecord), errors.Is(err, errVersion):
			b.cfg.Log.ErrorContext(ctx, "a stored sign-in is damaged; sign in again to replace it", slog.String("id", id), slog.Any("error", err))
		case !errors.Is(err, credstore.ErrNotFound):
			failed = errors.Join(failed, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread = nil
	if failed != nil {
		b.unread = &token.Error{
			Kind: token.KindStore, Op: "read stored sign-ins", Err: failed,
			Detail: "Stored sign-ins cannot be read at the moment; the broker keeps trying, and `broker status` says what is wrong with the store.",
		}
	}
	for _, rec := range found {
		if !b.has(rec.id()) { // nobody signed in while the store was being read
			b.entries[rec.id()] = &entry{rec: rec, signedIn: true, saved: rec.generation, since: time.Now()}
		}
	}
	b.rename()
}

// has reports whether the book has a record. The caller holds mu.
func (b *Book) has(id string) bool {
	for _, e := range b.entries {
		if e.signedIn && e.rec.id() == id {
			return true
		}
	}
	return false
}

// known are the records that the book has.
func (b *Book) known() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := map[string]bool{}
	for _, e := range b.entries {
		if !e.signedIn {
			continue
		}
		known[e.rec.id()] = true
		for _, id := range e.shadowed {
			known[id] = true
		}
	}
	return known
}

func (b *Book) read(ctx context.Context, id string) (record, error) {
	data, err := b.cfg.Store.Load(ctx, id)
	if err != nil {
		return record{}, err
	}
	return decode(data)
}

// reread tries again where stored sign-ins could not be read.
func (b *Book) reread(ctx context.Context) error {
	if b.Unread() == nil {
		return nil
	}
	if err := b.exclusively(ctx, func() error { b.load(ctx); return nil }); err != nil {
		return err
	}
	if err := b.Unread(); err != nil {
		return err
	}
	b.cfg.Log.InfoContext(ctx, "the stored sign-ins can be read again")
	return nil
}
