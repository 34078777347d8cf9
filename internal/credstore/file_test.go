package credstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// privateDir is a directory that does not exist yet.
func privateDir(t testing.TB) string { return filepath.Join(t.TempDir(), "secrets") }

func mustOpenFile(t testing.TB, dir string, home *keyHome) *fileStore {
	t.Helper()
	store, err := openFile(context.Background(), Config{Dir: dir, Log: discard()}, home)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func mustSave(t testing.TB, s Store, id string, data []byte) {
	t.Helper()
	if err := s.Save(context.Background(), id, data); err != nil {
		t.Fatalf("Save(%q) = %v", id, err)
	}
}

func wantRecord(t testing.TB, s Store, id string, want []byte) {
	t.Helper()
	if got, err := s.Load(context.Background(), id); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Load(%q) = %d bytes, %v; want the %d bytes saved", id, len(got), err, len(want))
	}
}

// wantCorrupt wants the sentence that tells a person what to do.
func wantCorrupt(t testing.TB, s Store, id string) {
	t.Helper()
	data, err := s.Load(context.Background(), id)
	if !errors.Is(err, ErrCorrupt) || ReasonOf(err) != Corrupt || data != nil || !strings.Contains(err.Error(), "sign in again") {
		t.Fatalf("Load(%q) = %d bytes, %v; want ErrCorrupt and what to do", id, len(data), err)
	}
}

// damage lists what can happen to a file.
var damage = map[string]func([]byte) []byte{
	"empty":          func([]byte) []byte { return nil },
	"one byte":       func(b []byte) []byte { return b[:1] },
	"half":           func(b []byte) []byte { return b[:len(b)/2] },
	"last byte gone": func(b []byte) []byte { return b[:len(b)-1] },
	"zeroed tail":    func(b []byte) []byte { return append(bytes.Clone(b[:len(b)/2]), make([]byte, len(b)-len(b)/2)...) },
	"longer":         func(b []byte) []byte { return append(bytes.Clone(b), 0) },
	"far too long":   func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 2*MaxSize)...) },
	"other program":  func([]byte) []byte { return []byte(strings.Repeat("hello world\n", 40)) },
	"newer version":  func(b []byte) []byte { b = bytes.Clone(b); b[4]++; return b },
	"generation":     func(b []byte) []byte { b = bytes.Clone(b); b[12] ^= 1; return b },
	"nonce":          func(b []byte) []byte { b = bytes.Clone(b); b[fileHeaderSize] ^= 1; return b },
	"flipped bit":    func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 0x10; return b },
	"flipped tag":    func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b },
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newestPath is the file that holds the newest copy of a record.
func newestPath(t *testing.T, f *fileStore, id string) string {
	t.Helper()
	key, err := f.key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := readTwin(fileSlots{dir: f.dir, key: key}, id)
	if err != nil {
		t.Fatal(err)
	}
	return slotPath(f.dir, id, pair.newest())
}

func TestFileDamaged(t *testing.T) {
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			store := mustOpenFile(t, privateDir(t), nil)

			mustSave(t, store, "first", []byte("the only copy"))
			rewrite(t, newestPath(t, store, "first"), change)
			wantCorrupt(t, store, "first")
			if ids, err := store.List(t.Context()); err != nil || len(ids) != 1 {
				t.Errorf("List = %q, %v; a damaged record is still one", ids, err)
			}
			mustSave(t, store, "first", []byte("new"))
			wantRecord(t, store, "first", []byte("new"))

			var log bytes.Buffer
			store.log = slog.New(slog.NewTextHandler(&log, nil))
			mustSave(t, store, "twice", []byte("older"))
			mustSave(t, store, "twice", []byte("newer"))
			rewrite(t, newestPath(t, store, "twice"), change)
			wantRecord(t, store, "twice", []byte("older"))
			if !strings.Contains(log.String(), "damaged") || !strings.Contains(log.String(), "record=twice") {
				t.Errorf("the log does not tell: %s", log.String())
			}
			mustSave(t, store, "twice", []byte("newest"))
			wantRecord(t, store, "twice", []byte("newest"))
			if err := store.Delete(t.Context(), "twice"); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Load(t.Context(), "twice"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Load after Delete = %v", err)
			}
		})
	}
}

