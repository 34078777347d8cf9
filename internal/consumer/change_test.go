package consumer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeSaver keeps what it is given.
type fakeSaver struct {
	err  error
	gate chan struct{} // closed: saving goes on; nil: it does not wait

	mu      sync.Mutex
	saved   []Spec
	removed []string
}

func (f *fakeSaver) Save(ctx context.Context, s Spec) error {
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saved = append(f.saved, s)
	return f.err
}

func (f *fakeSaver) Remove(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, name)
	return f.err
}

func TestAdd(t *testing.T) {
	saver := &fakeSaver{}
	r, _, _ := newRegistry(t, saver)
	want := Spec{Name: "erp", Accounts: []string{"ops"}, Resources: []string{"ews"}, Rate: config.Rate{Count: 5, Per: time.Second, Burst: 5}, Metrics: true}
	key, v, err := r.Add(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Authenticate(key.Reveal())
	if err != nil || id.Name != "erp" || !id.Metrics {
		t.Fatalf("the new key: %+v, %v", id, err)
	}
	if err := id.Allows(token.Key{Account: "ops", Resource: "ews"}); err != nil {
		t.Error(err)
	}
	got := saver.saved[0]
	if got.CreatedOn.IsZero() || len(got.Keys) != 1 || got.Keys[0].SHA256 != HashKey(key) {
		t.Errorf("saved %+v", got)
	}
	got.CreatedOn, got.Keys = time.Time{}, nil
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(v.Keys) != 1 || v.Keys[0].Prefix != HashKey(key)[:8] {
		t.Errorf("view %+v", v)
	}
	_, _, err = r.Add(t.Context(), Spec{Name: "erp"})
	wantKind(t, err, token.KindConflict)
}

func TestAddMakesNamesCanonical(t *testing.T) {
	r, _, _ := newRegistry(t, &fakeSaver{})
	r.resolve = func(s Spec) (Spec, error) {
		s.Accounts = []string{"ops"}
		return s, nil
	}
	key, _, err := r.Add(t.Context(), Spec{Lease: time.Minute, Accounts: []string{"OPS@contoso.example"}, Resources: []string{"graph"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Authenticate(key.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Allows(token.Key{Account: "ops", Resource: "graph"}); err != nil {
		t.Error(err)
	}
}

func TestAddRefuses(t *testing.T) {
	saver := &fakeSaver{}
	r, _, _ := newRegistry(t, saver)
	r.resolve = func(s Spec) (Spec, error) {
		if len(s.Resources) == 1 && s.Resources[0] == "nosuch" {
			return s, token.NewError(token.KindUnknownResource, "", "There is no resource nosuch.")
		}
		return s, nil
	}
	tests := []struct {
		name string
		spec Spec
		want token.Kind
	}{
		{"no name", Spec{}, token.KindInvalidRequest},
		{"bad name", Spec{Name: "../x"}, token.KindInvalidRequest},
		{"space in the name", Spec{Name: "a b"}, token.KindInvalidRequest},
		{"long name", Spec{Name: strings.Repeat("a", 65)}, token.KindInvalidRequest},
		{"short lease", Spec{Lease: time.Second}, token.KindInvalidRequest},
		{"long lease", Spec{Lease: 25 * time.Hour}, token.KindInvalidRequest},
		{"negative lease", Spec{Lease: -time.Hour}, token.KindInvalidRequest},
		{"same as without a lease", Spec{Name: "x", SameAs: "crm"}, token.KindInvalidRequest},
		{"same as with rights", Spec{SameAs: "crm", Lease: time.Minute, Accounts: []string{"boss"}}, token.KindInvalidRequest},
		{"same as nobody", Spec{SameAs: "nobody", Lease: time.Minute}, token.KindNotFound},
		{"unknown resource", Spec{Name: "x", Resources: []string{"nosuch"}}, token.KindUnknownResource},
		{"taken", Spec{Name: "crm"}, token.KindConflict},
		{"taken by a configured one", Spec{Name: "crm", Lease: time.Minute}, token.KindConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := r.Add(t.Context(), tt.spec)
			wantKind(t, err, tt.want)
			if len(saver.saved) != 0 || len(r.List()) != 1 {
				t.Errorf("something was kept: %v, %v", saver.saved, r.List())
			}
		})
	}
}

func TestAFailedSaveChangesNothing(t *testing.T) {
	cause := errors.New("disk full")
	conflict := token.NewError(token.KindConflict, "", "It stands in broker.yaml; change it there.")
	for _, tt := range []struct {
		err  error
		want token.Kind
	}{{cause, token.KindInternal}, {conflict, token.KindConflict}} {
		r, key, _ := newRegistry(t, &fakeSaver{err: tt.err})
		_, _, err := r.Add(t.Context(), Spec{Name: "x"})
		wantKind(t, err, tt.want)
		_, _, err = r.Rotate(t.Context(), "crm", 0)
		wantKind(t, err, tt.want)
		err = r.Remove(t.Context(), "crm")
		if e := wantKind(t, err, tt.want); strings.Contains(e.Detail, "disk full") || !errors.Is(err, tt.err) {
			t.Errorf("error %v", err)
		}
		if _, err := r.Authenticate(key); err != nil || len(r.List()) != 1 {
			t.Errorf("after failed saves: %v, %v", err, r.List())
		}
	}
	r, _, _ := newRegistry(t, nil)
	_, _, err := r.Add(t.Context(), Spec{Name: "x"})
	wantKind(t, err, token.KindUnsupported)
	wantKind(t, r.Remove(t.Context(), "crm"), token.KindUnsupported)
}

func TestReadersDoNotWaitForASave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &fakeSaver{gate: make(chan struct{})}
		r, key, _ := newRegistry(t, saver)
		done := make(chan error)
		go func() {
			_, _, err := r.Rotate(context.Background(), "crm", time.Hour)
			done <- err
		}()
		synctest.Wait()
		if _, err := r.Authenticate(key); err != nil {
			t.Error(err)
		}
		if len(r.List()) != 1 {
			t.Error("the list waits")
		}
		_, _, err := r.Rotate(t.Context(), "crm", time.Hour)
		wantKind(t, err, token.KindConflict)
		close(saver.gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &fakeSaver{}
		r, old, _ := newRegistry(t, saver)
		key, v, err := r.Rotate(t.Context(), "crm", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Keys) != 2 || !v.Keys[0].EndsOn.IsZero() || !v.Keys[1].EndsOn.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("keys %+v", v.Keys)
		}
		if len(saver.saved) != 1 || len(saver.saved[0].Keys) != 2 {
			t.Errorf("saved %+v", saver.saved)
		}
		works := func(name, key string, want bool) {
			t.Helper()
			if _, err := r.Authenticate(key); (err == nil) != want {
				t.Errorf("%s key: %v, want it to work: %v", name, err, want)
			}
		}
		works("old", old, true)
		works("new", key.Reveal(), true)
		time.Sleep(time.Hour)
		works("old", old, false)
		works("new", key.Reveal(), true)

		third, v, err := r.Rotate(t.Context(), "crm", 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Keys) != 1 {
			t.Errorf("without overlap there are keys %+v", v.Keys)
		}
		works("second", key.Reveal(), false)
		works("third", third.Reveal(), true)

		// A key of the rotation before the last ends at once, however long its
		// overlap was to be.
		fourth, _, err := r.Rotate(t.Context(), "crm", 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		works("third", third.Reveal(), true)
		fifth, v, err := r.Rotate(t.Context(), "crm", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		works("third", third.Reveal(), false)
		works("fourth", fourth.Reveal(), true)
		works("fifth", fifth.Reveal(), true)
		if len(v.Keys) != 2 || len(saver.saved[len(saver.saved)-1].Keys) != 2 {
			t.Errorf("keys after two quick rotations: %+v", v.Keys)
		}
		_, _, err = r.Rotate(t.Context(), "nobody", 0)
		wantKind(t, err, token.KindNotFound)
	})
}

func TestRemove(t *testing.T) {
	saver := &fakeSaver{}
	r, key, _ := newRegistry(t, saver)
	leased, _, err := r.Add(t.Context(), Spec{SameAs: "crm", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), "crm"); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{key, leased.Reveal()} {
		if _, err := r.Authenticate(k); err == nil {
			t.Error("a key of the removed consumer, or with its rights, works")
		}
	}
	if len(r.List()) != 0 || len(saver.removed) != 1 || saver.removed[0] != "crm" {
		t.Errorf("left %v, removed %v", r.List(), saver.removed)
	}
	wantKind(t, r.Remove(t.Context(), "crm"), token.KindNotFound)
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &fakeSaver{}
		r, _, _ := newRegistry(t, saver)
		key, v, err := r.Add(t.Context(), Spec{Accounts: []string{"ops"}, Resources: []string{"ews"}, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if v.Name == "" || !v.LeaseEnds.Equal(time.Now().Add(time.Minute)) || len(saver.saved) != 0 {
			t.Fatalf("view %+v, saved %v", v, saver.saved)
		}
		id, err := r.Authenticate(key.Reveal())
		if err != nil || id.Allows(token.Key{Account: "ops", Resource: "ews"}) != nil {
			t.Fatalf("the leased key: %v", err)
		}
		_, _, err = r.Rotate(t.Context(), v.Name, 0)
		wantKind(t, err, token.KindConflict)
		_, err = r.Renew("crm", time.Minute)
		wantKind(t, err, token.KindConflict)
		_, err = r.Renew("nobody", time.Minute)
		wantKind(t, err, token.KindNotFound)
		_, err = r.Renew(v.Name, time.Second)
		wantKind(t, err, token.KindInvalidRequest)

		time.Sleep(59 * time.Second)
		if _, err := r.Renew(v.Name, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := r.Replace(nil); err != nil { // a reload leaves leases alone
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if _, err := r.Authenticate(key.Reveal()); err != nil {
			t.Fatalf("a renewed lease: %v", err)
		}
		time.Sleep(time.Second)
		_, err = r.Authenticate(key.Reveal())
		wantKind(t, err, token.KindUnauthenticated)
		if len(r.List()) != 0 {
			t.Errorf("an ended lease is listed: %v", r.List())
		}
		_, err = r.Renew(v.Name, time.Minute)
		wantKind(t, err, token.KindNotFound)
	})
}

func TestALeaseHasTheRightsOfAnother(t *testing.T) {
	r, crm, _ := newRegistry(t, nil)
	key, v, err := r.Add(t.Context(), Spec{Name: "run", SameAs: "crm", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"graph"}, v.Resources); d != "" || v.SameAs != "crm" {
		t.Errorf("view %+v", v)
	}
	s := crmSpec(token.NewSecret(crm))
	s.Resources = []string{"ews"}
	if err := r.Replace([]Spec{s}); err != nil {
		t.Fatal(err)
	}
	id, err := r.Authenticate(key.Reveal())
	if err != nil || id.Name != "run" || id.Allows(token.Key{Account: "ops", Resource: "ews"}) != nil {
		t.Fatalf("after a reload: %v, %v", id, err)
	}
	wantKind(t, id.Allows(token.Key{Account: "ops", Resource: "graph"}), token.KindDenied)
	if err := r.Remove(t.Context(), "run"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(key.Reveal()); err == nil {
		t.Error("the key of a removed lease works")
	}
}

// TestLabel: what telemetry calls a consumer is one of few names, however many
// leases come and go.
func TestLabel(t *testing.T) {
	r, crm, _ := newRegistry(t, nil)
	label := func(key string) string {
		t.Helper()
		id, err := r.Authenticate(key)
		if err != nil {
			t.Fatal(err)
		}
		return id.Label
	}
	if got := label(crm); got != "crm" {
		t.Errorf("a configured consumer: %q", got)
	}
	for _, tt := range []struct {
		spec Spec
		want string
	}{
		{Spec{SameAs: "crm", Lease: time.Minute}, "crm"},
		{Spec{Name: "run", SameAs: "crm", Lease: time.Minute}, "crm"},
		{Spec{Accounts: []string{"ops"}, Resources: []string{"ews"}, Lease: time.Minute}, "exec"},
		{Spec{Name: "named", Lease: time.Minute}, "exec"},
	} {
		key, v, err := r.Add(t.Context(), tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := label(key.Reveal()); got != tt.want {
			t.Errorf("%s: %q, want %q", v.Name, got, tt.want)
		}
	}
	if got := AdminIdentity().Label; got != "admin" {
		t.Errorf("the administrator: %q", got)
	}
}

func TestViewsHoldNoHash(t *testing.T) {
	r, key, _ := newRegistry(t, nil)
	full := HashKey(token.NewSecret(key))
	for _, v := range r.List() {
		for _, k := range v.Keys {
			if k.Prefix == full || len(k.Prefix) > viewPrefix {
				t.Errorf("key view %+v", k)
			}
		}
	}
}
