// Package credstore keeps small secrets (a sign-in's record, with its refresh
// token) in the platform's store: Windows Credential Manager, the freedesktop
// Secret Service, encrypted files, or memory.
//
// Every store obeys the same contract, held by credstoretest.Run: a Save is
// seen whole or not at all, also when the process or the machine dies in the
// middle of it; a damaged record is reported as ErrCorrupt and can be saved
// over; no error and no log line ever holds a secret.
//
// The stores serialise their own operations with a lock that is held over the
// I/O. That is on purpose and the one exception from the rule that no lock is:
// the platform stores are not safe for concurrent use (CredRead under Wine
// crashes beside a CredWrite), and nothing on the way of a token request ever
// waits for a store.
package credstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Limits of what a Store keeps.
const (
	MaxSize = 64 << 10 // bytes of one record
	MaxID   = 64       // characters of an id
)

// Errors that a caller decides on. Everything else is an *Error.
var (
	// ErrNotFound says that there is no record of that id. It is returned as it is.
	ErrNotFound = errors.New("no such record in the secret store")
	// ErrCorrupt says that a record is there and cannot be read, or was
	// changed. It is wrapped in an *Error of Reason Corrupt.
	ErrCorrupt = errors.New("the stored record is damaged")
)

// A Store keeps records: up to MaxSize bytes under an id of up to MaxID
// characters a-z, 0-9 and '-'. It is safe for concurrent use. An operation
// whose context has ended before it began does nothing and returns an error
// that matches the context's.
type Store interface {
	// Save keeps data under id in place of what was there. When it returns nil
	// the record is durable; when it returns an error the record is the old one
	// or, where the store could not tell any more, the new one: never a mixture.
	Save(ctx context.Context, id string, data []byte) error
	// Load gives the record of id: ErrNotFound, ErrCorrupt or an *Error otherwise.
	// The caller may change the bytes.
	Load(ctx context.Context, id string) ([]byte, error)
	// Delete removes the record of id; that there is none is no error.
	Delete(ctx context.Context, id string) error
	// List gives the ids of all records, also of damaged ones, in order.
	List(ctx context.Context) ([]string, error)
}

// ValidID says what is wrong with an id, or nil.
func ValidID(id string) error {
	if id == "" || len(id) > MaxID {
		return fmt.Errorf("the id has %d characters; 1 to %d are allowed", len(id), MaxID)
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("the id %q holds a character other than a-z, 0-9 and '-'", id)
		}
	}
	return nil
}

// begin is the start of every operation on one record.
func begin(ctx context.Context, op, id string) error {
	if err := ValidID(id); err != nil {
		return &Error{Op: op, Reason: InvalidID, Err: err}
	}
	return alive(ctx, op)
}

// beginSave is begin for a Save, which also has a size.
func beginSave(ctx context.Context, id string, data []byte) error {
	if err := begin(ctx, opSave, id); err != nil {
		return err
	}
	if len(data) > MaxSize {
		return &Error{Op: opSave, Reason: TooBig, Err: fmt.Errorf("the record has %d bytes; the limit is %d", len(data), MaxSize)}
	}
	return nil
}

// alive is nil as long as ctx is.
func alive(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// listed puts the ids a store found into the form that List promises: in
// order, each once, without the scratch record of Check.
func listed(ids []string) []string {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return slices.DeleteFunc(ids, func(id string) bool { return id == checkID })
}

// turn lets one goroutine at a time into a store; waiting obeys the context,
// which a sync.Mutex would not.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn. The caller gives it back with give.
func (t turn) take(ctx context.Context, op string) error {
	if err := alive(ctx, op); err != nil {
		return err
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: waiting for the operation before: %w", op, ctx.Err())
	}
}

func (t turn) give() { <-t }
