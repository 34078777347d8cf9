package account

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	// retryFirst and retryMost bound the pause after a save that failed.
	retryFirst = 5 * time.Second
	retryMost  = 5 * time.Minute
	// flushTime bounds the last saves when the broker stops.
	flushTime = 5 * time.Second
)

// Run is the book's keeper: it saves rotated refresh tokens as they come, tries
// again what the store refused, writing or reading, and saves what is left when
// ctx ends.
func (b *Book) Run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause := retryFirst
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
			defer cancel()
			return b.Flush(last)
		case <-b.dirty:
		case <-retry.C:
		}
		err := errors.Join(b.Flush(ctx), b.reread(ctx))
		if ctx.Err() != nil {
			continue // the last flush is about to come
		}
		if err != nil {
			b.cfg.Log.WarnContext(ctx, "the secret store failed; the broker goes on from memory and tries again", slog.Duration("in", pause), slog.Any("error", err))
			retry.Reset(pause)
			pause = min(2*pause, retryMost)
			continue
		}
		pause = retryFirst
	}
}

// Flush saves every record that the store does not hold yet.
func (b *Book) Flush(ctx context.Context) error {
	return b.exclusively(ctx, func() error {
		var failed error
		for _, rec := range b.unsaved() {
			if err := b.save(ctx, rec); err != nil {
				failed = err
				continue
			}
			b.markSaved(rec)
		}
		return failed
	})
}

func (b *Book) save(ctx context.Context, rec record) error {
	data, err := rec.encode()
	if err != nil {
		return err
	}
	return b.cfg.Store.Save(ctx, rec.id(), data)
}

// exclusively runs f while nobody else writes to the store, so that an older
// record never overwrites a newer one and a sign-out is never undone. No reader
// of the book waits for it.
func (b *Book) exclusively(ctx context.Context, f func() error) error {
	select {
	case b.store <- struct{}{}:
	case <-ctx.Done():
		return token.AsError(ctx.Err())
	}
	defer func() { <-b.store }()
	return f()
}

// unsaved is a copy of the records that the store does not hold.
func (b *Book) unsaved() []record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []record
	for _, e := range b.entries {
		if e.signedIn && e.saved < e.rec.generation {
			out = append(out, e.rec)
		}
	}
	return out
}
