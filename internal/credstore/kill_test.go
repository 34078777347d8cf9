package credstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// massacre starts processes that rotate a record and kills each at a random
// moment, until it has killed them and seen rotations often enough. After each
// kill the record must be the last one acknowledged or the one in flight.
func massacre(t *testing.T, what string, reopen func() Store, kills, rotations int) {
	t.Helper()
	acknowledged, killed, inFlight := 0, 0, 0
	pace := 5 * time.Millisecond
	for killed < kills || acknowledged < rotations {
		if killed > 20*kills {
			t.Fatalf("%d kills and %d rotations: no progress", killed, acknowledged)
		}
		tried, okayed := oneVictim(t, what, acknowledged, &pace)
		killed++
		data, err := reopen().Load(t.Context(), victimID)
		if okayed == 0 && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt)) {
			continue // killed before the very first Save was done
		}
		if err != nil {
			t.Fatalf("after kill %d, generation %d acknowledged, %d in flight: %v", killed, okayed, tried, err)
		}
		got, err := victimGeneration(data, okayed, max(tried, okayed))
		if err != nil {
			t.Fatalf("after kill %d, generation %d acknowledged, %d in flight: %v", killed, okayed, tried, err)
		}
		if tried > okayed {
			inFlight++
		}
		acknowledged = got
	}
	t.Logf("%d kills, %d of them with a Save in flight, %d rotations, 0 lost", killed, inFlight, acknowledged)
}

// oneVictim runs a victim into one of its first rotations, kills it at a random
// moment of that, and says which generation it tried last and which was
// acknowledged last, beginning with what was there before. pace is how long a
// rotation takes; it is corrected by what is seen.
func oneVictim(t *testing.T, what string, before int, pace *time.Duration) (tried, okayed int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tried, okayed = before, before
	last := before + 1 + rand.N(3) // the rotation to die in
	var began time.Time
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var word string
		var generation int
		if _, err := fmt.Sscan(lines.Text(), &word, &generation); err != nil {
			break // the last line was cut by the kill
		}
		if word == "ok" {
			okayed = generation
			*pace = (*pace + time.Since(began)) / 2
			continue
		}
		tried, began = generation, time.Now()
		if generation == last {
			time.AfterFunc(rand.N(*pace), func() { cmd.Process.Kill() })
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || !killedByTest(exit) {
		t.Fatalf("the victim ended by itself: %v", err)
	}
	return tried, okayed
}

// TestKillFile is the promise of the file store: kill -9 at random points of
// rotations loses no sign-in.
func TestKillFile(t *testing.T) {
	dir := privateDir(t)
	kills := 200
	if testing.Short() {
		kills = 25
	}
	reopen := func() Store {
		store, err := openFile(context.Background(), Config{Dir: dir, Log: discard()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	massacre(t, "file "+dir, reopen, kills, 200)
	if entries, _ := os.ReadDir(dir); len(entries) > 4 {
		t.Errorf("leftovers in %s: %v", dir, entries) // two slots, the key, the lock
	}
	// And the store goes on.
	if err := reopen().Save(t.Context(), victimID, blob(1, 100)); err != nil {
		t.Fatal(err)
	}
}
