// Package credstoretest is the contract of a credstore.Store as a test suite.
// Memory, file, Secret Service and Credential Manager all pass it, and so must
// any fake that stands for one of them.
package credstoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/m365-token-broker/broker/internal/credstore"
)

// Reopener is what a store has that outlives its process: Reopen gives a new
// Store over the same records.
type Reopener interface {
	Reopen(t testing.TB) credstore.Store
}

// Reopenable makes a Reopener of a store: again opens it once more.
func Reopenable(store credstore.Store, again func(testing.TB) credstore.Store) credstore.Store {
	return reopenable{Store: store, again: again}
}

type reopenable struct {
	credstore.Store
	again func(testing.TB) credstore.Store
}

// Reopen implements Reopener.
func (r reopenable) Reopen(t testing.TB) credstore.Store {
	t.Helper()
	return r.again(t)
}

// Run holds the stores that newStore makes to the contract. Every call of
// newStore must give an empty store of its own.
func Run(t *testing.T, newStore func(t *testing.T) credstore.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, credstore.Store)
	}{
		{"NotFound", notFound},
		{"RoundTrip", roundTrip},
		{"AnyByte", anyByte},
		{"Overwrite", overwrite},
		{"BytesAreCopied", bytesAreCopied},
		{"List", list},
		{"Delete", deleteTwice},
		{"IDs", ids},
		{"TooBig", tooBig},
		{"Cancelled", cancelled},
		{"ManyIDs", manyIDs},
		{"OneID", oneID},
		{"Reopen", reopen},
		{"Check", check},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newStore(t)) })
	}
}

// Blob gives size bytes that do not compress and that tell seeds apart.
func Blob(seed uint64, size int) []byte {
	var b []byte
	for block := uint64(0); len(b) < size; block++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seed), block))
		b = append(b, sum[:]...)
	}
	return b[:size:size]
}

func save(t testing.TB, s credstore.Store, id string, data []byte) {
	t.Helper()
	if err := s.Save(context.Background(), id, data); err != nil {
		t.Fatalf("Save(%q, %d bytes) = %v", id, len(data), err)
	}
}

func wantLoad(t testing.TB, s credstore.Store, id string, want []byte) {
	t.Helper()
	got, err := s.Load(context.Background(), id)
	if err != nil {
		t.Fatalf("Load(%q) = %v", id, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Load(%q) gave %d bytes that are not the %d bytes saved", id, len(got), len(want))
	}
}

func wantMissing(t testing.TB, s credstore.Store, id string) {
	t.Helper()
	if data, err := s.Load(context.Background(), id); !errors.Is(err, credstore.ErrNotFound) || data != nil {
		t.Fatalf("Load(%q) = %d bytes, %v; want ErrNotFound", id, len(data), err)
	}
}

func wantList(t testing.TB, s credstore.Store, want ...string) {
	t.Helper()
	got, err := s.List(context.Background())
	if err != nil {
		t.Fatalf("List = %v", err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List = %q, want %q", got, want)
	}
}

func notFound(t *testing.T, s credstore.Store) {
	wantMissing(t, s, "nobody")
	wantList(t, s)
	save(t, s, "somebody", Blob(1, 100))
	wantMissing(t, s, "some")
	wantMissing(t, s, "somebody-else")
}

// sizes are the edges: nothing, one byte, one credential of Windows (2,560
// with and without the header), two of them, a large sign-in, the limit.
var sizes = []int{0, 1, 2, 100, 511, 512, 513, 2505, 2506, 2507, 2559, 2560, 2561, 5011, 5012, 5013, 5120, 8192, 12288, credstore.MaxSize}

func roundTrip(t *testing.T, s credstore.Store) {
	for _, size := range sizes {
		data := Blob(uint64(size), size)
		save(t, s, "account", data)
		wantLoad(t, s, "account", data)
	}
}

func anyByte(t *testing.T, s credstore.Store) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for i, data := range [][]byte{all, make([]byte, 3000), bytes.Repeat([]byte{0xff}, 3000), []byte("line\r\nline\n\x00tail"), []byte("ключ 鍵 🔑")} {
		id := fmt.Sprintf("bytes-%d", i)
		save(t, s, id, data)
		wantLoad(t, s, id, data)
	}
}

func overwrite(t *testing.T, s credstore.Store) {
	for i, size := range []int{200, 12000, 200, 2560, 2561, 2506, 2507, 0, 6000, 0, 1} {
		data := Blob(uint64(i), size)
		save(t, s, "account", data)
		wantLoad(t, s, "account", data)
		wantList(t, s, "account")
	}
}

func bytesAreCopied(t *testing.T, s credstore.Store) {
	data := []byte("as it was saved")
	save(t, s, "account", data)
	data[0] = '!'
	got, err := s.Load(context.Background(), "account")
	if err != nil {
		t.Fatal(err)
	}
	got[1] = '!'
	wantLoad(t, s, "account", []byte("as it was saved"))
}

func list(t *testing.T, s credstore.Store) {
	for _, id := range []string{"b", "a-1", "a", "c-", "0"} {
		save(t, s, id, []byte(id))
	}
	save(t, s, "long", Blob(1, 9000)) // several pieces, one id
	wantList(t, s, "0", "a", "a-1", "b", "c-", "long")
	if err := s.Delete(context.Background(), "b"); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, "0", "a", "a-1", "c-", "long")
}

