package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/token"
)

// agentKeyID is the agent's key in the secret store of the account that broker
// and agent run as: so they meet without a shared file.
const agentKeyID = "outlook-agent-key"

// makeAgentKey reads the key, and makes one where there is none.
func makeAgentKey(ctx context.Context, store credstore.Store) (token.Secret, error) {
	key, err := readAgentKey(ctx, store)
	if !errors.Is(err, credstore.ErrNotFound) {
		return key, err
	}
	key = consumer.NewAgentKey()
	if err := store.Save(ctx, agentKeyID, []byte(key.Reveal())); err != nil {
		return token.Secret{}, fmt.Errorf("store the key of the Outlook agent: %w", err)
	}
	return key, nil
}

// How long an agent waits for the first broker of its account, and how often it
// looks: at a logon, the service may still be starting.
const (
	keyPatience = 10 * time.Minute
	keyLook     = 5 * time.Second
)

// awaitAgentKey waits until a broker has made the key. An account that has no
// broker needs no agent.
func awaitAgentKey(ctx context.Context, store credstore.Store, log *slog.Logger) error {
	deadline := time.Now().Add(keyPatience)
	for told := false; ; told = true {
		_, err := readAgentKey(ctx, store)
		switch {
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return token.NewError(token.KindNotFound, "", "No broker of this account has made a key for the agent; start the broker as this account, with an Outlook target, and then the agent.")
		case !told:
			log.InfoContext(ctx, "the agent waits for a broker of this account", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(keyLook):
		}
	}
}

// readAgentKey reads the key; ErrNotFound where no broker has made one yet.
func readAgentKey(ctx context.Context, store credstore.Store) (token.Secret, error) {
	raw, err := store.Load(ctx, agentKeyID)
	if errors.Is(err, credstore.ErrNotFound) {
		return token.Secret{}, err
	}
	if err != nil {
		return token.Secret{}, fmt.Errorf("read the key of the Outlook agent: %w", err)
	}
	return token.NewSecret(string(raw)), nil
}
