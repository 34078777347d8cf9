package credstore

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// A file of the store: magic "MTBF", format version 1, generation (8 bytes,
// big-endian), then what AES-256-GCM with a random nonce made of the record
// (12 bytes nonce, ciphertext, 16 bytes tag). The id and all bytes before the
// nonce are the associated data, so that a file cannot be given another id,
// version or generation. One key seals 2^32 records safely (NIST SP 800-38D
// section 8.3): one every second for 136 years.
const (
	fileMagic      = "MTBF"
	fileVersion    = 1
	fileHeaderSize = 13
	fileOverhead   = fileHeaderSize + 12 + 16
	keySize        = 32
)

// sealer is AES-256-GCM under key.
func sealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func associated(id string, head []byte) []byte {
	return append(append([]byte(id), 0), head...)
}

// sealRecord makes the content of a file.
func sealRecord(key []byte, id string, generation uint64, data []byte) ([]byte, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 0, fileOverhead+len(data))
	head = append(head, fileMagic...)
	head = append(head, fileVersion)
	head = binary.BigEndian.AppendUint64(head, generation)
	return aead.Seal(head, nil, data, associated(id, head)), nil //nolint:gosec // G407: the AEAD makes its own random nonce, so it takes none
}

// claimedGeneration is what the header says, proven by nothing.
func claimedGeneration(content []byte) (uint64, error) {
	switch {
	case len(content) == 0:
		return 0, errors.New("the file is empty")
	case len(content) < fileOverhead:
		return 0, fmt.Errorf("the file was cut after %d bytes", len(content))
	case string(content[:4]) != fileMagic:
		return 0, errors.New("the file is not one of ours")
	case content[4] != fileVersion:
		return 0, fmt.Errorf("format version %d is unknown; a newer broker wrote it", content[4])
	case len(content) > fileOverhead+MaxSize:
		return 0, errors.New("the file is longer than any record")
	}
	return binary.BigEndian.Uint64(content[5:]), nil
}

// openRecord is the reverse of sealRecord, with all that a file can say about itself.
func openRecord(key []byte, id string, content []byte) replica {
	generation, err := claimedGeneration(content)
	if err != nil {
		return replica{state: torn, why: err}
	}
	aead, err := sealer(key)
	if err != nil {
		return replica{state: torn, generation: generation, why: err}
	}
	data, err := aead.Open(nil, nil, content[fileHeaderSize:], associated(id, content[:fileHeaderSize]))
	if err != nil {
		return replica{state: torn, generation: generation, why: errors.New("it was changed, cut, belongs to another record, or was written under another key")}
	}
	return replica{state: whole, generation: generation, data: data}
}

// fileSlots keeps the replicas of records in files. Without a key every file
// is a torn replica that only claims its generation.
type fileSlots struct {
	dir   string
	key   []byte
	noKey *noKeyError // why there is no key, where that matters
}

// recordPrefix begins the name of every record, because on Windows a file
// cannot be called "con" or "nul", whatever its extension.
const recordPrefix = "record-"

func slotPath(dir, id string, s slot) string {
	return filepath.Join(dir, recordPrefix+id+"."+string(s))
}

// parseSlotName is the reverse of slotPath; ok is false for a name that is not ours.
func parseSlotName(name string) (id string, ok bool) {
	name, ours := strings.CutPrefix(name, recordPrefix)
	id, s, _ := strings.Cut(name, ".")
	return id, ours && (slot(s) == slotA || slot(s) == slotB) && ValidID(id) == nil
}

func (f fileSlots) read(id string, s slot) (replica, error) {
	path := slotPath(f.dir, id, s)
	content, err := readOwn(path, fileOverhead+MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return replica{}, nil
	}
	if err != nil {
		return replica{}, err
	}
	var r replica
	if f.key != nil {
		r = openRecord(f.key, id, content)
	} else {
		r.state = torn
		if r.generation, err = claimedGeneration(content); err != nil {
			r.why = err
		} else if f.noKey != nil {
			r.why = f.noKey
		}
	}
	if r.why != nil {
		r.why = fmt.Errorf("%s: %w", path, r.why)
	}
	return r, nil
}

func (f fileSlots) write(id string, s slot, generation uint64, data []byte) error {
	content, err := sealRecord(f.key, id, generation, data)
	if err != nil {
		return err
	}
	return ownerfile.Write(slotPath(f.dir, id, s), content)
}

func (f fileSlots) remove(id string, s slot) error {
	err := ownerfile.Remove(slotPath(f.dir, id, s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
