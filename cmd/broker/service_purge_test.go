package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
)

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	p := &parts{
		store:  credstore.NewMemory(),
		log:    slog.New(slog.DiscardHandler),
		loaded: &config.Loaded{Places: config.Places{StateDir: dir}},
	}
	records := func() int {
		t.Helper()
		ids, err := p.store.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(ids)
	}
	for _, id := range []string{"account-a", agentKeyID} {
		if err := p.store.Save(t.Context(), id, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.purge(t.Context()); err != nil || records() != 2 {
		t.Fatalf("nobody asked, and %d of 2 records are left; err = %v", records(), err)
	}
	if err := askToPurge(dir); err != nil {
		t.Fatal(err)
	}
	if err := p.purge(t.Context()); err != nil || records() != 0 {
		t.Errorf("%d records are left; err = %v", records(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, purgeMark)); !os.IsNotExist(err) {
		t.Errorf("the request is still there: %v", err)
	}
}
