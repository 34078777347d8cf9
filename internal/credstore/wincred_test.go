package credstore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestWincredTargets(t *testing.T) {
	fake := newFakeCredentials(t)
	store := fakeWincred(fake)
	mustSave(t, store, "account-1", blob(1, 6000))
	want := map[string]int{"M365TokenBroker:account-1:B:0": 2560, "M365TokenBroker:account-1:B:1": 2560, "M365TokenBroker:account-1:B:2": 6000 - 2*payloadSize + headerSize}
	got := map[string]int{}
	for low, name := range fake.names {
		got[name] = len(fake.values[low])
	}
	if !maps.Equal(got, want) {
		t.Errorf("credentials %v, want %v", got, want)
	}
	longest := strings.Repeat("z", MaxID)
	if n := len(store.slots.target(longest, slotB, maxChunks)); n > targetLimit {
		t.Errorf("the longest name has %d characters", n)
	}
	for _, target := range []string{
		"M365TokenBroker:a:A:00", "M365TokenBroker:a:A:-1", "M365TokenBroker:a:C:0", "M365TokenBroker:a:a:0",
		"M365TokenBroker:a:A", "M365TokenBroker:file-store:key-1:A:0", "M365TokenBroker:A:A:0", "Other:a:A:0", "",
	} {
		if id, s, i, ok := store.slots.parseTarget(target); ok {
			t.Errorf("%q was taken for %q %s %d", target, id, s, i)
		}
	}
}

// TestWincredIsAlone: what other programs, or our own file store, keep there
// is neither listed nor removed.
func TestWincredIsAlone(t *testing.T) {
	fake := newFakeCredentials(t)
	others := []string{"git:https://example.test", "M365TokenBroker", "M365TokenBroker:file-store:key-1:A:0", "M365TokenBroker:odd"}
	for _, target := range others {
		fake.put(target, []byte("x"))
	}
	store := fakeWincred(fake)
	mustSave(t, store, "account", blob(1, 3000))
	if ids, err := store.List(t.Context()); err != nil || len(ids) != 1 || ids[0] != "account" {
		t.Errorf("List = %q, %v", ids, err)
	}
	if err := errors.Join(store.sweep(t.Context()), store.Delete(t.Context(), "account")); err != nil {
		t.Fatal(err)
	}
	if len(fake.values) != len(others) {
		t.Errorf("%d credentials are left, want the %d of others", len(fake.values), len(others))
	}
}

// TestWincredErrors gives every system error its reason, in every operation.
func TestWincredErrors(t *testing.T) {
	for errno, want := range map[syscall.Errno]Reason{
		5: Permission, 8: Quota, 1312: NoLogonSession, 1722: Unavailable, 1783: TooBig, 87: Failed,
	} {
		fake := newFakeCredentials(t)
		store := fakeWincred(fake)
		mustSave(t, store, "account", []byte("CANARY"))
		fake.fail = errno
		_, loadErr := store.Load(t.Context(), "account")
		_, listErr := store.List(t.Context())
		for op, err := range map[string]error{
			"Save": store.Save(t.Context(), "account", []byte("CANARY")), "Load": loadErr,
			"Delete": store.Delete(t.Context(), "account"), "List": listErr, "Check": Check(t.Context(), store),
		} {
			if ReasonOf(err) != want || !errors.Is(err, errno) {
				t.Errorf("%s on error %d = %v; want %s", op, errno, err, want)
			}
			if text := err.Error(); !strings.Contains(text, want.Remedy()) || !strings.Contains(text, strconv.Itoa(int(errno))) || strings.Contains(text, "CANARY") {
				t.Errorf("%s on error %d says %q", op, errno, text)
			}
		}
		fake.fail = nil
		wantRecord(t, store, "account", []byte("CANARY"))
	}
}

// TestWincredFailedWrite fails one write without a crash: the record of before
// stays, and the next Save is fine.
func TestWincredFailedWrite(t *testing.T) {
	fake := newFakeCredentials(t)
	store := fakeWincred(fake)
	mustSave(t, store, "account", blob(1, 6000))
	for at := 1; at <= 3; at++ {
		fake.boot(at, tornNothing)
		if err := store.Save(t.Context(), "account", blob(2, 6000)); err == nil {
			t.Fatal("no error")
		}
		fake.boot(0, 0)
		wantRecord(t, store, "account", blob(1, 6000))
	}
	mustSave(t, store, "account", blob(3, 6000))
	wantRecord(t, store, "account", blob(3, 6000))
}

func TestWincredBusy(t *testing.T) {
	busy := &Error{Op: opOpen, Reason: Busy}
	store := newWincredStore(newFakeCredentials(t), noLock{err: busy}, targetPrefix, discard())
	if err := store.Save(t.Context(), "account", nil); ReasonOf(err) != Busy {
		t.Errorf("Save = %v", err)
	}
	store.turn <- struct{}{} // somebody is in
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Load(ctx, "account"); !errors.Is(err, context.Canceled) {
		t.Errorf("Load while waiting = %v", err)
	}
}

// TestWincredLimits holds to what Windows enforces and Wine does not.
func TestWincredLimits(t *testing.T) {
	l := limited{newFakeCredentials(t)}
	if err := l.Write("M365TokenBroker:x", make([]byte, 2560)); err != nil {
		t.Errorf("2,560 bytes: %v", err)
	}
	if err := l.Write("M365TokenBroker:x", make([]byte, 2561)); ReasonOf(err) != TooBig {
		t.Errorf("2,561 bytes: %v", err)
	}
	for _, target := range []string{`M365TokenBroker:a\b`, "M365TokenBroker:*", "M365TokenBroker:" + strings.Repeat("x", targetLimit)} {
		if err := l.Write(target, nil); ReasonOf(err) != InvalidID {
			t.Errorf("target %q: %v", target, err)
		}
	}
}

