// Package consumer says which program is calling and what it may have.
//
// A consumer proves itself with a key, of which only the SHA-256 is kept. Who
// may call is one immutable snapshot: authenticating is a hash, a look-up and a
// comparison in constant time, without a lock. Changes (a reload of the
// configuration, a new consumer, a rotation, a lease) replace the snapshot.
package consumer

import (
	"context"
	"crypto/subtle"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// Saver keeps consumers beyond the process, as drop-ins of the configuration.
// Errors of type *token.Error reach the caller as they are.
type Saver interface {
	// Save writes the consumer, replacing what was there under its name.
	Save(ctx context.Context, s Spec) error
	// Remove deletes what Save wrote under this name.
	Remove(ctx context.Context, name string) error
}

// Config is what a Registry needs.
type Config struct {
	// AdminKey may do everything. It must be a key that NewAdminKey made.
	AdminKey token.Secret
	// AgentKey is for the Outlook agent, and lets it do nothing else. It must be a
	// key that NewAgentKey made; zero: there is no agent.
	AgentKey token.Secret
	// Saver keeps what Add, Rotate and Remove change; nil refuses those changes
	// and leaves leases possible.
	Saver Saver
	// Resolve makes the names of a new consumer's accounts canonical, and says
	// where a resource or target of it does not exist; nil takes all as it is.
	Resolve func(Spec) (Spec, error)
	// Root finds the process that a lease is made for; nil refuses such leases.
	Root func(pid int) (peer.Root, error)
}

// Registry knows the consumers. It is safe for concurrent use.
type Registry struct {
	own     []credential // the administrator's, and the agent's where there is one
	saver   Saver
	resolve func(Spec) (Spec, error)
	root    func(pid int) (peer.Root, error)
	wrong   *rate.Limiter // answers to wrong keys, all callers together
	tooMany *token.Error  // beyond that
	current atomic.Pointer[snapshot]

	mu       sync.Mutex // guards the fields that follow and the replacement of current; never held over I/O
	specs    map[string]Spec
	leases   map[string]lease
	changing map[string]bool      // names whose change is being saved
	changed  map[string]time.Time // when a change of the name was saved, until a later reading is here
	usage    map[string]*usage    // outlives every replacement
}

// snapshot is who may call at this moment. It is never written to.
type snapshot struct {
	keys  map[bucket][]credential
	ids   map[string]*Identity
	open  *Identity // of programs without a key; nil: there is none
	roots []rooted  // the leases that hold for a process's descendants, see nearestFirst
}

// bucket is the part of a hash that a key is looked up by; the rest is compared
// in constant time.
type bucket [8]byte

// credential is one key that works.
type credential struct {
	hash hash
	ends time.Time // zero: never
	id   *Identity
}

// Wrong keys are answered at most this often, so that guessing and its log lines
// cost nothing to speak of; a right key is never held up.
const (
	wrongKeysPerSecond = 20
	wrongKeysAtOnce    = 100
)

// New makes a Registry with the admin key and no consumer.
func New(cfg Config) (*Registry, error) {
	h, err := hashOfKey(cfg.AdminKey, adminPrefix, ErrAdminKey)
	if err != nil {
		return nil, err
	}
	own := []credential{{hash: h, id: AdminIdentity()}}
	if !cfg.AgentKey.IsZero() {
		if h, err = hashOfKey(cfg.AgentKey, agentPrefix, ErrAgentKey); err != nil {
			return nil, err
		}
		own = append(own, credential{hash: h, id: AgentIdentity()})
	}
	r := &Registry{
		own:      own,
		saver:    cfg.Saver,
		resolve:  cfg.Resolve,
		root:     cfg.Root,
		wrong:    rate.NewLimiter(wrongKeysPerSecond, wrongKeysAtOnce),
		tooMany:  tooManyWrong(),
		specs:    map[string]Spec{},
		leases:   map[string]lease{},
		changing: map[string]bool{},
		changed:  map[string]time.Time{},
		usage:    map[string]*usage{},
	}
	if r.resolve == nil {
		r.resolve = func(s Spec) (Spec, error) { return s, nil }
	}
	r.publishLocked()
	return r, nil
}

// tooManyWrong is what wrong keys beyond their rate get.
func tooManyWrong() *token.Error {
	return &token.Error{
		Kind: token.KindRateLimited, Op: "authenticate", RetryAfter: time.Second,
		Detail: "Too many wrong keys were sent to the broker in a short time; find the program that sends them, and try again.",
	}
}

// TooManyWrong is the error of Authenticate where there are too many wrong keys at
// the moment. It is one and the same for all, so that answering it can be made
// cheap. Nobody changes it.
func (r *Registry) TooManyWrong() *token.Error { return r.tooMany }

// Authenticate finds the identity that a credential belongs to and counts the
// request. Its errors are of KindUnauthenticated, or TooManyWrong.
func (r *Registry) Authenticate(key string) (*Identity, error) {
	now := time.Now()
	if looksLikeKey(key) {
		h := hashOf(key)
		for _, c := range r.current.Load().keys[h.bucket()] {
			if subtle.ConstantTimeCompare(c.hash[:], h[:]) != 1 {
				continue
			}
			if !c.ends.IsZero() && !now.Before(c.ends) {
				return nil, r.refuse(now, "This key has ended: its lease is over, or it was rotated; use the consumer's new key.")
			}
			c.id.usage.use(now)
			return c.id, nil
		}
	}
	return nil, r.refuse(now, "This key is not known; use the key that broker consumers add or rotate printed, or make a new one with broker consumers rotate.")
}

func (r *Registry) refuse(now time.Time, detail string) error {
	if r.wrong.AllowN(now, 1) {
		return token.NewError(token.KindUnauthenticated, "authenticate", detail)
	}
	return r.tooMany
}

// Replace puts the configured consumers in the place of those before, in one
// step. Leases stay, except those whose name is now configured and those that
// have the rights of a consumer that is gone. After an error nothing has changed.
func (r *Registry) Replace(specs []Spec) error { return r.ReplaceAsOf(specs, time.Time{}) }

// ReplaceAsOf is Replace with consumers that were read from the configuration
// from readOn on. A reading that began before Add, Rotate or Remove had saved
// may lack that change, and does not undo it: where it has other keys than the
// change left, the change stays, until a later reading comes. Readings must come
// in their order; the zero time is later than every change.
func (r *Registry) ReplaceAsOf(specs []Spec, readOn time.Time) error {
	next, err := r.checked(specs)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, savedOn := range r.changed {
		if readOn.IsZero() || readOn.After(savedOn) {
			delete(r.changed, name)
			continue
		}
		ours, exists := r.specs[name]
		switch read, found := next[name]; {
		case !exists:
			delete(next, name)
		case !found || !slices.EqualFunc(read.Keys, ours.Keys, KeyHash.equal):
			next[name] = ours
		}
	}
	for name, s := range next {
		if s.CreatedOn.IsZero() {
			s.CreatedOn = r.specs[name].CreatedOn
			next[name] = s
		}
	}
	r.specs = next
	r.publishLocked()
	return nil
}

// checked gives copies of specs by name, or says what is wrong with them.
func (r *Registry) checked(specs []Spec) (map[string]Spec, error) {
	next := make(map[string]Spec, len(specs))
	owner := make(map[hash]string, len(r.own)+len(specs))
	for _, c := range r.own {
		owner[c.hash] = "the " + c.id.Name
	}
	for _, s := range specs {
		if err := s.validate(); err != nil {
			return nil, err
		}
		if _, twice := next[s.Name]; twice {
			return nil, s.fault("is configured twice")
		}
		for _, k := range s.Keys {
			h, _ := parseHash(k.SHA256) // validate has seen it
			if o, taken := owner[h]; taken && o != s.Name {
				return nil, s.fault("has the same key as " + o + "; give each its own")
			}
			owner[h] = s.Name
		}
		next[s.Name] = s.clone()
	}
	return next, nil
}

// publishLocked builds the snapshot out of specs and leases, and drops leases
// that have no reason to be any more. The caller holds mu (or is New).
func (r *Registry) publishLocked() {
	r.pruneLocked(time.Now())
	s := &snapshot{keys: map[bucket][]credential{}, ids: map[string]*Identity{}}
	for _, c := range r.own {
		s.add(c)
	}
	for _, spec := range r.specs {
		s.addConsumer(r.identityLocked(spec), spec, time.Time{})
	}
	for _, l := range r.leases {
		id := r.identityLocked(l.spec.like(r.specs))
		s.addConsumer(id, l.spec, l.ends)
		if l.root.PID != 0 {
			s.roots = append(s.roots, rooted{root: l.root, ends: l.ends, id: id})
		}
	}
	slices.SortFunc(s.roots, nearestFirst)
	if _, ok := r.specs[openName]; ok {
		s.open = s.ids[openName]
	}
	maps.DeleteFunc(r.usage, func(name string, _ *usage) bool { return s.ids[name] == nil })
	r.current.Store(s)
}

// pruneLocked drops leases that have ended or lost their place.
func (r *Registry) pruneLocked(now time.Time) {
	maps.DeleteFunc(r.leases, func(name string, l lease) bool {
		_, configured := r.specs[name]
		_, parent := r.specs[l.spec.SameAs]
		return configured || !now.Before(l.ends) || (l.spec.SameAs != "" && !parent)
	})
}

func (r *Registry) identityLocked(s Spec) *Identity {
	u := r.usage[s.Name]
	if u == nil {
		u = &usage{}
		r.usage[s.Name] = u
	}
	return newIdentity(s, u)
}

func (s *snapshot) addConsumer(id *Identity, spec Spec, leaseEnd time.Time) {
	s.ids[id.Name] = id
	for _, k := range spec.Keys {
		h, err := parseHash(k.SHA256)
		if err != nil {
			continue // every spec was validated
		}
		c := credential{hash: h, ends: k.EndsOn, id: id}
		if !leaseEnd.IsZero() {
			c.ends = leaseEnd
		}
		s.add(c)
	}
}

func (s *snapshot) add(c credential) {
	b := c.hash.bucket()
	s.keys[b] = append(s.keys[b], c)
}
