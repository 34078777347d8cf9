package consumer

import (
	"cmp"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// View is what may be shown of a consumer; it holds no key and no whole hash.
type View struct {
	Name       string
	Accounts   []string
	Resources  []string
	MAPI       []string
	Rate       config.Rate
	Hours      config.Hours
	ClientID   string
	Executable string
	SHA256     string
	User       string
	Sink       string
	SinkFormat config.SinkFormat
	Note       string
	Metrics    bool
	CreatedOn  time.Time // zero where it is not known
	LeaseEnds  time.Time // zero: it has no lease
	SameAs     string    // whose rights a lease has
	Keys       []KeyView

	// Since the broker's start.
	Requests      int64
	Refusals      int64
	LastUsed      time.Time // zero: never
	LastServed    token.Key // the token that it last had; zero: none
	LastProgram   string    // path of the program that last called; empty: nobody looked
	LastRefusal   string    // a sentence; empty: none
	LastRefusalOn time.Time
}

// KeyView tells keys apart without giving the hash away.
type KeyView struct {
	Prefix string    // the first 8 hex digits of the SHA-256
	EndsOn time.Time // zero: it does not end
}

const viewPrefix = 8

// List shows all consumers that work now, by name.
func (r *Registry) List() []View {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	views := make([]View, 0, len(r.specs)+len(r.leases))
	for name := range r.specs {
		views = append(views, r.viewLocked(name))
	}
	for name, l := range r.leases {
		if now.Before(l.ends) {
			views = append(views, r.viewLocked(name))
		}
	}
	slices.SortFunc(views, func(a, b View) int { return cmp.Compare(a.Name, b.Name) })
	return views
}

// viewLocked shows one consumer that exists. The caller holds mu.
func (r *Registry) viewLocked(name string) View {
	s, ok := r.specs[name]
	var ends time.Time
	if !ok {
		l := r.leases[name]
		s, ends = l.spec.like(r.specs).clone(), l.ends
	}
	s = s.clone()
	v := View{
		Name: name, Accounts: s.Accounts, Resources: s.Resources, MAPI: s.MAPI, Rate: s.Rate,
		Hours: s.Hours, ClientID: s.ClientID, Executable: s.Executable, SHA256: s.SHA256, User: s.User,
		Sink: s.Sink, SinkFormat: s.SinkFormat, Note: s.Note,
		Metrics: s.Metrics, CreatedOn: s.CreatedOn, LeaseEnds: ends, SameAs: s.SameAs,
	}
	now := time.Now()
	for _, k := range s.Keys {
		if k.EndsOn.IsZero() || now.Before(k.EndsOn) {
			v.Keys = append(v.Keys, KeyView{Prefix: k.SHA256[:viewPrefix], EndsOn: k.EndsOn})
		}
	}
	if u := r.usage[name]; u != nil {
		u.show(&v)
	}
	return v
}

// show puts what was counted into a view.
func (u *usage) show(v *View) {
	v.Requests, v.Refusals = u.requests.Load(), u.refusals.Load()
	if sec := u.lastUsed.Load(); sec != 0 {
		v.LastUsed = time.Unix(sec, 0)
	}
	if k := u.served.Load(); k != nil {
		v.LastServed = *k
	}
	if p := u.program.Load(); p != nil {
		v.LastProgram = *p
	}
	if f := u.refusal.Load(); f != nil {
		v.LastRefusal, v.LastRefusalOn = f.reason, f.on
	}
}
