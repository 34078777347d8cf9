package entra

import (
	"bytes"
	"encoding/json"
)

// maxClaims is the size of a claims value that is believed. Entra's are a few
// hundred bytes.
const maxClaims = 8 << 10

// parseClaims returns s in compact form where it is one JSON object of a
// sensible size, as the claims request parameter must be (OIDC Core section
// 5.5), and reports whether it is.
func parseClaims(s string) (string, bool) {
	if s == "" || len(s) > maxClaims {
		return "", false
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &object); err != nil || object == nil {
		return "", false
	}
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(s)); err != nil {
		return "", false
	}
	return out.String(), true
}
