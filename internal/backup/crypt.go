package backup

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/m365-token-broker/broker/internal/token"
)

// WorkFactor is the cost of scrypt, as a power of two: age's own default. One
// attempt at a passphrase takes about a second and 256 MiB. Files that want more
// are refused, as whoever made the file would choose what we pay.
const WorkFactor = 18

// maxRecipients bounds the keys that one file is encrypted to.
const maxRecipients = 16

// Lock is what a file is encrypted with: a passphrase, or the public keys of
// recipients (age1…).
type Lock struct {
	Passphrase token.Secret
	Recipients []string
	WorkFactor int // zero: WorkFactor; tests take less
}

// Key is what opens a file: the passphrase, or the text of an identity file of
// age (AGE-SECRET-KEY-1…).
type Key struct {
	Passphrase token.Secret
	Identity   token.Secret
}

// The operations that errors name.
const (
	opSeal = "write export"
	opOpen = "read export"
)

// Seal encrypts a document. An error that the caller can mend is of
// KindInvalidRequest.
func Seal(d Document, l Lock) ([]byte, error) {
	recipients, err := l.recipients()
	if err != nil {
		return nil, err
	}
	raw, err := d.encode()
	if err != nil {
		return nil, &token.Error{Kind: token.KindConflict, Op: opSeal, Detail: "This cannot be exported: " + err.Error() + "."}
	}
	defer clear(raw)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipients...)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, &token.Error{Kind: token.KindInternal, Op: opSeal, Err: err}
	}
	if out.Len() > MaxFile {
		return nil, token.NewError(token.KindConflict, opSeal,
			fmt.Sprintf("The export would be larger than the %d KiB that an import reads; leave the configuration out, or export fewer accounts at a time.", MaxFile>>10))
	}
	return out.Bytes(), nil
}

func (l Lock) recipients() ([]age.Recipient, error) {
	switch {
	case l.Passphrase.IsZero() == (len(l.Recipients) == 0):
		return nil, token.NewError(token.KindInvalidRequest, opSeal, "Give a passphrase or recipients, one of the two.")
	case len(l.Recipients) > maxRecipients:
		return nil, token.NewError(token.KindInvalidRequest, opSeal, fmt.Sprintf("There are too many recipients; %d are the most.", maxRecipients))
	case !l.Passphrase.IsZero():
		if err := CheckPassphrase(l.Passphrase); err != nil {
			return nil, err
		}
		r, err := age.NewScryptRecipient(l.Passphrase.Reveal())
		if err != nil {
			return nil, &token.Error{Kind: token.KindInternal, Op: opSeal, Err: err}
		}
		r.SetWorkFactor(cmp.Or(l.WorkFactor, WorkFactor))
		return []age.Recipient{r}, nil
	}
	var all []age.Recipient
	for i, text := range l.Recipients {
		one, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(one) != 1 { // a private key that was given by mistake must not be repeated
			return nil, token.NewError(token.KindInvalidRequest, opSeal,
				fmt.Sprintf("Recipient %d is no public key of age; it begins with age1, and age-keygen prints it.", i+1))
		}
		all = append(all, one[0])
	}
	return all, nil
}

// Open decrypts a file and checks what is in it. Where the error is of
// KindInvalidRequest, its sentence says whether the file or the key is wrong.
func Open(file []byte, k Key) (Document, error) {
	identities, err := k.identities()
	if err != nil {
		return Document{}, err
	}
	if len(file) > MaxFile {
		return Document{}, unusable(fmt.Sprintf("The file is no export of a broker: it is larger than %d KiB.", MaxFile>>10))
	}
	text, err := binary(file)
	if err != nil {
		return Document{}, err
	}
	raw, err := decrypt(text, identities)
	defer clear(raw)
	if err != nil {
		return Document{}, k.explain(err)
	}
	d, err := parse(raw)
	switch {
	case errors.Is(err, errNewer):
		return Document{}, unusable("The file was written by a newer broker, in " + err.Error() + "; update this broker, and import it then.")
	case err != nil:
		return Document{}, unusable("The file can be decrypted, but what is in it cannot be used: " + err.Error() + ".")
	}
	return d, nil
}

// binary is the file as age's binary form; a person may have armored it.
func binary(file []byte) (*bufio.Reader, error) {
	r := bufio.NewReader(bytes.NewReader(file))
	if bytes.HasPrefix(bytes.TrimSpace(file), []byte(armor.Header)) {
		r = bufio.NewReader(armor.NewReader(r))
	} else if intro := []byte("age-encryption.org/"); !bytes.HasPrefix(file, intro) {
		return nil, unusable("The file is no export of a broker: it is not in the age format, or its beginning is damaged.")
	}
	return r, nil
}

func decrypt(text *bufio.Reader, identities []age.Identity) ([]byte, error) {
	r, err := age.Decrypt(text, identities...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, MaxFile)) // age reports what is cut off, and what follows
}

func (k Key) identities() ([]age.Identity, error) {
	if k.Passphrase.IsZero() == k.Identity.IsZero() {
		return nil, token.NewError(token.KindInvalidRequest, opOpen, "Give the passphrase or the identity of the file, one of the two.")
	}
	if !k.Passphrase.IsZero() {
		id, err := age.NewScryptIdentity(k.Passphrase.Reveal())
		if err != nil {
			return nil, &token.Error{Kind: token.KindInternal, Op: opOpen, Err: err}
		}
		return []age.Identity{bounded{id}}, nil
	}
	ids, err := age.ParseIdentities(strings.NewReader(k.Identity.Reveal()))
	if err != nil { // its text can hold the key
		return nil, unusable("The identity is no identity file of age; it has a line that begins with AGE-SECRET-KEY-, and age-keygen writes it.")
	}
	return ids, nil
}

// errWork is a file that asks for more work than WorkFactor.
var errWork = errors.New("the work factor is too large")

// bounded is a passphrase that is not tried where that would cost too much.
type bounded struct{ next *age.ScryptIdentity }

// Unwrap implements age.Identity.
func (b bounded) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != stanzaPassphrase || len(s.Args) != 2 {
			continue
		}
		if n, err := strconv.Atoi(s.Args[1]); err != nil || n > WorkFactor {
			return nil, errWork
		}
	}
	return b.next.Unwrap(stanzas)
}

// stanzaPassphrase is what a header calls a passphrase.
const stanzaPassphrase = "scrypt"

// explain says whether the key or the file is wrong. age's errors hold no secret,
// but parts of the file, which is anybody's.
func (k Key) explain(err error) error {
	none, ok := errors.AsType[*age.NoIdentityMatchError](err)
	switch {
	case ok && k.Passphrase.IsZero():
		return unusable("The identity does not open this file: it was encrypted to another key, or with a passphrase, or its beginning is damaged.")
	case ok && !slices.Contains(none.StanzaTypes, stanzaPassphrase):
		return unusable("The file was not encrypted with a passphrase but to a key; give the file of that key with --identity.")
	case ok:
		return unusable("The passphrase is not right, or the beginning of the file is damaged.")
	case errors.Is(err, errWork):
		return unusable(fmt.Sprintf("The file asks for more work than this broker does for a file that anybody may have made (scrypt 2^%d at most); encrypt it anew with the age tool.", WorkFactor))
	default:
		return unusable("The file is damaged; take another copy of it.")
	}
}

// unusable is the error for a file or a key that cannot be used. Nothing has been
// changed then, and the sentence says so.
func unusable(sentence string) error {
	return token.NewError(token.KindInvalidRequest, opOpen, sentence+" Nothing was changed.")
}
