package account

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// record is what is kept of one sign-in: the refresh token and whose it is.
// Access and ID tokens are never stored.
type record struct {
	name       string // as it was signed in; a configured alias goes before it
	grant      token.Grant
	generation uint64               // grows with each save
	learned    map[string]frequency // by resource; never written to once it is here
}

// recordVersion is the first byte of an encoded record. A reader refuses what it
// does not know; a field that is added does not need a new version.
const recordVersion = 1

// maxRecord bounds what is inflated: a refresh token is a few kilobytes.
const maxRecord = 1 << 20

// recordJSON is the stored form, with short names as a credential is small.
type recordJSON struct {
	Name       string    `json:"n"`
	Authority  string    `json:"a"`
	Tenant     string    `json:"t"`
	ClientID   string    `json:"c"`
	Home       string    `json:"h"`
	Username   string    `json:"u"`
	Flow       string    `json:"f"`
	SignedInOn time.Time `json:"s"`
	ObtainedOn time.Time `json:"o"`
	Generation uint64    `json:"g"`
	Refresh    string    `json:"r"`

	Learned map[string]learnedJSON `json:"q,omitempty"` // by resource
}

// learnedJSON is what was learned of one resource: times in Unix seconds, bounds
// in seconds.
type learnedJSON struct {
	Least int64 `json:"l,omitempty"`
	Most  int64 `json:"m,omitempty"`
	Times int   `json:"n,omitempty"`
	Last  int64 `json:"s,omitempty"`
	Good  int64 `json:"g,omitempty"`
}

// Errors of decode. They hold nothing of the record.
var (
	errVersion = errors.New("the record was written by a newer broker")
	errRecord  = errors.New("the record is damaged")
)

// encode makes the stored form: a version byte and deflated JSON. A refresh
// token shrinks to about three quarters, which most often fits one credential.
func (r record) encode() ([]byte, error) {
	g := r.grant
	raw, err := json.Marshal(recordJSON{
		Name: r.name, Authority: g.App.Authority, Tenant: g.App.Tenant, ClientID: g.App.ClientID,
		Home: g.HomeAccountID, Username: g.Username, Flow: string(g.Flow),
		SignedInOn: g.SignedInOn.UTC(), ObtainedOn: g.ObtainedOn.UTC(), Generation: r.generation,
		Refresh: g.RefreshToken.Reveal(), Learned: learnedOut(r.learned),
	})
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	out := bytes.NewBuffer([]byte{recordVersion})
	w, err := flate.NewWriter(out, flate.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return out.Bytes(), nil
}

// decode reads the stored form.
func decode(data []byte) (record, error) {
	if len(data) == 0 {
		return record{}, errRecord
	}
	if data[0] != recordVersion {
		return record{}, fmt.Errorf("%w (version %d, this one knows %d); update the broker", errVersion, data[0], recordVersion)
	}
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data[1:])), maxRecord+1))
	if err != nil || len(raw) > maxRecord {
		return record{}, errRecord
	}
	var j recordJSON
	if json.Unmarshal(raw, &j) != nil || j.Refresh == "" || j.Home == "" || j.Authority == "" {
		return record{}, errRecord
	}
	return record{
		name: j.Name, generation: j.Generation, learned: learnedIn(j.Learned, j.SignedInOn),
		grant: token.Grant{
			App:           token.App{Authority: j.Authority, Tenant: j.Tenant, ClientID: j.ClientID},
			HomeAccountID: j.Home, Username: j.Username, Flow: token.Flow(j.Flow),
			SignedInOn: j.SignedInOn, ObtainedOn: j.ObtainedOn, RefreshToken: token.NewSecret(j.Refresh),
		},
	}, nil
}

// idPrefix marks the account records among the store's secrets.
const idPrefix = "account-"

// id is the record's name in the store: stable for one user at one app
// registration, whatever the account is called in the configuration.
func (r record) id() string {
	g := r.grant
	h := sha256.Sum256([]byte(strings.Join([]string{g.App.Authority, g.App.Tenant, g.App.ClientID, g.HomeAccountID}, "\x00")))
	return idPrefix + hex.EncodeToString(h[:10])
}
