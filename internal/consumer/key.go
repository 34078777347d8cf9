package consumer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// A key is a prefix and 32 random bytes in base64url (RFC 4648 section 5).
const (
	keyPrefix   = "brk_"
	adminPrefix = "bra_"
	agentPrefix = "brg_"
	keyLen      = len(keyPrefix) + 43
)

// hash is the SHA-256 of a key, over its whole text with the prefix.
type hash [sha256.Size]byte

func (h hash) bucket() bucket { return bucket(h[:len(bucket{})]) }
func (h hash) String() string { return hex.EncodeToString(h[:]) }

// NewKey makes a consumer's key.
func NewKey() token.Secret { return newKey(keyPrefix) }

// NewAdminKey makes an admin key.
func NewAdminKey() token.Secret { return newKey(adminPrefix) }

// NewAgentKey makes a key for the Outlook agent.
func NewAgentKey() token.Secret { return newKey(agentPrefix) }

func newKey(prefix string) token.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (documented)
	return token.NewSecret(prefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// HashKey is the SHA-256 of a key in lower-case hex, as key_sha256 holds it.
func HashKey(key token.Secret) string { return hashOf(key.Reveal()).String() }

// looksLikeKey keeps what cannot be a key from being hashed.
func looksLikeKey(s string) bool {
	if len(s) != keyLen {
		return false
	}
	prefix := s[:len(keyPrefix)]
	return prefix == keyPrefix || prefix == adminPrefix || prefix == agentPrefix
}

// hashOf hashes a text that looks like a key, or any other text.
func hashOf(key string) hash {
	var buf [keyLen]byte // spares the allocation of a conversion
	if len(key) != keyLen {
		return sha256.Sum256([]byte(key))
	}
	copy(buf[:], key)
	return sha256.Sum256(buf[:])
}

// ErrAdminKey is the error of New about an admin key that is none.
var ErrAdminKey = errors.New("the admin key is damaged; stop the broker, delete the file admin.key in its state directory and start it again, which makes a new one")

// ErrAgentKey is the error of New about a key for the agent that is none.
var ErrAgentKey = errors.New("the key of the Outlook agent is damaged; delete it from the secret store and start the broker and the agent again, which makes a new one")

// hashOfKey hashes a key that must have the prefix; bad is the error where it
// has not.
func hashOfKey(key token.Secret, prefix string, bad error) (hash, error) {
	text := key.Reveal()
	if !looksLikeKey(text) || !strings.HasPrefix(text, prefix) {
		return hash{}, bad
	}
	return hashOf(text), nil
}

var errHash = errors.New("is not a SHA-256; write its 64 hex digits")

func parseHash(s string) (hash, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return hash{}, errHash
	}
	return hash(b), nil
}
