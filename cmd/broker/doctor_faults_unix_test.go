//go:build !windows

package main

import (
	"os"
	"testing"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// rightsFaults are files that others can reach, by Unix's modes. On Windows
// internal/ownerfile has tests of its own for the access lists.
func rightsFaults() []planted {
	open := func(file func(dir string) string, mode os.FileMode) func(*testing.T, *world) []string {
		return func(t *testing.T, _ *world) []string {
			dir := stateDirOf(t)
			write(t, lifecycle.AdminKeyPath(dir), "bra_0000000000000000000000000000000000000000000")
			if err := os.Chmod(file(dir), mode); err != nil {
				t.Fatal(err)
			}
			return []string{"--state-dir", dir}
		}
	}
	return []planted{
		{name: "others can read the admin key", want: finding{nameAdminKey, "can be reached by other users (mode 0644), and opens everything", "chmod 600", resultProblem}, plant: open(lifecycle.AdminKeyPath, 0o644)},
		{name: "others can enter the state directory", want: finding{nameStateDir, "can be reached by other users (mode 0755)", "chmod 700", resultProblem}, plant: open(func(dir string) string { return dir }, 0o755)},
	}
}
