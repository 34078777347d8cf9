package consumer

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/token"
)

// newRegistry makes a registry with consumer crm, and returns crm's key and the
// admin key.
func newRegistry(t testing.TB, saver Saver) (r *Registry, key, admin string) {
	t.Helper()
	adminKey, crm := NewAdminKey(), NewKey()
	r, err := New(Config{AdminKey: adminKey, Saver: saver})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Replace([]Spec{crmSpec(crm)}); err != nil {
		t.Fatal(err)
	}
	return r, crm.Reveal(), adminKey.Reveal()
}

func crmSpec(key token.Secret) Spec {
	return Spec{Name: "crm", Keys: []KeyHash{{SHA256: HashKey(key)}}, Accounts: []string{"ops"}, Resources: []string{"graph"}}
}

func wantKind(t *testing.T, err error, want token.Kind) *token.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	e := token.AsError(err)
	if e.Kind != want {
		t.Fatalf("error %v, want kind %v", err, want)
	}
	if e.Detail == "" {
		t.Fatalf("error %v has no sentence for the caller", err)
	}
	return e
}

func TestAuthenticate(t *testing.T) {
	r, key, admin := newRegistry(t, nil)
	tests := []struct {
		name, key, want string
	}{
		{"consumer", key, "crm"},
		{"admin", admin, "admin"},
		{"empty", "", ""},
		{"prefix only", "brk_", ""},
		{"other key", NewKey().Reveal(), ""},
		{"other admin key", NewAdminKey().Reveal(), ""},
		{"one character off", key[:len(key)-2] + swap(key[len(key)-2]) + key[len(key)-1:], ""},
		{"one character more", key + "A", ""},
		{"space behind", key + " ", ""},
		{"admin prefix on a consumer's key", "bra_" + key[4:], ""},
		{"an agent's key where there is no agent", NewAgentKey().Reveal(), ""},
		{"its hash instead of the key", HashKey(token.NewSecret(key)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := r.Authenticate(tt.key)
			if tt.want == "" {
				wantKind(t, err, token.KindUnauthenticated)
				return
			}
			if err != nil || id.Name != tt.want || id.Admin != (tt.want == "admin") {
				t.Fatalf("Authenticate = %+v, %v; want %s", id, err, tt.want)
			}
		})
	}
}

func swap(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestNewRefusesADamagedAdminKey(t *testing.T) {
	for _, key := range []string{"", "bra_short", NewKey().Reveal()} {
		if _, err := New(Config{AdminKey: token.NewSecret(key)}); err == nil {
			t.Errorf("New accepted an admin key of %d characters", len(key))
		}
	}
}

func TestAFloodOfWrongKeysHoldsUpNoRightOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, key, admin := newRegistry(t, nil)
		wrong := NewKey().Reveal()
		var limited *token.Error
		for range 2 * wrongKeysAtOnce {
			_, err := r.Authenticate(wrong)
			if e := token.AsError(err); e.Kind == token.KindRateLimited {
				limited = e
			}
		}
		if limited == nil || limited.RetryAfter <= 0 {
			t.Fatalf("the flood was not limited: %v", limited)
		}
		for _, k := range []string{key, admin} {
			if _, err := r.Authenticate(k); err != nil {
				t.Fatalf("a right key during the flood: %v", err)
			}
		}
		time.Sleep(time.Second)
		_, err := r.Authenticate(wrong)
		wantKind(t, err, token.KindUnauthenticated)
	})
}

func TestReplace(t *testing.T) {
	r, key, admin := newRegistry(t, nil)
	other := NewKey()
	bad := []struct {
		name  string
		specs []Spec
		want  string
	}{
		{"name", []Spec{{Name: "Crm"}}, `"Crm"`},
		{"empty name", []Spec{{}}, `""`},
		{"admin's name", []Spec{{Name: "admin"}}, "admin key"},
		{"hash", []Spec{{Name: "x", Keys: []KeyHash{{SHA256: "12"}}}}, "64 hex digits"},
		{"twice", []Spec{{Name: "x"}, {Name: "x"}}, "twice"},
		{"one key for two", []Spec{{Name: "x", Keys: []KeyHash{{SHA256: HashKey(other)}}}, {Name: "y", Keys: []KeyHash{{SHA256: HashKey(other)}}}}, "same key as x"},
		{"agent's name", []Spec{{Name: "agent"}}, "Outlook agent"},
		{"the page's name", []Spec{{Name: "ui"}}, "own page"},
		{"the admin's key", []Spec{{Name: "x", Keys: []KeyHash{{SHA256: HashKey(token.NewSecret(admin))}}}}, "same key as the admin"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			e := wantKind(t, r.Replace(tt.specs), token.KindInvalidRequest)
			if !strings.Contains(e.Detail, tt.want) {
				t.Errorf("detail %q does not name %q", e.Detail, tt.want)
			}
			if _, err := r.Authenticate(key); err != nil {
				t.Errorf("a bad new version changed the old one: %v", err)
			}
		})
	}
	if err := r.Replace([]Spec{crmSpec(other)}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(key); err == nil {
		t.Error("the replaced key still works")
	}
	if _, err := r.Authenticate(other.Reveal()); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

func TestAKeyEndsAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := newRegistry(t, nil)
		key := NewKey()
		s := crmSpec(key)
		s.Keys[0].EndsOn = time.Now().Add(time.Hour)
		if err := r.Replace([]Spec{s}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if _, err := r.Authenticate(key.Reveal()); err != nil {
			t.Fatalf("before its end: %v", err)
		}
		time.Sleep(time.Second)
		_, err := r.Authenticate(key.Reveal())
		if e := wantKind(t, err, token.KindUnauthenticated); !strings.Contains(e.Detail, "ended") {
			t.Errorf("detail %q does not say that the key has ended", e.Detail)
		}
		if v := r.List()[0]; len(v.Keys) != 0 {
			t.Errorf("an ended key is listed: %+v", v.Keys)
		}
	})
}

