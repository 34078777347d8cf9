package backup

import (
	"crypto/rand"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/m365-token-broker/broker/internal/token"
)

// A passphrase is all that stands between a copy of the file and the mailbox, and
// whoever has the copy can try as long as he likes. scrypt makes each attempt
// cost a second; the length does the rest.
const (
	minPassphrase = 12 // characters
	minDifferent  = 6  // of them
	maxPassphrase = 1024
)

// CheckPassphrase refuses a passphrase that is too weak to encrypt with, with an
// error of KindInvalidRequest.
func CheckPassphrase(p token.Secret) error {
	text := p.Reveal()
	different := map[rune]bool{}
	for _, r := range text {
		different[r] = true
	}
	bad := func(sentence string) error { return token.NewError(token.KindInvalidRequest, opSeal, sentence) }
	switch n := utf8.RuneCountInString(text); {
	case !plain(text) || strings.TrimSpace(text) != text:
		return bad("The passphrase may hold no control character, and neither begin nor end with a space; others could not type it.")
	case n < minPassphrase:
		return bad(fmt.Sprintf("The passphrase has %d characters; it must have %d at least, for example four or more words that do not belong together.", n, minPassphrase))
	case len(different) < minDifferent:
		return bad(fmt.Sprintf("The passphrase has too few different characters; use %d at least.", minDifferent))
	case len(text) > maxPassphrase:
		return bad(fmt.Sprintf("The passphrase is longer than %d bytes.", maxPassphrase))
	}
	return nil
}

// alphabet has no letters and digits that look alike.
const alphabet = "abcdefghijkmnopqrstuvwxyz2345678"

// NewPassphrase makes a passphrase of 100 random bits, in groups that a person
// can copy.
func NewPassphrase() token.Secret {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	var s strings.Builder
	for i, c := range b {
		if i > 0 && i%5 == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(alphabet[int(c)%len(alphabet)])
	}
	return token.NewSecret(s.String())
}
