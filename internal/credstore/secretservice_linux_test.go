package credstore

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// every runs each operation and gives their errors.
func every(ctx context.Context, s Store) map[string]error {
	_, loadErr := s.Load(ctx, "account")
	_, listErr := s.List(ctx)
	return map[string]error{"Save": s.Save(ctx, "account", []byte("CANARY")), "Load": loadErr, "Delete": s.Delete(ctx, "account"), "List": listErr}
}

// TestSecretServicePrompts: whatever asks a person is Locked, at once, and the
// prompt is put away.
func TestSecretServicePrompts(t *testing.T) {
	fake := startFakeSecretService(t)
	store := fake.store()
	mustSave(t, store, "account", []byte("secret"))
	fake.set(func() { fake.prompts["Unlock"] = true })
	for op, err := range every(t.Context(), store) {
		if ReasonOf(err) != Locked {
			t.Errorf("%s on a locked keyring = %v", op, err)
		}
	}
	fake.set(func() {
		if fake.dismissed != 4 {
			t.Errorf("%d prompts were dismissed, want 4", fake.dismissed)
		}
		fake.prompts = map[string]bool{"CreateItem": true, "Delete": true}
	})
	if err := store.Save(t.Context(), "account", []byte("new")); ReasonOf(err) != Locked {
		t.Errorf("Save with a prompt = %v", err)
	}
	if err := store.Delete(t.Context(), "account"); ReasonOf(err) != Locked {
		t.Errorf("Delete with a prompt = %v", err)
	}
	wantRecord(t, store, "account", []byte("secret"))
}

// TestSecretServiceUnlocks what can be unlocked without a person.
func TestSecretServiceUnlocks(t *testing.T) {
	fake := startFakeSecretService(t)
	store := fake.store()
	mustSave(t, store, "account", []byte("secret"))
	fake.set(func() {
		for _, item := range fake.items {
			item.locked = true // an item of another collection
		}
	})
	wantRecord(t, store, "account", []byte("secret"))
}

func TestSecretServiceErrors(t *testing.T) {
	for name, want := range map[string]Reason{
		"org.freedesktop.Secret.Error.IsLocked":         Locked,
		"org.freedesktop.Secret.Error.NoSession":        Unavailable,
		"org.freedesktop.DBus.Error.ServiceUnknown":     Unavailable,
		"org.freedesktop.DBus.Error.NoReply":            Unavailable,
		"org.freedesktop.DBus.Error.AccessDenied":       Permission,
		"org.freedesktop.DBus.Error.LimitsExceeded":     TooBig,
		"org.freedesktop.DBus.Error.Failed":             Failed,
		"org.freedesktop.Secret.Error.SomethingUnknown": Failed,
	} {
		for _, member := range []string{"OpenSession", "ReadAlias", "Unlock", "SearchItems"} {
			fake := startFakeSecretService(t)
			fake.set(func() { fake.errors[member] = name })
			for op, err := range every(t.Context(), fake.store()) {
				if ReasonOf(err) != want || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "CANARY") {
					t.Errorf("%s, %s answers %s = %v; want %s", op, member, name, err, want)
				}
			}
		}
	}
}

// TestSecretServiceHangs: an operation ends with its context, wherever the
// service stops answering.
func TestSecretServiceHangs(t *testing.T) {
	for _, member := range []string{"Hello", "OpenSession", "SearchItems", "CreateItem"} {
		fake := startFakeSecretService(t)
		fake.set(func() { fake.hangs[member] = true })
		ctx, cancel := context.WithTimeout(t.Context(), hangUntil)
		if err := fake.store().Save(ctx, "account", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s hangs: Save = %v", member, err)
		}
		cancel()
	}
}

// TestSecretServiceBusHangs: something listens and never says a word.
func TestSecretServiceBusHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	store := &secretServiceStore{application: recordAttribute, turn: newTurn(), address: "unix:path=" + path}
	ctx, cancel := context.WithTimeout(t.Context(), hangUntil)
	defer cancel()
	if _, err := store.Load(ctx, "account"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Load = %v", err)
	}
}

func TestSecretServiceAbsent(t *testing.T) {
	fake := startFakeSecretService(t)
	store := fake.store()
	fake.set(func() { fake.collection = noObject })
	if _, err := store.List(t.Context()); ReasonOf(err) != Unavailable {
		t.Errorf("without a default keyring: %v", err)
	}
	for _, address := range []string{"unix:path=" + filepath.Join(t.TempDir(), "none"), "nonsense", ""} {
		store.address = address
		if _, err := store.List(t.Context()); ReasonOf(err) != Unavailable {
			t.Errorf("at %q: %v", address, err)
		}
	}
}

