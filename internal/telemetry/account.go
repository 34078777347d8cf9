package telemetry

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
)

// hashPurpose separates the account hash from every other use of the secret
// that Config.HashKey holds.
const hashPurpose = "m365-token-broker account hash v1"

// maxCachedHashes bounds the memory of the hash cache; past it hashes are
// computed anew each time (about 1 µs).
const maxCachedHashes = 16384

// accountHasher turns account names into keyed hashes. It is safe for
// concurrent use.
type accountHasher struct {
	key []byte

	mu    sync.RWMutex
	known map[string]string
}

// newAccountHasher derives the key from secret, or draws one where there is
// none: then hashes hold for the life of the process only.
func newAccountHasher(secret []byte) *accountHasher {
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // crypto/rand never fails: it ends the process instead
	}
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(hashPurpose))
	return &accountHasher{key: mac.Sum(nil), known: map[string]string{}}
}

// hash is the first 64 bits of HMAC-SHA-256 over the lower-case name, in hex. Of a
// hash it is that hash: most log lines name an account by it already, and what is
// exported must not name it by another one.
func (h *accountHasher) hash(name string) string {
	if name == "" {
		return ""
	}
	h.mu.RLock()
	sum, ok := h.known[name]
	h.mu.RUnlock()
	if ok {
		return sum
	}
	mac := hmac.New(sha256.New, h.key)
	_, _ = mac.Write([]byte(strings.ToLower(name)))
	sum = hex.EncodeToString(mac.Sum(nil)[:8])
	h.mu.Lock()
	if len(h.known) < maxCachedHashes {
		h.known[strings.Clone(name)] = sum
		h.known[sum] = sum
	}
	h.mu.Unlock()
	return sum
}

// AccountHash is how telemetry names an account: a hash keyed with a secret of
// this installation, so that it is the same in every span, metric and log of
// this machine, and nobody without the key can try names against it.
func (t *Telemetry) AccountHash(name string) string { return t.hasher.hash(name) }
