package credstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A credential of Windows holds at most 2,560 bytes (CRED_MAX_CREDENTIAL_BLOB_SIZE,
// wincred.h), so a record is cut into chunks. Each chunk begins with a header,
// all numbers big-endian:
//
//	offset size
//	     0    4  magic "MTBC"
//	     4    1  format version, 1
//	     5    1  zero
//	     6    2  index of this chunk
//	     8    2  count of chunks
//	    10    4  length of the whole record
//	    14    8  generation
//	    22   32  SHA-256 over id, NUL, generation, record
//
// The digest is the same in every chunk of a record: chunks belong together
// when all of it is equal, and the record is whole when the digest fits.
// Completeness is the commit; there is no commit record that could be lost.
const (
	chunkMagic   = "MTBC"
	chunkVersion = 1
	headerSize   = 54
	blobLimit    = 2560
	payloadSize  = blobLimit - headerSize
	maxChunks    = (MaxSize + payloadSize - 1) / payloadSize
)

// header is the part of a chunk that is equal in all chunks of a record.
type header struct {
	count      uint16
	length     uint32
	generation uint64
	digest     [sha256.Size]byte
}

// chunk is one parsed credential.
type chunk struct {
	header
	index   uint16
	payload []byte
}

// recordDigest binds a record to its id and its generation, so that chunks can
// neither be mixed nor be swapped between ids.
func recordDigest(id string, generation uint64, data []byte) [sha256.Size]byte {
	b := make([]byte, 0, len(id)+9+len(data))
	b = append(b, id...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, generation)
	return sha256.Sum256(append(b, data...))
}

// cut makes the chunks of a record. There is always at least one.
func cut(id string, generation uint64, data []byte) [][]byte {
	count := max(1, (len(data)+payloadSize-1)/payloadSize)
	digest := recordDigest(id, generation, data)
	blobs := make([][]byte, count)
	for i := range blobs {
		part := data[i*payloadSize : min(len(data), (i+1)*payloadSize)]
		b := make([]byte, 0, headerSize+len(part))
		b = append(b, chunkMagic...)
		b = append(b, chunkVersion, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = binary.BigEndian.AppendUint16(b, uint16(count))
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		b = binary.BigEndian.AppendUint64(b, generation)
		b = append(b, digest[:]...)
		blobs[i] = append(b, part...)
	}
	return blobs
}

// parseChunk checks everything that one chunk can say about itself.
func parseChunk(blob []byte) (chunk, error) {
	if len(blob) < headerSize {
		return chunk{}, fmt.Errorf("%d bytes are too few for a header", len(blob))
	}
	if string(blob[:4]) != chunkMagic {
		return chunk{}, errors.New("the header is not one of ours")
	}
	if blob[4] != chunkVersion || blob[5] != 0 {
		return chunk{}, fmt.Errorf("format version %d is unknown; a newer broker wrote it", blob[4])
	}
	c := chunk{
		index: binary.BigEndian.Uint16(blob[6:]),
		header: header{
			count:      binary.BigEndian.Uint16(blob[8:]),
			length:     binary.BigEndian.Uint32(blob[10:]),
			generation: binary.BigEndian.Uint64(blob[14:]),
			digest:     [sha256.Size]byte(blob[22:headerSize]),
		},
		payload: blob[headerSize:],
	}
	if c.length > MaxSize || int(c.count) != max(1, (int(c.length)+payloadSize-1)/payloadSize) || c.index >= c.count {
		return chunk{}, fmt.Errorf("chunk %d of %d does not fit a record of %d bytes", c.index, c.count, c.length)
	}
	if want := min(payloadSize, int(c.length)-int(c.index)*payloadSize); len(c.payload) != want {
		return chunk{}, fmt.Errorf("chunk %d holds %d bytes instead of %d", c.index, len(c.payload), want)
	}
	return c, nil
}

// join puts the chunks of a record together, in order, and proves the result.
func join(id string, chunks []chunk) ([]byte, error) {
	if len(chunks) == 0 || len(chunks) != int(chunks[0].count) {
		return nil, fmt.Errorf("%d chunks are not a record", len(chunks))
	}
	first := chunks[0]
	data := make([]byte, 0, first.length)
	for i, c := range chunks {
		if c.header != first.header || int(c.index) != i {
			return nil, fmt.Errorf("chunk %d belongs to another save", i)
		}
		data = append(data, c.payload...)
	}
	want := recordDigest(id, first.generation, data)
	if !bytes.Equal(want[:], first.digest[:]) {
		return nil, errors.New("the digest does not fit the record")
	}
	return data, nil
}
