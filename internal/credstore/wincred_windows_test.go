package credstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/danieljoos/wincred"
)

// These tests use the real Credential Manager, under a random prefix that they
// clean up. Wine's is enough for the call sequence; limits and quotas of
// Windows are not enforced there, see limited.

// realPrefix is a target prefix that is empty before and after the test.
func realPrefix(t testing.TB) string {
	t.Helper()
	prefix := targetPrefix + "test-" + rand.Text() + ":"
	t.Cleanup(func() {
		left, err := wincred.FilteredList(prefix + "*")
		if errors.Is(err, errCredHalfMade) { // a kill inside Wine's CredWrite; Windows does that in a process of its own
			slots := credentialSlots{creds: systemCredentials{}, prefix: prefix}
			err = errors.Join(slots.remove(victimID, slotA), slots.remove(victimID, slotB))
		}
		if err != nil {
			t.Errorf("clean-up: %v", err)
		}
		for _, c := range left {
			if err := wincred.NewGenericCredential(c.TargetName).Delete(); err != nil {
				t.Errorf("clean-up of %s: %v", c.TargetName, err)
			}
		}
	})
	return prefix
}

func openReal(t testing.TB, prefix string) *wincredStore {
	t.Helper()
	store, err := openWincred(prefix, discard())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestWincredCredential(t *testing.T) {
	prefix := realPrefix(t)
	mustSave(t, openReal(t, prefix), "account", []byte("secret"))
	c, err := wincred.GetGenericCredential(prefix + "account:B:0")
	if err != nil {
		t.Fatal(err)
	}
	if c.UserName != userName || c.Persist != wincred.PersistLocalMachine || len(c.Attributes) != 0 || len(c.CredentialBlob) != headerSize+6 {
		t.Errorf("user %q, persist %d, %d attributes, %d bytes", c.UserName, c.Persist, len(c.Attributes), len(c.CredentialBlob))
	}
}

// TestWincredManyStores has stores with nothing in common but the named mutex,
// as processes have; Wine's CredRead beside a CredWrite crashes without it.
func TestWincredManyStores(t *testing.T) {
	prefix := realPrefix(t)
	mustSave(t, openReal(t, prefix), "shared", blob(0, 3000))
	var all sync.WaitGroup
	for g := range 6 {
		store := openReal(t, prefix)
		all.Go(func() {
			for i := range 10 {
				if err := store.Save(context.Background(), "shared", blob(uint64(g*100+i), 3000)); err != nil {
					t.Errorf("Save = %v", err)
				}
				if data, err := store.Load(context.Background(), "shared"); err != nil || len(data) != 3000 {
					t.Errorf("Load = %d bytes, %v", len(data), err)
				}
			}
		})
	}
	all.Wait()
}

// TestMutexBusy: a mutex that another holds is waited for until the context ends.
func TestMutexBusy(t *testing.T) {
	name := fmt.Sprintf(`Local\M365TokenBroker-test-%s`, rand.Text())
	first, err := openNamedMutex(name)
	if err != nil {
		t.Fatal(err)
	}
	second, err := openNamedMutex(name) // ERROR_ALREADY_EXISTS is no error
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := first.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), mutexSlice/2)
	defer cancel()
	waited := make(chan error, 1)
	go func() { // of another thread: a mutex lets its owner in again
		unlock, err := second.lock(ctx)
		if err == nil {
			unlock()
		}
		waited <- err
	}()
	if err := <-waited; err == nil {
		t.Error("two hold the mutex")
	}
	unlock()
	unlock, err = second.lock(t.Context())
	if err != nil {
		t.Fatalf("the mutex is free and cannot be had: %v", err)
	}
	unlock()
}

// TestKillWincred kills processes that rotate a record in the real Credential
// Manager. Killed ones leave the mutex abandoned, too.
func TestKillWincred(t *testing.T) {
	prefix := realPrefix(t)
	kills := 40
	if testing.Short() {
		kills = 10
	}
	massacre(t, "wincred "+prefix, func() Store { return openReal(t, prefix) }, kills, kills)
}

// TestFileKeyInWincred: on Windows the key of a file store is a credential.
func TestFileKeyInWincred(t *testing.T) {
	dir, home := privateDir(t), &keyHome{kind: Wincred, store: openReal(t, realPrefix(t))}
	mustSave(t, mustOpenFile(t, dir, home), "account", []byte("secret"))
	store := mustOpenFile(t, dir, home)
	if place := store.keyPlace(); place != string(Wincred) {
		t.Errorf("the key is in %q", place)
	}
	wantRecord(t, store, "account", []byte("secret"))
	if ids, err := home.store.List(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("%q are kept there, %v", ids, err)
	}
}

// OpenRealWincred opens the real store under a prefix that is cleaned up.
func OpenRealWincred(t testing.TB) (store Store, again func(testing.TB) Store) {
	prefix := realPrefix(t)
	again = func(t testing.TB) Store { return openReal(t, prefix) }
	return again(t), again
}
