package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// maxClaims is how much a claims challenge may hold once decoded, in bytes.
const maxClaims = 16 << 10

// parseClaims reads the claims of POST /v1/token: a JSON object, a string with
// its text, or a string with that text in base64 or base64url, as a claims
// challenge carries it (RFC 9470 section 3, and Microsoft's documentation of
// Continuous Access Evaluation). It returns the JSON text.
func parseClaims(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	claims := []byte(raw)
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", errClaims()
		}
		claims = unpackClaims(strings.TrimSpace(s))
	}
	if len(claims) > maxClaims {
		return "", badRequest("claims is too long; it may hold 16 KiB.")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(claims, &object); err != nil || object == nil {
		return "", errClaims()
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, claims); err != nil {
		return "", errClaims()
	}
	return compact.String(), nil
}

func errClaims() error {
	return badRequest("claims must be a JSON object, or its text, or that in base64; send the claims of the WWW-Authenticate header as they came.")
}

// unpackClaims takes the base64 off a text that is no JSON by itself. Both
// alphabets and missing padding are accepted: real challenges come in each.
func unpackClaims(s string) []byte {
	if strings.HasPrefix(s, "{") {
		return []byte(s)
	}
	s = strings.TrimRight(s, "=")
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
