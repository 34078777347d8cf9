package mapiadapter

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// victimEnv makes TestLedgerVictim append to the ledger in its working
// directory, with the limit that this is, until it is killed.
const victimEnv = "BROKER_TEST_LEDGER_VICTIM"

// TestLedgerVictim is the process that TestLedgerKilled kills. By itself it
// tests nothing.
func TestLedgerVictim(t *testing.T) {
	limit, err := strconv.ParseInt(os.Getenv(victimEnv), 10, 64)
	if err != nil {
		return
	}
	l, err := openLedger(".", "outlook", limit)
	if err != nil {
		t.Fatal(err)
	}
	for {
		last, _ := l.Last()
		n := last.Seq + 1
		fmt.Println("try", n)
		pad := strings.Repeat("x", rand.IntN(1500))
		e, err := l.Append(Entry{On: time.Now(), State: json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad))})
		if err != nil || e.Seq != n {
			t.Fatalf("entry %d: %+v, %v", n, e, err)
		}
		fmt.Println("ok", n)
	}
}

// kill -9 at random points of Append: every acknowledged entry is there, whole,
// with no gap and nothing damaged.
func TestLedgerKilled(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 20
	}
	for name, limit := range map[string]int64{"one file": maxLedger, "rotating": 8 << 10} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var last uint64
			inFlight := 0
			for range kills {
				tried, okayed := oneLedgerVictim(t, dir, limit, last)
				l := openTest(t, dir, limit)
				if l.Damaged() != 0 {
					t.Fatalf("%d damaged lines", l.Damaged())
				}
				e, ok := l.Last()
				if e.Seq < okayed || e.Seq > tried || ok != (e.Seq > 0) {
					t.Fatalf("the last is %d; %d was acknowledged and %d was in flight", e.Seq, okayed, tried)
				}
				if tried > okayed {
					inFlight++
				}
				l.Close()
				last = e.Seq
				if !ok {
					continue
				}
				for _, e := range wantContiguous(t, l, last) {
					if !strings.HasPrefix(string(e.State), fmt.Sprintf(`{"n":%d,`, e.Seq)) {
						t.Fatalf("entry %d has the state %.40s", e.Seq, e.State)
					}
				}
			}
			if tail := wantContiguous(t, openTest(t, dir, limit), last); limit == maxLedger && last < 600 && len(tail) != int(last) {
				t.Errorf("%d entries of %d", len(tail), last)
			}
			t.Logf("%d kills, %d of them with an entry in flight, %d entries, 0 lost", kills, inFlight, last)
		})
	}
}

// oneLedgerVictim runs a victim into one of its first entries, kills it there,
// and says which entry it tried last and which was acknowledged last.
func oneLedgerVictim(t *testing.T, dir string, limit int64, before uint64) (tried, okayed uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestLedgerVictim$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), victimEnv+"="+strconv.FormatInt(limit, 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tried, okayed = before, before
	last := before + 1 + rand.N(uint64(5))
	var other strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var word string
		var n uint64
		if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil || (word != "ok" && word != "try") {
			fmt.Fprintln(&other, lines.Text())
			continue
		}
		if word == "ok" {
			okayed = n
			continue
		}
		if tried = n; n == last {
			time.AfterFunc(rand.N(2*time.Millisecond), func() { cmd.Process.Kill() })
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || tried < last {
		t.Fatalf("the victim ended by itself: %v\n%s", err, other.String())
	}
	return tried, okayed
}
