package lifecycle

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

const (
	adminKeyFile   = "admin.key"
	adminKeyPrefix = "bra_"
	adminKeyBytes  = 32
	maxAdminKey    = 4096
)

// AdminKeyPath is where the admin key of a state directory is.
func AdminKeyPath(dir string) string { return filepath.Join(dir, adminKeyFile) }

// AdminKey reads the admin key of dir and makes one where there is none: "bra_"
// and 32 random bytes in base64url. Call it with the instance lock held, so that
// two processes do not make two.
func AdminKey(dir string) (token.Secret, error) {
	key, err := ReadAdminKey(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	raw := make([]byte, adminKeyBytes)
	_, _ = rand.Read(raw) // crypto/rand never fails: it ends the process instead
	text := adminKeyPrefix + base64.RawURLEncoding.EncodeToString(raw)
	if err := ownerfile.WriteOwned(AdminKeyPath(dir), []byte(text+"\n")); err != nil {
		return token.Secret{}, fmt.Errorf("make the admin key: %w", err)
	}
	return token.NewSecret(text), nil
}

// ReadAdminKey reads the admin key of dir. The error is os.ErrNotExist where no
// broker has made one yet. A key that other users can read is refused.
func ReadAdminKey(dir string) (token.Secret, error) {
	path := AdminKeyPath(dir)
	switch err := ownerfile.Audit(path); {
	case errors.Is(err, os.ErrNotExist):
		return token.Secret{}, fmt.Errorf("admin key: %w", err)
	case err != nil:
		return token.Secret{}, fmt.Errorf("admin key %w", err)
	}
	data, err := ownerfile.Read(path, maxAdminKey)
	if err != nil {
		return token.Secret{}, fmt.Errorf("admin key: %w", err)
	}
	text := strings.TrimSpace(string(data))
	encoded, ok := strings.CutPrefix(text, adminKeyPrefix)
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil || len(raw) != adminKeyBytes {
		return token.Secret{}, fmt.Errorf("%s does not hold an admin key (%s and 43 characters); remove it and start the broker again, it makes a new one", path, adminKeyPrefix)
	}
	return token.NewSecret(text), nil
}
