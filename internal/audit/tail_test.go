package audit

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func all(Line) bool { return true }

func TestTail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	fill(t, dir, 100, 4<<10)
	whole := lines(t, dir)
	for _, n := range []int{1, 7, 60, 100, 500} {
		got, err := Tail(dir, n, all)
		if err != nil {
			t.Fatal(err)
		}
		if want := whole[max(0, len(whole)-n):]; !slices.Equal(texts(got), want) {
			t.Errorf("%d: got %d lines", n, len(got))
		}
	}
	got, err := Tail(dir, 3, func(l Line) bool { return l.Event == TokenIssued })
	if err != nil || len(got) != 3 {
		t.Fatalf("%d lines, %v", len(got), err)
	}
	if got[2].Consumer != "app-96" {
		t.Errorf("%+v", got[2])
	}
}

func texts(lines []Line) []string {
	var all []string
	for _, l := range lines {
		all = append(all, l.String())
	}
	return all
}

// Following misses no line and shows none twice, over rotations and removals, and
// begins where there is no log yet.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "audit")
		ctx, cancel := context.WithCancel(t.Context())
		var got []uint64
		ended := make(chan error, 1)
		go func() {
			ended <- Follow(ctx, dir, 5, all, func(l Line) error {
				got = append(got, l.Seq)
				return nil
			})
		}()
		time.Sleep(2 * lookEvery)
		w := newWriter(dir, slog.New(slog.DiscardHandler))
		w.max = 2 << 10
		for i := range 300 {
			if _, err := w.append([]Line{{Time: now(), Record: happened(i)}}); err != nil {
				t.Fatal(err)
			}
			if i%17 == 0 {
				time.Sleep(lookEvery)
				synctest.Wait()
			}
		}
		time.Sleep(2 * lookEvery)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for i, seq := range got {
			if seq != uint64(i+1) {
				t.Fatalf("line %d is number %d", i+1, seq)
			}
		}
		if uint64(len(got)) != w.seq {
			t.Errorf("%d of %d lines", len(got), w.seq)
		}
		if err := w.shut(); err != nil {
			t.Error(err)
		}
	})
}

// The file that is followed may be renamed between a look at the list and the file.
func TestFollowRenamedMeanwhile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	fill(t, dir, 10, 1<<20)
	_, at, err := tail(dir, 1, all)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, dir, 5, 1<<20) // lines that nobody has read
	if err := os.Rename(filepath.Join(dir, currentName), filepath.Join(dir, fullName(1))); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, 3, 1<<20)
	hidden := filepath.Join(dir, "away")
	if err := os.Rename(filepath.Join(dir, fullName(1)), hidden); err != nil { // as a list that is too old has it
		t.Fatal(err)
	}
	n := 0
	count := func(Line) error { n++; return nil }
	if at, err = at.onward(dir, count); err != nil || n != 0 {
		t.Fatalf("%d lines, %v", n, err)
	}
	if err := os.Rename(hidden, filepath.Join(dir, fullName(1))); err != nil {
		t.Fatal(err)
	}
	if _, err = at.onward(dir, count); err != nil || n != 8 {
		t.Errorf("%d lines, %v", n, err)
	}
	stop := errors.New("enough")
	if _, err := at.onward(dir, func(Line) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}
