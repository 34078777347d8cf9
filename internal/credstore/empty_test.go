package credstore

import (
	"os"
	"path/filepath"
	"testing"
)

func TestEmptyLeavesNothing(t *testing.T) {
	wallet := NewMemory()
	mustSave(t, wallet, "key-other", []byte("another store's"))
	home := &keyHome{kind: SecretService, store: wallet}
	store := mustOpenFile(t, privateDir(t), home)
	for round, want := range []int{2, 0} {
		if round == 0 {
			mustSave(t, store, "account-a", []byte("secret"))
			mustSave(t, store, "account-b", []byte("secret"))
		}
		if n, err := Empty(t.Context(), store); n != want || err != nil {
			t.Errorf("Empty = %d, %v; want %d records", n, err, want)
		}
		if ids, err := wallet.List(t.Context()); err != nil || len(ids) != 1 {
			t.Errorf("the platform store has %q, %v", ids, err)
		}
		if _, err := os.Stat(filepath.Join(store.dir, keyName)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", keyName, err)
		}
	}
	mustSave(t, store, "account-a", []byte("anew"))
	wantRecord(t, mustOpenFile(t, store.dir, home), "account-a", []byte("anew"))
}

// TestEmptyKeepsTheKeyItCannotRemove: the next call finds it again.
func TestEmptyKeepsTheKeyItCannotRemove(t *testing.T) {
	wallet := NewMemory()
	store := mustOpenFile(t, privateDir(t), &keyHome{kind: SecretService, store: wallet})
	mustSave(t, store, "account", []byte("secret"))
	for want, home := range map[Reason]*keyHome{Locked: {kind: SecretService, store: failing{reason: Locked}}, Unavailable: nil} {
		store.home = home
		if _, err := Empty(t.Context(), store); ReasonOf(err) != want {
			t.Errorf("Empty = %v; want %s", err, want)
		}
	}
	store.home = &keyHome{kind: SecretService, store: wallet}
	if _, err := Empty(t.Context(), store); err != nil {
		t.Error(err)
	}
	if ids, err := wallet.List(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("the platform store has %q, %v", ids, err)
	}
}
