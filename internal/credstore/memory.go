package credstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
)

// memory is the Store that forgets when the process ends.
type memory struct {
	mu      sync.Mutex // guards records
	records map[string][]byte
}

// NewMemory makes a Store that lives as long as the process: for tests, for
// demos, and where the user wants nothing written anywhere.
func NewMemory() Store { return &memory{records: map[string][]byte{}} }

// Save implements Store.
func (m *memory) Save(ctx context.Context, id string, data []byte) error {
	if err := beginSave(ctx, id, data); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[id] = bytes.Clone(data)
	return nil
}

// Load implements Store.
func (m *memory) Load(ctx context.Context, id string) ([]byte, error) {
	if err := begin(ctx, opLoad, id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.records[id]
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(data), nil
}

// Delete implements Store.
func (m *memory) Delete(ctx context.Context, id string) error {
	if err := begin(ctx, opDelete, id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, id)
	return nil
}

// List implements Store.
func (m *memory) List(ctx context.Context) ([]string, error) {
	if err := alive(ctx, opList); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return listed(slices.Collect(maps.Keys(m.records))), nil
}
