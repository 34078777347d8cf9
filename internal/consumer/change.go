package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Add makes a consumer with a new key and returns that key, which is kept
// nowhere. A consumer with a lease may leave its name out, and may bring the hash
// of a key: then no key is returned, and where its name has a lease with that key
// already, what is said now takes the place of what was. Errors: of
// KindInvalidRequest, of KindConflict where the name is taken, or the Saver's.
func (r *Registry) Add(ctx context.Context, s Spec) (token.Secret, View, error) {
	s = s.clone()
	if s.Lease != 0 && s.Name == "" {
		s.Name = "exec-" + strings.ToLower(rand.Text()[:8])
	}
	if err := s.validateNew(); err != nil {
		return token.Secret{}, View{}, err
	}
	s, err := r.resolve(s)
	if err != nil {
		return token.Secret{}, View{}, token.AsError(err)
	}
	s.CreatedOn = time.Now().Truncate(time.Second)
	if s.Lease != 0 {
		return r.addLease(s)
	}
	if err := r.begin(s.Name, true); err != nil {
		return token.Secret{}, View{}, err
	}
	defer r.end(s.Name)
	key := NewKey()
	s.Keys = []KeyHash{{SHA256: HashKey(key)}}
	if err := r.save(ctx, s); err != nil {
		return token.Secret{}, View{}, err
	}
	return key, r.publish(s), nil
}

// Rotate gives a configured consumer a new key and returns it. The key that was
// current before goes on working for the overlap; with zero it ends at once.
// Keys of rotations before that end at once too, so that never more than two
// work.
func (r *Registry) Rotate(ctx context.Context, name string, overlap time.Duration) (token.Secret, View, error) {
	if err := r.begin(name, false); err != nil {
		return token.Secret{}, View{}, err
	}
	defer r.end(name)
	r.mu.Lock()
	s := r.specs[name].clone()
	r.mu.Unlock()

	key := NewKey()
	s.Keys = append([]KeyHash{{SHA256: HashKey(key)}}, ending(s.Keys, time.Now(), overlap)...)
	if err := r.save(ctx, s); err != nil {
		return token.Secret{}, View{}, err
	}
	return key, r.publish(s), nil
}

// ending leaves of a consumer's keys the one that was current, and gives it an
// end after the overlap at the latest.
func ending(keys []KeyHash, now time.Time, overlap time.Duration) []KeyHash {
	end := now.Add(overlap).Truncate(time.Second)
	if len(keys) == 0 {
		return nil
	}
	last := slices.MaxFunc(keys, laterEnd)
	if last.EndsOn.IsZero() || last.EndsOn.After(end) {
		last.EndsOn = end
	}
	if !last.EndsOn.After(now) {
		return nil
	}
	return []KeyHash{last}
}

// laterEnd orders keys by their ends; one without an end is the last. The first
// of two that are equal is the newer one: Rotate puts new keys in front, and
// slices.MaxFunc keeps the first.
func laterEnd(a, b KeyHash) int {
	switch {
	case a.EndsOn.IsZero() && b.EndsOn.IsZero():
		return 0
	case a.EndsOn.IsZero():
		return 1
	case b.EndsOn.IsZero():
		return -1
	default:
		return a.EndsOn.Compare(b.EndsOn)
	}
}

// Remove ends a consumer: its keys, and those of leases with its rights, are
// refused from now on.
func (r *Registry) Remove(ctx context.Context, name string) error {
	r.mu.Lock()
	if _, ok := r.leases[name]; ok {
		delete(r.leases, name)
		r.publishLocked()
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	if err := r.begin(name, false); err != nil {
		return err
	}
	defer r.end(name)
	if r.saver == nil {
		return noSaver()
	}
	if err := r.saver.Remove(ctx, name); err != nil {
		return savingError("remove consumer", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.specs, name)
	r.changed[name] = time.Now()
	r.publishLocked()
	return nil
}

// begin takes the one place to change a consumer, so that nothing is locked
// while the change is saved. With isNew the name must be free, otherwise it must
// be a configured consumer.
func (r *Registry) begin(name string, isNew bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pruneLocked(time.Now())
	_, configured := r.specs[name]
	_, leased := r.leases[name]
	switch {
	case r.changing[name]:
		return conflict(fmt.Sprintf("Consumer %q is being changed at this moment; try again.", name))
	case isNew && (configured || leased):
		return taken(name)
	case !isNew && leased:
		return conflict(fmt.Sprintf("Consumer %q has a lease, and so one key; make another one instead.", name))
	case !isNew && !configured:
		return notFound(name)
	}
	r.changing[name] = true
	return nil
}

func (r *Registry) end(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.changing, name)
}

// publish puts a saved consumer into the snapshot.
func (r *Registry) publish(s Spec) View {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.specs[s.Name] = s
	r.changed[s.Name] = time.Now()
	r.publishLocked()
	return r.viewLocked(s.Name)
}

func noSaver() error {
	return token.NewError(token.KindUnsupported, "save consumer", "This broker cannot keep consumers; name them in its configuration, or give them a lease.")
}

func (r *Registry) save(ctx context.Context, s Spec) error {
	if r.saver == nil {
		return noSaver()
	}
	if err := r.saver.Save(ctx, s.clone()); err != nil {
		return savingError("save consumer", err)
	}
	return nil
}

// savingError keeps a *token.Error of the Saver and wraps any other.
func savingError(op string, err error) error {
	if e, ok := errors.AsType[*token.Error](err); ok {
		return e
	}
	e := token.NewError(token.KindInternal, op, "The configuration could not be written; the broker's log has the cause under this request's ID.")
	e.Err = err
	return e
}

func conflict(detail string) error {
	return token.NewError(token.KindConflict, "change consumer", detail)
}

func taken(name string) error {
	return conflict(fmt.Sprintf("Consumer %q exists already; remove it first, rotate its key, or choose another name.", name))
}

func notFound(name string) error {
	return token.NewError(token.KindNotFound, "find consumer", fmt.Sprintf("There is no consumer %q; broker consumers list shows those there are.", name))
}
