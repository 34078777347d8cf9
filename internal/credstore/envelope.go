package credstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// The Secret Service keeps passwords, which people see and change in a keyring
// program; not every implementation takes any byte, and some take "" for
// nothing. So a record is text, with a proof that it is whole and under its id:
//
//	m365tb1 <SHA-256 over id, NUL, record, hex> <record, base64>
const envelopeMagic = "m365tb1"

func wrapRecord(id string, data []byte) string {
	return strings.Join([]string{envelopeMagic, envelopeDigest(id, data), base64.StdEncoding.EncodeToString(data)}, " ")
}

func unwrapRecord(id, text string) ([]byte, error) {
	magic, rest, ok := strings.Cut(text, " ")
	digest, encoded, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || magic != envelopeMagic {
		return nil, errors.New("it is not one of ours")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(data) > MaxSize || envelopeDigest(id, data) != digest {
		return nil, errors.New("it was changed") // the decoder's error would quote the record
	}
	return data, nil
}

func envelopeDigest(id string, data []byte) string {
	sum := sha256.Sum256(append(append([]byte(id), 0), data...))
	return hex.EncodeToString(sum[:])
}
