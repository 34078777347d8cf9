package telemetry

import (
	"strings"
	"testing"
)

// A file for support has the hashes of the log, and no secret.
func TestCleaner(t *testing.T) {
	key := []byte("key")
	text, hash := Cleaner(key)
	got := text("alice@contoso.example asked with brk_0123456789abcdef")
	if want := "account-" + newAccountHasher(key).hash("Alice@contoso.example") + " asked with [redacted]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !strings.Contains(got, hash("alice@contoso.example")) {
		t.Error("the hash is another one")
	}
}
