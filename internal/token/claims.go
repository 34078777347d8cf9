package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// MaxClaims is the size of a claims text that is accepted, in bytes. Entra's are
// a few hundred.
const MaxClaims = 16 << 10

// What is wrong with a claims text. Neither error holds a part of it.
var (
	ErrClaims     = errors.New("claims is not one JSON object")
	ErrClaimsSize = errors.New("claims is larger than 16 KiB")
)

// ParseClaims returns text in compact form where it is one JSON object of at
// most MaxClaims bytes, as the claims request parameter must be (OpenID Connect
// Core section 5.5). Its errors are ErrClaims and ErrClaimsSize.
func ParseClaims(text string) (string, error) {
	if len(text) > MaxClaims {
		return "", ErrClaimsSize
	}
	var object map[string]any // MSAL reads it so, too: a number beyond float64 is refused here
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return "", ErrClaims
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(text)); err != nil {
		return "", ErrClaims
	}
	return compact.String(), nil
}

// DecodeClaims is ParseClaims of a text that may stand in base64, as a claims
// challenge carries it (Microsoft's "Claims challenges, claims requests and client
// capabilities"). Both alphabets and missing padding are accepted: real challenges
// come in each.
func DecodeClaims(text string) (string, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		return ParseClaims(text)
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", ErrClaims
	}
	return ParseClaims(string(b))
}
