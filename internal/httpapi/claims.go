package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// parseClaims reads the claims of POST /v1/token: a JSON object, a string with
// its text, or a string with that text in base64 or base64url, as a claims
// challenge carries it (RFC 9470 section 3, and Microsoft's documentation of
// Continuous Access Evaluation). It returns the JSON text.
func parseClaims(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	claims := string(raw)
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", errClaims()
		}
		claims = unpackClaims(strings.TrimSpace(s))
	}
	compact, err := token.ParseClaims(claims)
	switch {
	case errors.Is(err, token.ErrClaimsSize):
		return "", badRequest("claims is too long; it may hold 16 KiB.")
	case err != nil:
		return "", errClaims()
	}
	return compact, nil
}

func errClaims() error {
	return badRequest("claims must be a JSON object, or its text, or that in base64; send the claims of the WWW-Authenticate header as they came.")
}

// unpackClaims takes the base64 off a text that is no JSON by itself. Both
// alphabets and missing padding are accepted: real challenges come in each.
func unpackClaims(s string) string {
	if strings.HasPrefix(s, "{") {
		return s
	}
	s = strings.TrimRight(s, "=")
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}
