package sandbox

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

// userCodeAlphabet leaves out vowels and what looks alike (RFC 8628 section 6.1).
const userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ2346789"

// userCodeLength is that of Entra's codes.
const userCodeLength = 9

// randomText is n random bytes in base64url.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return encode(b)
}

// randomChars is n characters of random base64url.
func randomChars(n int) string {
	if n <= 0 {
		return ""
	}
	return randomText(n*3/4 + 1)[:n]
}

// newGUID is a random UUID (RFC 9562 section 5.4).
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return guid(b, 4)
}

// guidOf is the same UUID for the same name, always (RFC 9562 section 5.8).
func guidOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return guid([16]byte(sum[:16]), 8)
}

func guid(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// between is a random duration of whole seconds in [lo, hi].
func between(lo, hi time.Duration) time.Duration {
	return (lo + mathrand.N(hi-lo+time.Second)).Truncate(time.Second) //nolint:gosec // a lifetime is no secret
}

// sizeOr is the wanted size, or a random one in [lo, hi].
func sizeOr(want, lo, hi int) int {
	if want > 0 {
		return want
	}
	return lo + mathrand.N(hi-lo+1) //nolint:gosec // a length is no secret
}

// newUserCode is what the person types.
func (s *Sandbox) newUserCode() string {
	code := make([]byte, 0, userCodeLength)
	if s.cfg.Canary {
		code = append(code, CanaryMarker...)
	}
	for len(code) < userCodeLength {
		var b [1]byte
		_, _ = rand.Read(b[:])
		code = append(code, userCodeAlphabet[int(b[0])%len(userCodeAlphabet)])
	}
	return string(code)
}

// newOpaque is an opaque secret of about size characters with Entra's way of
// beginning.
func (s *Sandbox) newOpaque(prefix string, size int) string {
	if s.cfg.Canary {
		prefix += CanaryMarker + "-"
	}
	return prefix + randomChars(max(size-len(prefix), 32))
}

// canarySuffix follows the signature of every JWT.
func (s *Sandbox) canarySuffix() string {
	if s.cfg.Canary {
		return "-" + CanaryMarker
	}
	return ""
}
