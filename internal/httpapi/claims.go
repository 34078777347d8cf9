package httpapi

import (
	"encoding/json"
	"errors"

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
	var compact string
	var err error
	if raw[0] == '"' {
		var s string
		if err = json.Unmarshal(raw, &s); err != nil {
			return "", errClaims()
		}
		compact, err = token.DecodeClaims(s)
	} else {
		compact, err = token.ParseClaims(string(raw))
	}
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
