package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// coordinate is the length of one coordinate of P-256, and of each half of an
// ES256 signature (RFC 7518 section 3.4).
const coordinate = 32

// signer signs tokens with ES256; generating such a key takes microseconds.
type signer struct {
	key    *ecdsa.PrivateKey
	kid    string
	header string // of every token, encoded
	x, y   string // of the public key, encoded (RFC 7518 section 6.2.1)
}

func newSigner() (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the sandbox's signing key: %w", err)
	}
	point, err := key.PublicKey.Bytes() // 4 || X || Y
	if err != nil {
		return nil, fmt.Errorf("make the sandbox's signing key: %w", err)
	}
	id := sha256.Sum256(point)
	s := &signer{key: key, kid: encode(id[:20]), x: encode(point[1 : 1+coordinate]), y: encode(point[1+coordinate:])}
	s.header = encode([]byte(`{"typ":"JWT","alg":"ES256","kid":"` + s.kid + `"}`))
	return s, nil
}

// sign makes a JWT of claims; suffix follows the signature.
func (s *signer) sign(claims any, suffix string) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	text := s.header + "." + encode(payload)
	digest := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	var sig [2 * coordinate]byte
	r.FillBytes(sig[:coordinate])
	v.FillBytes(sig[coordinate:])
	return text + "." + encode(sig[:]) + suffix, nil
}

// errBadToken is every reason why a token is not one of ours.
var errBadToken = errors.New("the token is malformed or its signature is wrong")

// verify checks the signature of a JWT and decodes its claims.
func (s *signer) verify(jwt, suffix string, claims any) error {
	part := strings.Split(strings.TrimSuffix(jwt, suffix), ".")
	if len(part) != 3 || part[0] != s.header {
		return errBadToken
	}
	sig, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil || len(sig) != 2*coordinate {
		return errBadToken
	}
	digest := sha256.Sum256([]byte(part[0] + "." + part[1]))
	r, v := new(big.Int).SetBytes(sig[:coordinate]), new(big.Int).SetBytes(sig[coordinate:])
	if !ecdsa.Verify(&s.key.PublicKey, digest[:], r, v) {
		return errBadToken
	}
	payload, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil || json.Unmarshal(payload, claims) != nil {
		return errBadToken
	}
	return nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
