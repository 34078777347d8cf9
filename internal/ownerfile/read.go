package ownerfile

import (
	"errors"
	"io"
	"os"
)

// Read gives the first limit bytes of a file, whatever stands in its place. The
// error is that of the file system.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return data, errors.Join(err, f.Close())
}
