package credstore

import "testing"

// The contract suite imports this package, so its runs are in credstore_test;
// these open the stores that need something of the inside.

// OpenTestFile opens a file store whose key is in a file, or in home.
func OpenTestFile(t testing.TB, dir string, home Store) Store {
	t.Helper()
	if home == nil {
		return mustOpenFile(t, dir, nil)
	}
	return mustOpenFile(t, dir, &keyHome{kind: SecretService, store: home})
}

// FakeWincred opens a wincred store over a Credential Manager in memory; again
// opens the same once more.
func FakeWincred(t testing.TB) (store Store, again func(testing.TB) Store) {
	fake := newFakeCredentials(t)
	again = func(testing.TB) Store { return fakeWincred(fake) }
	return again(t), again
}
