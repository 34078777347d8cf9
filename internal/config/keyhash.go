package config

import (
	"fmt"
	"strings"
	"time"
)

// KeyHash is one entry of key_sha256: the digest of a key and, where the key was
// rotated, when it stops working. In text it is the digest in hex, or
// "<digest>@<RFC 3339 time>".
type KeyHash struct {
	SHA256 string    // lower-case hex
	EndsOn time.Time // zero: it does not end
}

// ParseKeyHash reads the text form. The digest itself is not checked here; it is
// set also where the error says that the time is wrong.
func ParseKeyHash(s string) (KeyHash, error) {
	digest, end, dated := strings.Cut(s, "@")
	h := KeyHash{SHA256: strings.ToLower(digest)}
	if !dated {
		return h, nil
	}
	t, err := time.Parse(time.RFC3339, end)
	if err != nil {
		return h, fmt.Errorf("the end of a key is not an RFC 3339 time")
	}
	h.EndsOn = t
	return h, nil
}

// String is the text form.
func (h KeyHash) String() string {
	if h.EndsOn.IsZero() {
		return h.SHA256
	}
	return h.SHA256 + "@" + h.EndsOn.UTC().Format(time.RFC3339)
}
