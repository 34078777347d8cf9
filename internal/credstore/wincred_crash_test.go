package credstore

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// crashSizes are records of 0.2 to 12 KB: one chunk to five, the edges of a chunk.
var crashSizes = []int{0, 200, payloadSize - 1, payloadSize, payloadSize + 1, 2 * payloadSize, 6000, 12000}

// TestWincredCrashOnSave cuts a Save short at every write and delete, in every
// way, over records that grow and shrink, with and without a record before, and
// with debris of an earlier crash. Afterwards the record is the old or the new
// one, and the next Save is right and leaves nothing over.
func TestWincredCrashOnSave(t *testing.T) {
	cases := 0
	for _, before := range crashSizes {
		for _, earlier := range []int{-1, 200, 12000} { // what the other slot holds
			for _, after := range crashSizes {
				base := newFakeCredentials(t)
				if earlier >= 0 {
					mustSave(t, fakeWincred(base), victimID, blob(1, earlier))
				}
				mustSave(t, fakeWincred(base), victimID, blob(2, before))
				cases += crashEverySave(t, base, blob(2, before), blob(3, after))
			}
		}
	}
	t.Logf("%d crashes, 0 lost, 0 mixed", cases)
}

// TestWincredCrashOnFirstSave has nothing to lose, and must not invent.
func TestWincredCrashOnFirstSave(t *testing.T) {
	for _, size := range crashSizes {
		crashEverySave(t, newFakeCredentials(t), nil, blob(3, size))
	}
}

// TestWincredCrashTwice crashes again in the Save after a crash.
func TestWincredCrashTwice(t *testing.T) {
	cases := 0
	for mode := range tornModes {
		for at := 1; at <= 6; at++ {
			base := newFakeCredentials(t)
			mustSave(t, fakeWincred(base), victimID, blob(1, 9000))
			mustSave(t, fakeWincred(base), victimID, blob(2, 6000))
			base.boot(at, mode)
			err := fakeWincred(base).Save(t.Context(), victimID, blob(3, 7000))
			base.boot(0, 0)
			now, loadErr := fakeWincred(base).Load(t.Context(), victimID)
			if loadErr != nil {
				t.Fatalf("crash %d/%d (%v): %v", at, mode, err, loadErr)
			}
			cases += crashEverySave(t, base, now, blob(4, 12000))
		}
	}
	t.Logf("%d crashes after a crash", cases)
}

// crashEverySave saves after over base once for every call and torn mode.
func crashEverySave(t *testing.T, base *fakeCredentials, before, after []byte) (cases int) {
	t.Helper()
	for mode := range tornModes {
		for at := 1; ; at++ {
			fake := base.fork()
			fake.boot(at, mode)
			err := fakeWincred(fake).Save(t.Context(), victimID, after)
			if !fake.down {
				if err != nil {
					t.Fatalf("Save without a crash = %v", err)
				}
				break // there is no such call any more
			}
			if err == nil {
				t.Fatal("a Save that crashed says it is done")
			}
			cases++
			name := fmt.Sprintf("%d -> %d bytes, crash at call %d, torn mode %d", len(before), len(after), at, mode)
			fake.boot(0, 0)
			afterCrash(t, name, fake, before, after)
		}
	}
	return cases
}

func afterCrash(t *testing.T, name string, fake *fakeCredentials, before, after []byte) {
	t.Helper()
	got, err := fakeWincred(fake).Load(t.Context(), victimID)
	switch {
	case err == nil && bytes.Equal(got, after): // it was done
	case err == nil && before != nil && bytes.Equal(got, before): // it was not
	case before == nil && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt)): // nothing was promised yet
	default:
		t.Fatalf("%s: Load = %d bytes, %v", name, len(got), err)
	}
	store := fakeWincred(fake)
	if err := store.sweep(t.Context()); err != nil {
		t.Fatalf("%s: sweep: %v", name, err)
	}
	if again, againErr := store.Load(t.Context(), victimID); !bytes.Equal(again, got) || (err == nil) != (againErr == nil) {
		t.Fatalf("%s: the sweep changed the record", name)
	}
	for i := range 2 { // both slots
		next := blob(uint64(10+i), 300+i*5000)
		mustSave(t, store, victimID, next)
		wantRecord(t, store, victimID, next)
	}
	if want := 1 + 3; len(fake.values) != want {
		t.Fatalf("%s: %d credentials are left, want %d", name, len(fake.values), want)
	}
}

// TestWincredCrashOnDelete: cut short, a Delete leaves the record, nothing, or
// a damaged record, and never the record of before; the next one removes all.
func TestWincredCrashOnDelete(t *testing.T) {
	for _, older := range crashSizes {
		for _, newer := range crashSizes {
			base := newFakeCredentials(t)
			mustSave(t, fakeWincred(base), victimID, blob(1, older))
			mustSave(t, fakeWincred(base), victimID, blob(2, newer))
			for mode := range tornModes {
				for at := 1; ; at++ {
					fake := base.fork()
					fake.boot(at, mode)
					err := fakeWincred(fake).Delete(t.Context(), victimID)
					if !fake.down {
						break
					}
					if err == nil {
						t.Fatal("a Delete that crashed says it is done")
					}
					fake.boot(0, 0)
					afterDeleteCrash(t, fake, blob(2, newer))
				}
			}
		}
	}
}

func afterDeleteCrash(t *testing.T, fake *fakeCredentials, newer []byte) {
	t.Helper()
	store := fakeWincred(fake)
	got, err := store.Load(t.Context(), victimID)
	if (err != nil || !bytes.Equal(got, newer)) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Load after an interrupted Delete = %d bytes, %v", len(got), err)
	}
	if err := store.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if errors.Is(err, ErrNotFound) && len(fake.values) != 0 {
		t.Fatalf("the sweep left %d credentials of a deleted record", len(fake.values))
	}
	if err := store.Delete(t.Context(), victimID); err != nil || len(fake.values) != 0 {
		t.Fatalf("Delete after an interrupted Delete = %v, %d credentials are left", err, len(fake.values))
	}
}
