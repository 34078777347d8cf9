package consumer

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// A lease whose maker made the key outlives a restart of the broker: it is made
// again, with the same key.
func TestALeaseWithAKeyOfItsMaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := NewKey()
		spec := Spec{Name: "exec-1", Lease: time.Minute, SameAs: "crm", KeySHA256: HashKey(key), Note: "report.sh"}
		for range 2 { // two brokers, one after the other
			r, _, _ := newRegistry(t, nil)
			got, v, err := r.Add(t.Context(), spec)
			if err != nil || !got.IsZero() || v.Note != "report.sh" || v.Keys[0].Prefix != HashKey(key)[:8] {
				t.Fatalf("key %v, view %+v, %v", got, v, err)
			}
			created := v.CreatedOn
			time.Sleep(45 * time.Second)
			if _, v, err = r.Add(t.Context(), spec); err != nil || !v.CreatedOn.Equal(created) || !v.LeaseEnds.Equal(time.Now().Add(time.Minute)) {
				t.Fatalf("again: %+v, %v", v, err)
			}
			time.Sleep(45 * time.Second)
			if id, err := r.Authenticate(key.Reveal()); err != nil || id.Name != "exec-1" {
				t.Fatalf("%+v, %v", id, err)
			}
			if err := r.Remove(t.Context(), "exec-1"); err != nil {
				t.Fatal(err)
			}
			_, err = r.Authenticate(key.Reveal())
			wantKind(t, err, token.KindUnauthenticated)
		}
	})
}