func TestSessionBus(t *testing.T) {
	dir := t.TempDir()
	environment := map[string]string{"DBUS_SESSION_BUS_ADDRESS": "unix:path=/somewhere", "XDG_RUNTIME_DIR": dir}
	getenv := func(name string) string { return environment[name] }
	if got := SessionBus(getenv); got != "unix:path=/somewhere" {
		t.Errorf("from the environment: %q", got)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, unset := range []string{"", "autolaunch:"} {
		environment["DBUS_SESSION_BUS_ADDRESS"] = unset
		if got := SessionBus(getenv); got != "unix:path="+dir+"/bus" {
			t.Errorf("from XDG_RUNTIME_DIR: %q", got)
		}
	}
}

// TestSecretServiceDuplicates: a service that does not replace gets its older
// item removed, and until then the newest counts.
func TestSecretServiceDuplicates(t *testing.T) {
	fake := startFakeSecretService(t)
	store := fake.store()
	fake.set(func() { fake.noReplace = true })
	mustSave(t, store, "account", []byte("one"))
	mustSave(t, store, "account", []byte("two"))
	wantRecord(t, store, "account", []byte("two"))
	fake.set(func() {
		if len(fake.items) != 1 {
			t.Errorf("%d items, want 1", len(fake.items))
		}
		fake.errors["Delete"] = "org.freedesktop.DBus.Error.Failed" // a Save cut short between its two steps
	})
	if err := store.Save(t.Context(), "account", []byte("three")); err == nil {
		t.Error("Save = nil")
	}
	wantRecord(t, store, "account", []byte("three"))
	fake.set(func() { delete(fake.errors, "Delete") })
	if err := store.Delete(t.Context(), "account"); err != nil {
		t.Fatal(err)
	}
	fake.set(func() {
		if len(fake.items) != 0 {
			t.Errorf("%d items, want 0", len(fake.items))
		}
	})
}

// TestSecretServiceEdited: a person changed the "password" in a keyring program.
func TestSecretServiceEdited(t *testing.T) {
	fake := startFakeSecretService(t)
	store := fake.store()
	mustSave(t, store, "other", []byte("CANARY"))
	var other string
	fake.set(func() {
		for _, item := range fake.items {
			other = string(item.secret.Value)
		}
	})
	for name, text := range map[string]string{
		"empty": "", "edited": "hunter2", "cut": other[:len(other)-5], "of another record": other,
		"flipped": strings.Replace(other, " ", " 0", 1), "not base64": envelopeMagic + " 00 ====",
	} {
		mustSave(t, store, "account", []byte("secret"))
		fake.set(func() {
			for _, item := range fake.items {
				if item.attributes["record"] == "account" {
					item.secret.Value = []byte(text)
				}
			}
		})
		t.Run(name, func(t *testing.T) { wantCorrupt(t, store, "account") })
	}
	mustSave(t, store, "account", []byte("anew"))
	wantRecord(t, store, "account", []byte("anew"))
}

// TestSecretServiceIsAlone: items of others are not ours, also not the keys of
// our file stores.
func TestSecretServiceIsAlone(t *testing.T) {
	fake := startFakeSecretService(t)
	store, keys := fake.store(), fake.store()
	keys.application = keyAttribute
	mustSave(t, store, "account", []byte("secret"))
	mustSave(t, keys, "key-1", []byte("key"))
	fake.set(func() {
		fake.items["/other"] = &fakeItem{attributes: map[string]string{"application": "browser", "record": "x"}}
		fake.items["/odd"] = &fakeItem{attributes: map[string]string{"application": recordAttribute}}
	})
	if ids, err := store.List(t.Context()); err != nil || !slices.Equal(ids, []string{"account"}) {
		t.Errorf("List = %q, %v", ids, err)
	}
	if _, err := store.Load(t.Context(), "key-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the key of a file store is a record: %v", err)
	}
}

// The real thing.

// RealSecretServiceEnv is set by scripts/secret-service-test, which starts a
// Secret Service on a bus of its own, to "contract" or "lock". Nothing else
// sets it: the keyring of a developer's desktop is no place for tests.
const RealSecretServiceEnv = "BROKER_TEST_SECRET_SERVICE"

// TestRealSecretServiceLocked locks the keyring for good, so it is a test of
// its own that scripts/secret-service-test runs last.
func TestRealSecretServiceLocked(t *testing.T) {
	if os.Getenv(RealSecretServiceEnv) != "lock" {
		t.Skip(RealSecretServiceEnv + " is not \"lock\"; run scripts/secret-service-test")
	}
	store, err := newSecretService(SessionBus(os.Getenv), recordAttribute)
	if err != nil {
		t.Fatal(err)
	}
	mustSave(t, store, "account", []byte("secret"))
	s := store.(*secretServiceStore)
	err = s.converse(t.Context(), opCheck, func(ctx context.Context, k *keyring) error {
		var locked []dbus.ObjectPath
		var prompt dbus.ObjectPath
		return k.call(ctx, secretsPath, serviceIface+".Lock", []dbus.ObjectPath{k.collection}).Store(&locked, &prompt)
	})
	if err != nil {
		t.Fatal(err)
	}
	for op, err := range every(t.Context(), store) {
		if ReasonOf(err) != Locked {
			t.Errorf("%s on a locked keyring = %v", op, err)
		}
	}
}
