package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/lifecycle"
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

// A service that could not take its secrets along is told of; one that goes on
// keeps them.
func TestServicePurge(t *testing.T) {
	w := newServiceWorld(t)
	w.configure("")
	w.want(0, []string{"install"})
	state := filepath.Join(w.dir, "state")
	if err := lifecycle.EnsureStateDir(state); err != nil {
		t.Fatal(err)
	}
	if _, err := lifecycle.AdminKey(state); err != nil {
		t.Fatal(err)
	}
	out, _ := w.run("uninstall", "--purge", "--yes") // nothing ran that could obey
	if !strings.Contains(out, "the secret store was not emptied") || !strings.Contains(out, serviceAccount) {
		t.Error(out)
	}
	if err := errors.Join(askToPurge(state), askNoMore(state), askNoMore(state)); err != nil || stillAsked(state) {
		t.Errorf("it is still asked: %v", err)
	}
	w.want(0, []string{"install"})
	w.want(0, []string{"start"})
	w.manager.stuck = true
	if out, code := w.run("uninstall", "--purge", "--yes"); code != 1 || stillAsked(state) {
		t.Errorf("the service goes on, and would lose its secrets: code %d, %s", code, out)
	}
}
