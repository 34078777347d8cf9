package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// purgeMark is a file in the state directory that asks the broker there to take
// its secrets along when it ends. Whoever removes a service cannot do it: the
// secret store is open to the service's account alone.
const purgeMark = "purge"

// askToPurge leaves the mark.
func askToPurge(stateDir string) error {
	if err := ownerfile.Write(filepath.Join(stateDir, purgeMark), nil); err != nil {
		return fmt.Errorf("ask the broker to remove its secrets: %w", err)
	}
	return nil
}

// askNoMore takes the mark back.
func askNoMore(stateDir string) error {
	err := os.Remove(filepath.Join(stateDir, purgeMark))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// stillAsked reports whether the mark is there although the broker has ended, and
// one has ever run there: then nobody took its secrets along.
func stillAsked(stateDir string) bool {
	_, asked := os.Lstat(filepath.Join(stateDir, purgeMark))
	_, ran := os.Lstat(lifecycle.AdminKeyPath(stateDir))
	return asked == nil && ran == nil
}

// purge removes every record of the secret store where the mark says so, and the
// mark last: what fails is tried again at the next end.
func (p *parts) purge(ctx context.Context) error {
	mark := filepath.Join(p.loaded.Places.StateDir, purgeMark)
	switch _, err := os.Lstat(mark); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for the request to remove the secrets: %w", err)
	}
	records, err := credstore.Empty(ctx, p.store)
	if err != nil {
		return fmt.Errorf("remove the secrets, as was asked: %w", err)
	}
	p.log.InfoContext(ctx, "the secret store was emptied, as was asked", slog.Int("records", records))
	return os.Remove(mark)
}
