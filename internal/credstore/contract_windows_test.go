package credstore_test

import (
	"testing"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/credstore/credstoretest"
)

func TestContractWincred(t *testing.T) {
	credstoretest.Run(t, func(t *testing.T) credstore.Store {
		return credstoretest.Reopenable(credstore.OpenRealWincred(t))
	})
}
