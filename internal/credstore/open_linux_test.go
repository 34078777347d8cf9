package credstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenAuto: the Secret Service when it answers, else files; what was taken
// once stays, also when a keyring comes or goes later.
func TestOpenAuto(t *testing.T) {
	fake := startFakeSecretService(t)
	dir := privateDir(t)
	store, d, _ := openLog(t, Config{Dir: dir, SessionBus: fake.address})
	if d.Kind != SecretService || !strings.Contains(d.Why, "answers") {
		t.Fatalf("with a Secret Service: %+v", d)
	}
	mustSave(t, store, "account", []byte("secret"))

	store, d, _ = openLog(t, Config{Kind: Auto, Dir: dir, SessionBus: "unix:path=" + dir + "/none"})
	if d.Kind != SecretService || !strings.Contains(d.Why, filepath.Join(dir, autoName)) {
		t.Fatalf("when it is away later: %+v", d)
	}
	if _, err := store.Load(t.Context(), "account"); ReasonOf(err) != Unavailable {
		t.Errorf("Load = %v; want Unavailable and not an empty store", err)
	}

	dir = privateDir(t)
	store, d, log := openLog(t, Config{Dir: dir})
	if d.Kind != File || d.Place != dir || !strings.Contains(d.Why, "unavailable") || !strings.Contains(log, "encrypted files") {
		t.Fatalf("without a Secret Service: %+v, log %s", d, log)
	}
	mustSave(t, store, "account", []byte("secret"))

	store, d, _ = openLog(t, Config{Dir: dir, SessionBus: fake.address})
	if d.Kind != File {
		t.Fatalf("when one comes later: %+v", d)
	}
	wantRecord(t, store, "account", []byte("secret"))
}

// TestOpenAutoLocked: at the first start nobody is there to unlock a keyring.
func TestOpenAutoLocked(t *testing.T) {
	fake := startFakeSecretService(t)
	fake.set(func() { fake.prompts["Unlock"] = true })
	_, d, _ := openLog(t, Config{Dir: privateDir(t), SessionBus: fake.address})
	if d.Kind != File || !strings.Contains(d.Why, "locked") {
		t.Errorf("%+v", d)
	}
}

// TestOpenFileKeyInSecretService: a configured file store keeps its key there.
func TestOpenFileKeyInSecretService(t *testing.T) {
	fake := startFakeSecretService(t)
	dir := privateDir(t)
	store, d, _ := openLog(t, Config{Kind: File, Dir: dir, SessionBus: fake.address})
	if d.Place != dir {
		t.Errorf("before the first save: %+v", d)
	}
	mustSave(t, store, "account", []byte("secret"))
	if line, err := os.ReadFile(filepath.Join(dir, keyName)); err != nil || !strings.Contains(string(line), " secret-service key-") {
		t.Errorf("%s = %q, %v", keyName, line, err)
	}
	store, d, _ = openLog(t, Config{Kind: File, Dir: dir, SessionBus: fake.address})
	if !strings.Contains(d.Place, "its key in secret-service") {
		t.Errorf("after it: %+v", d)
	}
	wantRecord(t, store, "account", []byte("secret"))

	// And what is kept there is found there by a store that would not put it there.
	store, _, _ = openLog(t, Config{Kind: File, Dir: dir, KeyInFile: true, SessionBus: fake.address})
	wantRecord(t, store, "account", []byte("secret"))

	dir = privateDir(t)
	before := len(fake.items)
	store, _, _ = openLog(t, Config{Kind: File, Dir: dir, KeyInFile: true, SessionBus: fake.address})
	mustSave(t, store, "account", []byte("secret"))
	if len(fake.items) != before {
		t.Error("KeyInFile left something in the keyring")
	}
}

func TestOpenForeignKinds(t *testing.T) {
	if _, _, err := Open(t.Context(), Config{Kind: Wincred}); ReasonOf(err) != Unavailable || !strings.Contains(err.Error(), "Windows") {
		t.Errorf("wincred on Linux: %v", err)
	}
}

// TestRealOpenAuto is TestOpenAuto's first half on a real Secret Service.
func TestRealOpenAuto(t *testing.T) {
	NeedRealSecretService(t)
	store, d, err := Open(t.Context(), Config{Dir: privateDir(t), SessionBus: SessionBus(os.Getenv)})
	if err != nil || d.Kind != SecretService {
		t.Fatalf("Open = %+v, %v", d, err)
	}
	mustSave(t, store, "account", []byte("secret"))
	wantRecord(t, store, "account", []byte("secret"))
	if err := store.Delete(t.Context(), "account"); err != nil {
		t.Fatal(err)
	}
}