// TestWincredSwapped: chunks moved to another id, or from one save into
// another, are not a record.
func TestWincredSwapped(t *testing.T) {
	fake := newFakeCredentials(t)
	store := fakeWincred(fake)
	mustSave(t, store, "alice", blob(1, 4000))
	mustSave(t, store, "bob", blob(2, 4000))
	fake.put("M365TokenBroker:bob:B:0", fake.values["m365tokenbroker:alice:b:0"])
	wantCorrupt(t, store, "bob")
	fake.put("M365TokenBroker:bob:B:1", fake.values["m365tokenbroker:alice:b:1"])
	wantCorrupt(t, store, "bob")
	wantRecord(t, store, "alice", blob(1, 4000))
	mustSave(t, store, "bob", blob(3, 10))
	wantRecord(t, store, "bob", blob(3, 10))
}

// parseAll parses blobs; ok is false where one of them is no chunk.
func parseAll(blobs [][]byte) (chunks []chunk, ok bool) {
	for _, b := range blobs {
		c, err := parseChunk(b)
		if err != nil {
			return nil, false
		}
		chunks = append(chunks, c)
	}
	return chunks, true
}

func TestChunkFlippedBits(t *testing.T) {
	data := blob(1, payloadSize+40)
	blobs := cut("account", 7, data)
	for n := range blobs {
		for i := range blobs[n] {
			blobs[n][i] ^= 0x04
			if chunks, ok := parseAll(blobs); ok {
				if _, err := join("account", chunks); err == nil {
					t.Fatalf("byte %d of chunk %d was changed and nobody noticed", i, n)
				}
			}
			blobs[n][i] ^= 0x04
		}
	}
	chunks, ok := parseAll(blobs)
	if got, err := join("account", chunks); !ok || err != nil || !bytes.Equal(got, data) {
		t.Fatalf("join = %d bytes, %v", len(got), err)
	}
	if _, err := join("other", chunks); err == nil {
		t.Error("a record was taken for another's")
	}
}

func FuzzParseChunk(f *testing.F) {
	for _, size := range []int{0, 1, payloadSize, payloadSize + 1} {
		for _, b := range cut("account", 1, make([]byte, size)) {
			f.Add(b)
		}
	}
	f.Add([]byte(chunkMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseChunk(b)
		if err == nil && (c.index >= c.count || int(c.count) > maxChunks || len(c.payload) > payloadSize || c.length > MaxSize) {
			t.Errorf("%+v was taken", c)
		}
	})
}

func FuzzJoin(f *testing.F) {
	f.Add([]byte("record"), uint64(1), 0, byte(0))
	f.Add(make([]byte, 6000), uint64(1<<63), 2700, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, generation uint64, at int, flip byte) {
		if len(data) > MaxSize {
			return
		}
		blobs := cut("account", generation, data)
		all := bytes.Join(blobs, nil)
		if at < 0 || at >= len(all) {
			return
		}
		for i, b := range blobs { // flip one bit somewhere
			if at < len(b) {
				blobs[i][at] ^= flip
				break
			}
			at -= len(b)
		}
		chunks, ok := parseAll(blobs)
		if !ok {
			return
		}
		got, err := join("account", chunks)
		if (err == nil) != (flip == 0) || (err == nil && !bytes.Equal(got, data)) {
			t.Errorf("flip %#x: %d bytes became %d, %v", flip, len(data), len(got), err)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	f.Add(wrapRecord("account", []byte("record")))
	f.Add(wrapRecord("account", nil))
	f.Add(envelopeMagic + "  ")
	f.Fuzz(func(t *testing.T, text string) {
		if data, err := unwrapRecord("account", text); err == nil && wrapRecord("account", data) != text {
			t.Errorf("%q was taken", text)
		}
	})
}

// halfMade is Credential Manager as Wine leaves it when a process is killed in
// CredWrite: the credential cannot be read, and a listing stumbles over it.
type halfMade struct {
	credentials
	target string
}

func (h *halfMade) Read(target string) ([]byte, error) {
	if target == h.target {
		return nil, errCredHalfMade
	}
	return h.credentials.Read(target)
}

func (h *halfMade) List(prefix string) ([]string, error) {
	if h.target != "" {
		return nil, errCredHalfMade
	}
	return h.credentials.List(prefix)
}

func (h *halfMade) Write(target string, blob []byte) error {
	if target == h.target {
		h.target = ""
	}
	return h.credentials.Write(target, blob)
}

func TestWincredHealsAHalfMadeCredential(t *testing.T) {
	h := &halfMade{credentials: newFakeCredentials(t)}
	store := newWincredStore(h, noLock{}, targetPrefix, discard())
	mustSave(t, store, "account", []byte("first"))
	mustSave(t, store, "account", []byte("second"))
	targets, err := h.List(targetPrefix)
	if err != nil || len(targets) != 2 {
		t.Fatalf("%q, %v", targets, err)
	}
	h.target = store.slots.target("account", slotB, 0) // the older one, where the next save was killed
	wantRecord(t, store, "account", []byte("second"))
	mustSave(t, store, "account", []byte("third"))
	wantRecord(t, store, "account", []byte("third"))
	if ids, err := store.List(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("List = %q, %v", ids, err)
	}
}
