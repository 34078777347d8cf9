package credstore_test

import (
	"path/filepath"
	"testing"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/credstore/credstoretest"
)

func TestContractMemory(t *testing.T) {
	credstoretest.Run(t, func(*testing.T) credstore.Store { return credstore.NewMemory() })
}

func TestContractFile(t *testing.T) {
	for name, home := range map[string]credstore.Store{"KeyInFile": nil, "KeyInPlatformStore": credstore.NewMemory()} {
		t.Run(name, func(t *testing.T) {
			credstoretest.Run(t, func(t *testing.T) credstore.Store {
				dir := filepath.Join(t.TempDir(), "secrets")
				again := func(t testing.TB) credstore.Store { return credstore.OpenTestFile(t, dir, home) }
				return credstoretest.Reopenable(again(t), again)
			})
		})
	}
}

func TestContractWincredLogic(t *testing.T) {
	credstoretest.Run(t, func(t *testing.T) credstore.Store {
		return credstoretest.Reopenable(credstore.FakeWincred(t))
	})
}
