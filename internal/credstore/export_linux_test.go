package credstore

import (
	"os"
	"testing"
)

// FakeSecretService opens a store over a Secret Service in this process.
func FakeSecretService(t testing.TB) (store Store, again func(testing.TB) Store) {
	fake := startFakeSecretService(t)
	again = func(testing.TB) Store { return fake.store() }
	return again(t), again
}

// NeedRealSecretService skips the test where scripts/secret-service-test did
// not start a Secret Service for it.
func NeedRealSecretService(t testing.TB) {
	t.Helper()
	if os.Getenv(RealSecretServiceEnv) != "contract" {
		t.Skip(RealSecretServiceEnv + " is not \"contract\"; run scripts/secret-service-test")
	}
}

// RealSecretService opens a store of its own over the Secret Service of the session.
func RealSecretService(t testing.TB) (store Store, again func(testing.TB) Store) {
	application := "m365-token-broker-test-" + t.Name()
	again = func(t testing.TB) Store {
		s, err := newSecretService(SessionBus(os.Getenv), application)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return again(t), again
}