func deleteTwice(t *testing.T, s credstore.Store) {
	ctx := context.Background()
	save(t, s, "stays", Blob(1, 3000))
	for _, size := range []int{10, 9000} {
		save(t, s, "goes", Blob(2, size))
		save(t, s, "goes", Blob(3, size/2))
		for range 2 {
			if err := s.Delete(ctx, "goes"); err != nil {
				t.Fatalf("Delete = %v", err)
			}
			wantMissing(t, s, "goes")
			wantList(t, s, "stays")
		}
	}
	if err := s.Delete(ctx, "never-was"); err != nil {
		t.Fatalf("Delete of what never was = %v", err)
	}
	wantLoad(t, s, "stays", Blob(1, 3000))
	save(t, s, "goes", Blob(4, 20))
	wantLoad(t, s, "goes", Blob(4, 20))
}

func ids(t *testing.T, s credstore.Store) {
	ctx := context.Background()
	longest := strings.Repeat("z", credstore.MaxID)
	for _, id := range []string{"a", "0", "-", longest, "con", "nul", "store-key"} {
		save(t, s, id, []byte(id))
		wantLoad(t, s, id, []byte(id))
	}
	for _, id := range []string{"", longest + "z", "A", "a_b", "a.b", "a/b", `a\b`, "a:b", "a*", "a b", "..", "é", "a\x00"} {
		_, loadErr := s.Load(ctx, id)
		for op, err := range map[string]error{"Save": s.Save(ctx, id, nil), "Load": loadErr, "Delete": s.Delete(ctx, id)} {
			if credstore.ReasonOf(err) != credstore.InvalidID {
				t.Errorf("%s(%q) = %v; want InvalidID", op, id, err)
			}
		}
	}
}

func tooBig(t *testing.T, s credstore.Store) {
	save(t, s, "account", []byte("small"))
	err := s.Save(context.Background(), "account", make([]byte, credstore.MaxSize+1))
	if credstore.ReasonOf(err) != credstore.TooBig {
		t.Fatalf("Save of MaxSize+1 bytes = %v; want TooBig", err)
	}
	wantLoad(t, s, "account", []byte("small"))
}

func cancelled(t *testing.T, s credstore.Store) {
	save(t, s, "account", []byte("kept"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, loadErr := s.Load(ctx, "account")
	_, listErr := s.List(ctx)
	for op, err := range map[string]error{
		"Save": s.Save(ctx, "account", []byte("lost")), "Load": loadErr,
		"Delete": s.Delete(ctx, "account"), "List": listErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context = %v", op, err)
		}
	}
	wantLoad(t, s, "account", []byte("kept"))
}

func manyIDs(t *testing.T, s credstore.Store) {
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			id := fmt.Sprintf("account-%d", g)
			for i := range 5 {
				data := Blob(uint64(g*100+i), (g*977+i*1501)%6000)
				if err := s.Save(context.Background(), id, data); err != nil {
					t.Errorf("Save(%q) = %v", id, err)
				}
				if got, err := s.Load(context.Background(), id); err != nil || !bytes.Equal(got, data) {
					t.Errorf("Load(%q) = %d bytes, %v; want the %d bytes just saved", id, len(got), err, len(data))
				}
			}
		})
	}
	all.Wait()
	if got, err := s.List(context.Background()); err != nil || len(got) != 8 {
		t.Errorf("List = %q, %v; want 8 ids", got, err)
	}
}

// oneID has many writers and readers of one record: a reader must see one of
// the records whole, never a piece or a mixture.
func oneID(t *testing.T, s credstore.Store) {
	whole := map[string]bool{}
	for g := range 6 {
		whole[string(Blob(uint64(g), 1000+g*1500))] = true
	}
	save(t, s, "shared", Blob(0, 1000))
	var all sync.WaitGroup
	for g := range 6 {
		all.Go(func() {
			for range 4 {
				if err := s.Save(context.Background(), "shared", Blob(uint64(g), 1000+g*1500)); err != nil {
					t.Errorf("Save = %v", err)
				}
			}
		})
		all.Go(func() {
			for range 8 {
				if got, err := s.Load(context.Background(), "shared"); err != nil || !whole[string(got)] {
					t.Errorf("Load = %d bytes, %v; want one of the records", len(got), err)
				}
			}
		})
	}
	all.Wait()
}

func reopen(t *testing.T, s credstore.Store) {
	r, ok := s.(Reopener)
	if !ok {
		save(t, s, "account", Blob(1, 10)) // nothing to open again
		return
	}
	save(t, s, "account", Blob(1, 7000))
	save(t, s, "account", Blob(2, 300))
	save(t, s, "other", Blob(3, 12000))
	again := r.Reopen(t)
	wantLoad(t, again, "account", Blob(2, 300))
	wantLoad(t, again, "other", Blob(3, 12000))
	wantList(t, again, "account", "other")
	save(t, again, "account", Blob(4, 2561))
	wantLoad(t, s, "account", Blob(4, 2561))
	wantLoad(t, r.Reopen(t), "account", Blob(4, 2561))
}

func check(t *testing.T, s credstore.Store) {
	save(t, s, "account", Blob(1, 100))
	var all sync.WaitGroup
	for range 2 { // at once
		all.Go(func() {
			if err := credstore.Check(context.Background(), s); err != nil {
				t.Errorf("Check = %v", err)
			}
		})
	}
	all.Wait()
	wantList(t, s, "account")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := credstore.Check(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("Check with a cancelled context = %v", err)
	}
}
