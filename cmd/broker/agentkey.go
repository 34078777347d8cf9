package main

import (
	"context"
	"errors"
	"fmt"

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
