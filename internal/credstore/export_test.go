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
