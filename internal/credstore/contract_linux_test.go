package credstore_test

import (
	"testing"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/credstore/credstoretest"
)

func TestContractSecretServiceFake(t *testing.T) {
	credstoretest.Run(t, func(t *testing.T) credstore.Store {
		return credstoretest.Reopenable(credstore.FakeSecretService(t))
	})
}

func TestContractSecretServiceReal(t *testing.T) {
	credstore.NeedRealSecretService(t)
	credstoretest.Run(t, func(t *testing.T) credstore.Store {
		return credstoretest.Reopenable(credstore.RealSecretService(t))
	})
}