func TestFileSwapped(t *testing.T) {
	store := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, store, "alice", []byte("the secret of alice"))
	mustSave(t, store, "bob", []byte("the secret of bob"))
	alice, err := os.ReadFile(newestPath(t, store, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, newestPath(t, store, "bob"), func([]byte) []byte { return alice })
	wantCorrupt(t, store, "bob")
	wantRecord(t, store, "alice", []byte("the secret of alice"))
}

// TestFileKey loses and damages the key in every way: the records are corrupt,
// and a Save works again.
func TestFileKey(t *testing.T) {
	other := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, other, "x", nil)
	otherKey, err := os.ReadFile(filepath.Join(other.dir, keyName))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"missing":         "-",
		"empty":           "",
		"garbage":         "\x00\x01\x02",
		"cut":             string(otherKey[:len(otherKey)-9]),
		"another key":     string(otherKey),
		"not a key":       keyMagic + " 1 file ====\n",
		"unknown place":   keyMagic + " 1 attic key-00\n",
		"unknown name":    keyMagic + " 1 secret-service key-00\n",
		"wrong in wallet": keyMagic + " 1 secret-service short\n",
	} {
		t.Run(name, func(t *testing.T) {
			home := NewMemory()
			mustSave(t, home, "short", []byte("too short for a key"))
			store := mustOpenFile(t, privateDir(t), nil)
			mustSave(t, store, "account", []byte("secret"))
			store.home = &keyHome{kind: SecretService, store: home}
			path := filepath.Join(store.dir, keyName)
			if content == "-" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			wantCorrupt(t, store, "account")
			if _, err := store.Load(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Load of nothing without a key = %v", err)
			}
			mustSave(t, store, "account", []byte("anew"))
			wantRecord(t, mustOpenFile(t, store.dir, store.home), "account", []byte("anew"))
		})
	}
}

// TestFileKeyOutOfReach: a platform store that is away for now must not lead to
// a second key, which would orphan every record.
func TestFileKeyOutOfReach(t *testing.T) {
	home := &keyHome{kind: SecretService, store: NewMemory()}
	store := mustOpenFile(t, privateDir(t), home)
	mustSave(t, store, "account", []byte("secret"))
	line, err := os.ReadFile(filepath.Join(store.dir, keyName))
	if err != nil || !strings.HasPrefix(string(line), keyMagic+" 1 secret-service key-") {
		t.Fatalf("%s = %q, %v", keyName, line, err)
	}
	for name, away := range map[string]*keyHome{
		"locked":   {kind: SecretService, store: failing{reason: Locked}},
		"other":    {kind: Wincred, store: NewMemory()},
		"no store": nil,
	} {
		t.Run(name, func(t *testing.T) {
			store := mustOpenFile(t, store.dir, away)
			want := Unavailable
			if name == "locked" {
				want = Locked
			}
			if _, err := store.Load(t.Context(), "account"); ReasonOf(err) != want {
				t.Errorf("Load = %v; want %s", err, want)
			}
			if err := store.Save(t.Context(), "account", nil); ReasonOf(err) != want {
				t.Errorf("Save = %v; want %s", err, want)
			}
			if _, err := store.Load(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Load of nothing = %v", err)
			}
		})
	}
	wantRecord(t, mustOpenFile(t, store.dir, home), "account", []byte("secret"))
	// A sign-out needs no key.
	if err := mustOpenFile(t, store.dir, nil).Delete(t.Context(), "account"); err != nil {
		t.Errorf("Delete without the key = %v", err)
	}
}