func TestAddRefusesLeases(t *testing.T) {
	key := NewKey()
	r, crm, admin := newRegistry(t, nil)
	r.root = func(int) (peer.Root, error) { return peer.Root{}, errors.New("no such process") }
	if _, _, err := r.Add(t.Context(), Spec{Name: "exec-1", Lease: time.Minute, KeySHA256: HashKey(key)}); err != nil {
		t.Fatal(err)
	}
	lease := func(change func(*Spec)) Spec {
		s := Spec{Name: "exec-2", Lease: time.Minute, KeySHA256: HashKey(NewKey())}
		change(&s)
		return s
	}
	tests := []struct {
		name string
		spec Spec
		want token.Kind
	}{
		{"the name with another key", lease(func(s *Spec) { s.Name = "exec-1" }), token.KindConflict},
		{"the name with a key of ours", lease(func(s *Spec) { s.Name, s.KeySHA256 = "exec-1", "" }), token.KindConflict},
		{"the key under another name", lease(func(s *Spec) { s.KeySHA256 = HashKey(key) }), token.KindConflict},
		{"the key under another name, in upper case", lease(func(s *Spec) { s.KeySHA256 = strings.ToUpper(HashKey(key)) }), token.KindConflict},
		{"a configured consumer's key", lease(func(s *Spec) { s.KeySHA256 = HashKey(token.NewSecret(crm)) }), token.KindConflict},
		{"the admin key", lease(func(s *Spec) { s.KeySHA256 = HashKey(token.NewSecret(admin)) }), token.KindConflict},
		{"no hash", lease(func(s *Spec) { s.KeySHA256 = "x" }), token.KindInvalidRequest},
		{"a hash without a lease", Spec{Name: "x", KeySHA256: HashKey(NewKey())}, token.KindInvalidRequest},
		{"a process without a lease", Spec{Name: "x", Process: 7}, token.KindInvalidRequest},
		{"no such process", lease(func(s *Spec) { s.Process = 7 }), token.KindInvalidRequest},
		{"a negative process", lease(func(s *Spec) { s.Process = -7 }), token.KindInvalidRequest},
		{"hours of its own beside same_as", lease(func(s *Spec) { s.SameAs, s.Hours = "crm", hours(t, "07:00-19:00") }), token.KindInvalidRequest},
		{"a client of its own beside same_as", lease(func(s *Spec) { s.SameAs, s.ClientID = "crm", "x" }), token.KindInvalidRequest},
		{"a sink", lease(func(s *Spec) { s.Accounts, s.Resources, s.Sink = []string{"ops"}, []string{"graph"}, "/run/crm/token" }), token.KindInvalidRequest},
	}
	for _, tt := range tests {
		_, _, err := r.Add(t.Context(), tt.spec)
		if e := token.AsError(err); e == nil || e.Kind != tt.want || e.Detail == "" {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if len(r.List()) != 2 {
		t.Errorf("something was kept: %+v", r.List())
	}
	r.root = nil
	_, _, err := r.Add(t.Context(), lease(func(s *Spec) { s.Process = 7 }))
	wantKind(t, err, token.KindUnsupported)
}

// What a lease takes over from the consumer that it is the same as: what limits
// the tokens, not which program may send the key.
func TestWhatALeaseInherits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, key, _ := newRegistry(t, nil)
		spec := crmSpec(token.NewSecret(key))
		spec.Hours, spec.ClientID = hours(t, "mon-fri 07:00-19:00"), "66666666-7777-8888-9999-000000000000"
		spec.Executable, spec.SHA256, spec.User, spec.UserID = "/opt/crm/sync", strings.Repeat("a", 64), "svc", "1000"
		if err := r.Replace([]Spec{spec}); err != nil {
			t.Fatal(err)
		}
		leased, v, err := r.Add(t.Context(), Spec{SameAs: "crm", Lease: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if v.Hours.String() != "mon-fri 07:00-19:00" || v.ClientID != spec.ClientID || v.Executable+v.SHA256+v.User != "" {
			t.Errorf("view %+v", v)
		}
		id, err := r.Authenticate(leased.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		wantKind(t, id.Check(t.Context(), nil), token.KindDenied) // it is Saturday
		spec.Hours = config.Hours{}
		if err := r.Replace([]Spec{spec}); err != nil {
			t.Fatal(err)
		}
		if id, err = r.Authenticate(leased.Reveal()); err != nil {
			t.Fatal(err)
		}
		if err := id.Check(t.Context(), nil); err != nil {
			t.Errorf("the lease is tied to a process: %v", err)
		}
	})
}

// A sink is one token's, and a file's.
func TestSinks(t *testing.T) {
	good := Spec{Name: "x", Accounts: []string{"ops"}, Resources: []string{"graph"}, Sink: "/run/crm/token", SinkFormat: config.SinkJSON}
	change := func(f func(*Spec)) Spec {
		s := good.clone()
		f(&s)
		return s
	}
	for name, s := range map[string]Spec{
		"":              good,
		"no format":     change(func(s *Spec) { s.SinkFormat = "" }),
		"windows":       change(func(s *Spec) { s.Sink = `C:\Crm\token` }),
		"!relative":     change(func(s *Spec) { s.Sink = "token" }),
		"!format":       change(func(s *Spec) { s.SinkFormat = "xml" }),
		"!no sink":      change(func(s *Spec) { s.Sink = "" }),
		"!no account":   change(func(s *Spec) { s.Accounts = nil }),
		"!two accounts": change(func(s *Spec) { s.Accounts = []string{"ops", "boss"} }),
		"!two tokens":   change(func(s *Spec) { s.Resources = []string{"graph", "ews"} }),
		"!executable":   change(func(s *Spec) { s.Executable = "sync" }),
		"!sha256":       change(func(s *Spec) { s.SHA256 = "abc" }),
	} {
		if err := s.validate(); (err != nil) != strings.HasPrefix(name, "!") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Programs without a key: under which lease, or as which consumer, they go.
func TestUnkeyed(t *testing.T) {
	outer, inner, other := peer.Root{PID: 10, Start: 100}, peer.Root{PID: 20, Start: 200}, peer.Root{PID: 30, Start: 300}
	starts := map[int]peer.Root{10: outer, 20: inner, 30: other}
	r, key, _ := newRegistry(t, nil)
	r.root = func(pid int) (peer.Root, error) { return starts[pid], nil }
	for name, pid := range map[string]int{"outer": 10, "inner": 20, "other": 30} {
		if _, _, err := r.Add(t.Context(), Spec{Name: name, SameAs: "crm", Lease: time.Hour, Process: pid}); err != nil {
			t.Fatal(err)
		}
	}
	nobody, within := &fakePeer{}, &fakePeer{roots: []peer.Root{outer, inner}}
	ask := func(p Peer, any bool) string {
		t.Helper()
		id, err := r.Unkeyed(t.Context(), p, any)
		if err != nil {
			return token.AsError(err).Kind.Code()
		}
		return id.Name
	}
	const refused = "unauthenticated" // the code, which the consumer shares its name with
	for _, tt := range []struct {
		name string
		peer Peer
		any  bool
		want string
	}{
		{"under the inner one", within, false, "inner"},
		{"under the outer one", &fakePeer{roots: []peer.Root{outer}}, false, "outer"},
		{"whoever may, a lease comes first", within, true, "inner"},
		{"a process with the ID of one that has ended", &fakePeer{roots: []peer.Root{{PID: 10, Start: 999}}}, false, refused},
		{"somebody else", nobody, false, refused},
		{"no connection", nil, false, refused},
		{"nobody knows", &fakePeer{processErr: peer.ErrUnknown, roots: within.roots}, false, refused},
		{"another process by now", &fakePeer{confirmErr: peer.ErrUnknown, roots: within.roots}, false, refused},
	} {
		if got := ask(tt.peer, tt.any); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	_, err := r.Unkeyed(t.Context(), nobody, true)
	if e := wantKind(t, err, token.KindUnauthenticated); !strings.Contains(e.Detail, "broker consumers add unauthenticated") {
		t.Errorf("sentence %q", e.Detail)
	}

	// A lease of that name opens nothing.
	if _, _, err := r.Add(t.Context(), Spec{Name: openName, SameAs: "crm", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_, err = r.Unkeyed(t.Context(), nobody, true)
	wantKind(t, err, token.KindUnauthenticated)

	open := Spec{Name: openName, Accounts: []string{"ops"}, Resources: []string{"graph"}, Executable: "/opt/crm/sync"}
	if err := r.Replace([]Spec{crmSpec(token.NewSecret(key)), open}); err != nil {
		t.Fatal(err)
	}
	if got := ask(&fakePeer{process: peer.Process{Image: "/opt/crm/sync"}}, true); got != openName {
		t.Errorf("any program: %s", got)
	}
	_, err = r.Unkeyed(t.Context(), &fakePeer{process: peer.Process{Image: "/opt/evil"}}, true)
	wantKind(t, err, token.KindWrongProcess)
	_, err = r.Unkeyed(t.Context(), nobody, false)
	wantKind(t, err, token.KindUnauthenticated)

	// The consumer that the leases had their rights of is gone.
	if err := r.Replace(nil); err != nil {
		t.Fatal(err)
	}
	_, err = r.Unkeyed(t.Context(), within, true)
	wantKind(t, err, token.KindUnauthenticated)
}

func TestALeaseOfAProcessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := peer.Root{PID: 10, Start: 100}
		r, _, _ := newRegistry(t, nil)
		r.root = func(int) (peer.Root, error) { return root, nil }
		if _, _, err := r.Add(t.Context(), Spec{SameAs: "crm", Lease: time.Minute, Process: 10}); err != nil {
			t.Fatal(err)
		}
		p := &fakePeer{roots: []peer.Root{root}}
		if _, err := r.Unkeyed(t.Context(), p, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_, err := r.Unkeyed(t.Context(), p, false)
		wantKind(t, err, token.KindUnauthenticated)
	})
}
