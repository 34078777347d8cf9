package credstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// helperEnv makes the test binary the victim of a kill test instead: its value
// is "file <dir>" or "wincred <target prefix>".
const helperEnv = "BROKER_TEST_CREDSTORE_VICTIM"

func TestMain(m *testing.M) {
	if what := os.Getenv(helperEnv); what != "" {
		fmt.Fprintln(os.Stderr, runVictim(what))
		os.Exit(3) // TerminateProcess gives 1
	}
	os.Exit(m.Run())
}

// blob gives size bytes that do not compress and that tell seeds apart.
func blob(seed uint64, size int) []byte {
	noise := rand.New(rand.NewPCG(seed, 365))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(noise.Uint32())
	}
	return b
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// victimID is the record that the kill tests rotate.
const victimID = "account"

// victimRecord is the record of a generation: 0.2 to 12 KB, growing and
// shrinking, so that every rotation of the real product is in it.
func victimRecord(generation int) []byte {
	return blob(uint64(generation), 200+(generation*2657)%11800)
}

// victimGeneration tells which generation, between low and high, a record is.
func victimGeneration(data []byte, low, high int) (int, error) {
	for g := low; g <= high; g++ {
		if string(data) == string(victimRecord(g)) {
			return g, nil
		}
	}
	return 0, fmt.Errorf("%d bytes are none of the generations %d to %d", len(data), low, high)
}

// runVictim rotates the record until it is killed. Before each Save it prints
// "try N", after it "ok N".
func runVictim(what string) error {
	kind, where, _ := strings.Cut(what, " ")
	ctx := context.Background()
	var store Store
	var err error
	switch kind {
	case "file":
		store, err = openFile(ctx, Config{Dir: where, Log: discard()}, nil)
	case "wincred":
		store, err = openWincred(where, discard())
	}
	if err != nil {
		return err
	}
	generation := 0
	data, err := store.Load(ctx, victimID)
	if err == nil {
		generation, err = victimGeneration(data, 1, 1<<20)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for {
		generation++
		fmt.Printf("try %d\n", generation)
		if err := store.Save(ctx, victimID, victimRecord(generation)); err != nil {
			return err
		}
		fmt.Printf("ok %d\n", generation)
	}
}
