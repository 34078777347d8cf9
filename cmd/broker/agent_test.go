package main

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/token"
)

func TestTheAgentWaitsForItsKey(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	open := func(t *testing.T) credstore.Store {
		t.Helper()
		store, _, err := credstore.Open(t.Context(), credstore.Config{Kind: credstore.Memory})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	t.Run("made later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := open(t)
			go func() {
				time.Sleep(3 * time.Minute)
				if _, err := makeAgentKey(t.Context(), store); err != nil {
					t.Error(err)
				}
			}()
			begun := time.Now()
			if err := awaitAgentKey(t.Context(), store, quiet); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(begun); waited < 3*time.Minute || waited > 3*time.Minute+keyLook {
				t.Errorf("waited %s", waited)
			}
		})
	})
	t.Run("never made", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			err := awaitAgentKey(t.Context(), open(t), quiet)
			if token.KindOf(err) != token.KindNotFound || !strings.Contains(err.Error(), "start the broker") {
				t.Error(err)
			}
		})
	})
}

func TestTheAgentsKeyStays(t *testing.T) {
	store, _, err := credstore.Open(t.Context(), credstore.Config{Kind: credstore.Memory})
	if err != nil {
		t.Fatal(err)
	}
	first, err := makeAgentKey(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	again, err := makeAgentKey(t.Context(), store)
	if err != nil || again.Reveal() != first.Reveal() {
		t.Errorf("a second start of the broker made another key: %v", err)
	}
}

func TestAgentCommand(t *testing.T) {
	o := &options{config: `C:\Program Data\broker.yaml`, stateDir: `C:\state`, set: []string{"store=file"}}
	got := agentCommand(`C:\b\broker.exe`, o, func(args []string) string { return strings.Join(args, "|") })
	if want := `C:\b\broker.exe|agent|--background|--config|C:\Program Data\broker.yaml|--state-dir|C:\state|--set|store=file`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
