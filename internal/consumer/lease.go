package consumer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// lease is a consumer that lives in memory only.
type lease struct {
	spec Spec
	ends time.Time
	root peer.Root // whose descendants it is also without a key; PID 0: nobody's
}

// addLease takes a consumer into memory. Its maker may have made the key too,
// and then leases it again and again under its name: so the key of a program that
// runs goes on working when the broker, which forgets leases, was restarted.
func (r *Registry) addLease(s Spec) (token.Secret, View, error) {
	var key token.Secret
	if s.KeySHA256 == "" {
		key = NewKey()
		s.KeySHA256 = HashKey(key)
	}
	s.KeySHA256 = strings.ToLower(s.KeySHA256)
	s.Keys = []KeyHash{{SHA256: s.KeySHA256}}
	l := lease{spec: s}
	if s.Process != 0 {
		root, err := r.rootOf(s.Process)
		if err != nil {
			return token.Secret{}, View{}, err
		}
		l.root = root
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pruneLocked(time.Now())
	if err := r.mayLeaseLocked(s); err != nil {
		return token.Secret{}, View{}, err
	}
	if old, ok := r.leases[s.Name]; ok {
		l.spec.CreatedOn = old.spec.CreatedOn
	}
	l.ends = time.Now().Add(s.Lease)
	r.leases[s.Name] = l
	r.publishLocked()
	return key, r.viewLocked(s.Name), nil
}

// mayLeaseLocked wants the name and the key to be free, or both to be those of
// the same lease. The caller holds mu.
func (r *Registry) mayLeaseLocked(s Spec) error {
	_, configured := r.specs[s.Name]
	old, leased := r.leases[s.Name]
	switch {
	case r.changing[s.Name]:
		return conflict(fmt.Sprintf("Consumer %q is being changed at this moment; try again.", s.Name))
	case configured, leased && old.spec.KeySHA256 != s.KeySHA256:
		return taken(s.Name)
	case r.keyTakenLocked(s):
		return conflict("This key_sha256 is that of another consumer; make a key of its own for each.")
	}
	if _, ok := r.specs[s.SameAs]; s.SameAs != "" && !ok {
		return notFound(s.SameAs)
	}
	return nil
}

func (r *Registry) keyTakenLocked(s Spec) bool {
	h, _ := parseHash(s.KeySHA256) // validateNew has seen it
	return slices.ContainsFunc(r.current.Load().keys[h.bucket()], func(c credential) bool {
		return c.hash == h && c.id.Name != s.Name
	})
}

// rootOf asks the system about the process that a lease is for. No lock is held.
func (r *Registry) rootOf(pid int) (peer.Root, error) {
	if r.root == nil {
		return peer.Root{}, token.NewError(token.KindUnsupported, "add consumer", "This broker cannot look at processes; leave process out.")
	}
	root, err := r.root(pid)
	if err != nil {
		e := token.NewError(token.KindInvalidRequest, "add consumer", fmt.Sprintf("There is no process %d that the broker could see; name one that runs.", pid))
		e.Err = err
		return peer.Root{}, e
	}
	return root, nil
}

// Renew lets a lease end this long from now.
func (r *Registry) Renew(name string, d time.Duration) (View, error) {
	if d < minLease || d > maxLease {
		return View{}, invalid("lease_seconds must be between 5 and 86400.")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pruneLocked(time.Now())
	l, ok := r.leases[name]
	if !ok {
		if _, configured := r.specs[name]; configured {
			return View{}, conflict(fmt.Sprintf("Consumer %q has no lease; it stays until it is removed.", name))
		}
		return View{}, notFound(name)
	}
	l.ends = time.Now().Add(d)
	r.leases[name] = l
	r.publishLocked()
	return r.viewLocked(name), nil
}

// openName is the configured consumer that programs without a key are, where the
// administrator lets them have tokens.
const openName = "unauthenticated"

// rooted is a lease that holds for the descendants of a process.
type rooted struct {
	root peer.Root
	ends time.Time
	id   *Identity
}

// Unkeyed finds the identity of a process that sends no key: that of the lease
// whose process started it, or, with anyProgram, that of the configured consumer
// "unauthenticated". p is nil where the request came over no connection. It counts
// the request and holds it to Check; Admit is left to the caller, as after
// Authenticate. Its errors are those of Authenticate and of Check.
func (r *Registry) Unkeyed(ctx context.Context, p Peer, anyProgram bool) (*Identity, error) {
	now, s := time.Now(), r.current.Load()
	id := s.ofProcess(ctx, p, now)
	switch {
	case ctx.Err() != nil:
		return nil, token.AsError(ctx.Err())
	case id == nil && anyProgram && s.open != nil:
		id = s.open
	case id == nil && anyProgram:
		return nil, r.refuse(now, "No key was sent, and there is no consumer for programs without one; run: broker consumers add "+openName+" --account NAME --resource NAME")
	case id == nil:
		return nil, r.refuse(now, "No key was sent, and no broker exec started this program; send a key, or start the program with broker exec.")
	}
	id.usage.use(now)
	return id, id.Check(ctx, p)
}

// ofProcess finds the lease of the nearest ancestor: the one that began last.
func (s *snapshot) ofProcess(ctx context.Context, p Peer, now time.Time) *Identity {
	if p == nil {
		return nil
	}
	for _, r := range s.roots {
		if !now.Before(r.ends) {
			continue
		}
		// The process is asked again: its ID may have been another's.
		if ok, err := p.DescendsFrom(ctx, r.root); err == nil && ok && p.Confirm(ctx) == nil {
			return r.id
		}
	}
	return nil
}

// nearestFirst orders processes by when they began. Of those that started one
// another the last one is the nearest.
func nearestFirst(a, b rooted) int { return cmp.Compare(b.root.Start, a.root.Start) }