// TestFileKeyStaysWhenHomeDoesNotAnswer: the key goes into a file then.
func TestFileKeyStaysWhenHomeDoesNotAnswer(t *testing.T) {
	home := &keyHome{kind: SecretService, store: failing{reason: Unavailable}}
	store := mustOpenFile(t, privateDir(t), home)
	mustSave(t, store, "account", []byte("secret"))
	if place := store.keyPlace(); place != string(File) {
		t.Errorf("the key is in %q", place)
	}
	wantRecord(t, mustOpenFile(t, store.dir, nil), "account", []byte("secret"))
}

// failing is a platform store that does not work.
type failing struct{ reason Reason }

func (f failing) err() error { return &Error{Op: "test", Reason: f.reason} }

func (f failing) Save(context.Context, string, []byte) error   { return f.err() }
func (f failing) Load(context.Context, string) ([]byte, error) { return nil, f.err() }
func (f failing) Delete(context.Context, string) error         { return f.err() }
func (f failing) List(context.Context) ([]string, error)       { return nil, f.err() }

func TestFileLeftovers(t *testing.T) {
	store := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, store, "account", []byte("secret"))
	gone := []string{".record-account.a.123456", ".record-account.b.987", ".store.key.5", ".auto.1"}
	kept := []string{"record-account.a.bak", "record-account.a.1", ".account.a.1", ".notes.txt.1", "notes.txt", ".hidden"}
	for _, name := range append(gone, kept...) {
		if err := os.WriteFile(filepath.Join(store.dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantRecord(t, mustOpenFile(t, store.dir, nil), "account", []byte("secret"))
	for _, name := range gone {
		if fileExists(filepath.Join(store.dir, name)) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range kept {
		if !fileExists(filepath.Join(store.dir, name)) {
			t.Errorf("%s is not ours and was removed", name)
		}
	}
}

// TestFileDirectoryRemoved: a wiped state directory is an empty store that
// works, not one that writes records under a key that is gone.
func TestFileDirectoryRemoved(t *testing.T) {
	store := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, store, "account", []byte("secret"))
	if err := os.RemoveAll(store.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(t.Context(), "account"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Load = %v", err)
	}
	mustSave(t, store, "account", []byte("again"))
	wantRecord(t, mustOpenFile(t, store.dir, nil), "account", []byte("again"))
}

// TestFileHoldsNoPlainText looks for the secret in every file.
func TestFileHoldsNoPlainText(t *testing.T) {
	store := mustOpenFile(t, privateDir(t), nil)
	mustSave(t, store, "account", bytes.Repeat([]byte("CANARY"), 100))
	entries, err := os.ReadDir(store.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if content, _ := os.ReadFile(filepath.Join(store.dir, e.Name())); bytes.Contains(content, []byte("CANARY")) {
			t.Errorf("%s holds the secret", e.Name())
		}
	}
}

func FuzzOpenRecord(f *testing.F) {
	key := bytes.Repeat([]byte{7}, keySize)
	for _, size := range []int{0, 1, 100} {
		content, err := sealRecord(key, "account", 3, make([]byte, size))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[:len(content)/2])
	}
	f.Add([]byte(fileMagic))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := openRecord(key, "account", content)
		switch r.state {
		case whole:
			if len(r.data) != len(content)-fileOverhead || r.why != nil {
				t.Errorf("%d bytes opened to %d", len(content), len(r.data))
			}
		case torn:
			if r.why == nil || r.data != nil {
				t.Error("a torn record without a reason, or with data")
			}
		default:
			t.Errorf("state %d", r.state)
		}
	})
}

func FuzzParseKeyLine(f *testing.F) {
	f.Add(keyMagic + " 1 file AAAA")
	f.Add(keyMagic + " 1 wincred key-0123456789abcdef\n")
	f.Fuzz(func(t *testing.T, line string) {
		kind, value, err := parseKeyLine(line)
		if err == nil && kind != File && ValidID(value) != nil {
			t.Errorf("%q gives the name %q", line, value)
		}
	})
}