func TestAllows(t *testing.T) {
	id := NewIdentity(Spec{Name: "crm", Accounts: []string{"ops", "secret-account"}, Resources: []string{"graph"}})
	tests := []struct {
		name string
		id   *Identity
		key  token.Key
		want []string // in the sentence; none: allowed
	}{
		{"allowed", id, token.Key{Account: "ops", Resource: "graph"}, nil},
		{"resource", id, token.Key{Account: "ops", Resource: "ews"}, []string{`"crm"`, `resource "ews"`, "resources of the consumer"}},
		{"account", id, token.Key{Account: "boss", Resource: "graph"}, []string{`account "boss"`, "accounts of the consumer"}},
		{"both", id, token.Key{Account: "boss", Resource: "ews"}, []string{`"boss"`, `"ews"`}},
		{"no rights", NewIdentity(Spec{Name: "x"}), token.Key{Account: "ops", Resource: "graph"}, []string{`"ops"`}},
		{"admin", AdminIdentity(), token.Key{Account: "boss", Resource: "ews"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.id.Allows(tt.key)
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := wantKind(t, err, token.KindDenied)
			for _, w := range tt.want {
				if !strings.Contains(e.Detail, w) {
					t.Errorf("detail %q does not hold %s", e.Detail, w)
				}
			}
			if strings.Contains(e.Detail, "secret-account") {
				t.Errorf("detail %q reveals another account", e.Detail)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := newRegistry(t, nil)
		key := NewKey()
		s := crmSpec(key)
		s.Rate = config.Rate{Count: 2, Per: time.Second, Burst: 2}
		if err := r.Replace([]Spec{s}); err != nil {
			t.Fatal(err)
		}
		id, err := r.Authenticate(key.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := id.Admit(); err != nil {
				t.Fatalf("within the rate: %v", err)
			}
		}
		e := wantKind(t, id.Admit(), token.KindRateLimited)
		if e.RetryAfter != 500*time.Millisecond {
			t.Errorf("RetryAfter %v, want 500ms", e.RetryAfter)
		}
		// A reload of the same configuration hands out no fresh burst.
		if err := r.Replace([]Spec{s}); err != nil {
			t.Fatal(err)
		}
		id, _ = r.Authenticate(key.Reveal())
		wantKind(t, id.Admit(), token.KindRateLimited)
		time.Sleep(time.Second)
		if err := id.Admit(); err != nil {
			t.Errorf("after a second: %v", err)
		}
		if v := r.List()[0]; v.Refusals != 2 || v.LastRefusal == "" || v.LastRefusalOn.IsZero() || v.Requests != 2 || v.LastUsed.IsZero() {
			t.Errorf("view %+v does not count", v)
		}
		if err := AdminIdentity().Admit(); err != nil {
			t.Errorf("the administrator is limited: %v", err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	r, key, _ := newRegistry(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if _, err := r.Authenticate(key); err != nil {
					t.Errorf("authenticate: %v", err)
				}
				if i < 2 {
					_, v, err := r.Add(context.Background(), Spec{Name: fmt.Sprintf("l%d-%d", i, j), SameAs: "crm", Lease: time.Minute})
					if err != nil {
						t.Errorf("add: %v", err)
					}
					if err := r.Remove(context.Background(), v.Name); err != nil {
						t.Errorf("remove: %v", err)
					}
				}
				_ = r.List()
			}
		})
	}
	wg.Wait()
}

func FuzzAuthenticate(f *testing.F) {
	r, key, admin := newRegistry(f, nil)
	for _, s := range []string{"", "brk_", key, admin, key + "x", strings.ToUpper(key), strings.Repeat("a", 47), "brk_" + strings.Repeat("\x00", 43)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := r.Authenticate(s)
		if (err == nil) != (s == key || s == admin) || (id == nil) == (err == nil) {
			t.Fatalf("Authenticate = %v, %v", id, err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("consumers=%d", n), func(b *testing.B) {
			r, _, _ := newRegistry(b, nil)
			specs := make([]Spec, n)
			var key token.Secret
			for i := range specs {
				key = NewKey()
				specs[i] = crmSpec(key)
				specs[i].Name = fmt.Sprintf("c%d", i)
			}
			if err := r.Replace(specs); err != nil {
				b.Fatal(err)
			}
			k := key.Reveal()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Authenticate(k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
