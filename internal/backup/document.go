// Package backup is the file that `broker export` writes and `broker import`
// reads: the sign-ins and the configuration in one JSON document, encrypted in
// the age format (age-encryption.org/v1), so that the age tool opens it too.
//
// What comes out of a file is checked as a whole before anybody sees a part of
// it, whoever made the file.
package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/m365-token-broker/broker/internal/token"
)

// Document is what a file holds.
type Document struct {
	CreatedOn time.Time
	Broker    string // version of the broker that wrote it
	Host      string // name of its machine
	Accounts  []Account
	Files     []File // the configuration; broker.yaml and the drop-ins
}

// Account is one sign-in.
type Account struct {
	Name  string // what it was called there: an alias, or the user name
	Grant token.Grant
	// Learned is what the account package knows besides, in its own words.
	Learned json.RawMessage
}

// File is one file of the configuration.
type File struct {
	Path string // MainFile, or one in DropIns, with a slash
	Text string
}

// The paths that a configuration file can have in a document.
const (
	MainFile = "broker.yaml"
	DropIns  = "conf.d/"
)

// Bounds of a document.
const (
	// MaxFile is the largest encrypted file that is read, in bytes: some hundred
	// sign-ins with their configuration.
	MaxFile     = 1 << 20
	maxAccounts = 1000
	maxFiles    = 1000
	maxText     = 512 // of a name, a URL, an ID
	maxRefresh  = 64 << 10
	maxLearned  = 64 << 10
)

const (
	format = "m365-token-broker-backup"
	// version grows when a reader that does not know a new member would lose or
	// misread something. A member that may be ignored needs no new version.
	version = 1
)

// The stored form.
type (
	documentJSON struct {
		Format    string        `json:"format"`
		Version   int           `json:"version"`
		CreatedOn time.Time     `json:"created_at"`
		Broker    string        `json:"broker"`
		Host      string        `json:"host"`
		Accounts  []accountJSON `json:"accounts"`
		Files     []fileJSON    `json:"config,omitempty"`
	}
	accountJSON struct {
		Name       string    `json:"account"`
		Username   string    `json:"username"`
		Authority  string    `json:"authority"`
		Tenant     string    `json:"tenant"`
		ClientID   string    `json:"client_id"`
		Home       string    `json:"home_account_id"`
		Flow       string    `json:"flow"`
		SignedInOn time.Time `json:"signed_in_at"`
		ObtainedOn time.Time `json:"refresh_token_at"`
		Refresh    string    `json:"refresh_token"`

		Learned json.RawMessage `json:"learned,omitempty"`
	}
	fileJSON struct {
		Path string `json:"path"`
		Text string `json:"text"`
	}
)

// encode makes the stored form of a document that is right.
func (d Document) encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	j := documentJSON{
		Format: format, Version: version, CreatedOn: d.CreatedOn.UTC(), Broker: d.Broker, Host: d.Host,
		Accounts: make([]accountJSON, 0, len(d.Accounts)),
	}
	for _, a := range d.Accounts {
		g := a.Grant
		j.Accounts = append(j.Accounts, accountJSON{
			Name: a.Name, Username: g.Username, Authority: g.App.Authority, Tenant: g.App.Tenant, ClientID: g.App.ClientID,
			Home: g.HomeAccountID, Flow: string(g.Flow), SignedInOn: g.SignedInOn.UTC(), ObtainedOn: g.ObtainedOn.UTC(),
			Refresh: g.RefreshToken.Reveal(), // into what is encrypted next
			Learned: a.Learned,
		})
	}
	for _, f := range d.Files {
		j.Files = append(j.Files, fileJSON(f))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ") // for a person who opens it with age
	if err := enc.Encode(j); err != nil {
		return nil, fmt.Errorf("encode backup: %w", err)
	}
	return b.Bytes(), nil
}

// contentError says what is wrong with a document. Its text holds nothing secret.
type contentError string

func (e contentError) Error() string { return string(e) }

// errNewer is a document of a version that is not known here.
var errNewer = errors.New("a newer version of the format")

// parse reads the stored form and checks all of it.
func parse(raw []byte) (Document, error) {
	if !utf8.Valid(raw) {
		return Document{}, contentError("it is not UTF-8")
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if json.Unmarshal(raw, &head) != nil || head.Format != format || head.Version < 1 {
		return Document{}, contentError("it is no export of a broker")
	}
	if head.Version > version {
		return Document{}, fmt.Errorf("%w (%d, this broker knows %d)", errNewer, head.Version, version)
	}
	var j documentJSON
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&j); err != nil { // its text can quote what it read
		return Document{}, contentError("its members are not of the right types")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Document{}, contentError("something follows the document")
	}
	d := Document{CreatedOn: j.CreatedOn, Broker: j.Broker, Host: j.Host}
	for _, a := range j.Accounts {
		d.Accounts = append(d.Accounts, Account{Name: a.Name, Learned: compact(a.Learned), Grant: token.Grant{
			App:           token.App{Authority: a.Authority, Tenant: a.Tenant, ClientID: a.ClientID},
			HomeAccountID: a.Home, Username: strings.ToLower(a.Username), Flow: token.Flow(a.Flow),
			SignedInOn: a.SignedInOn, ObtainedOn: a.ObtainedOn, RefreshToken: token.NewSecret(a.Refresh),
		}})
		if len(a.Refresh) > maxRefresh || !plain(a.Refresh) {
			return Document{}, contentError(fmt.Sprintf("account %d has no usable refresh token", len(d.Accounts)))
		}
	}
	for _, f := range j.Files {
		d.Files = append(d.Files, File(f))
	}
	return d, d.check()
}

// check holds a document to its bounds.
func (d Document) check() error {
	switch {
	case len(d.Accounts) > maxAccounts:
		return contentError(fmt.Sprintf("it has more than %d accounts", maxAccounts))
	case len(d.Files) > maxFiles:
		return contentError(fmt.Sprintf("it has more than %d files", maxFiles))
	case !moment(d.CreatedOn):
		return contentError("it does not say when it was made")
	case !short(d.Broker) || !short(d.Host):
		return contentError("the name of its broker or machine is not right")
	}
	for i, a := range d.Accounts {
		if err := a.check(); err != nil {
			return contentError(fmt.Sprintf("account %d %v", i+1, err))
		}
	}
	seen := map[string]bool{}
	for i, f := range d.Files {
		if !goodPath(f.Path) {
			return contentError(fmt.Sprintf("file %d of the configuration has a path that none can have", i+1))
		}
		key := strings.ToLower(f.Path) // Windows knows no case
		if seen[key] {
			return contentError(fmt.Sprintf("file %d of the configuration is there twice", i+1))
		}
		seen[key] = true
	}
	return nil
}

// check says what an account lacks, as the end of a sentence.
func (a Account) check() error {
	g := a.Grant
	for _, t := range []struct{ what, value string }{
		{"user name", g.Username}, {"client ID", g.App.ClientID}, {"tenant", g.App.Tenant}, {"home account ID", g.HomeAccountID},
	} {
		if t.value == "" || !short(t.value) {
			return contentError("has no usable " + t.what)
		}
	}
	u, err := url.Parse(g.App.Authority)
	switch {
	case !short(a.Name):
		return contentError("has no usable name")
	case err != nil || !short(g.App.Authority) || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return contentError("has an authority that is not https://host")
	case len(a.Learned) > maxLearned:
		return contentError("has learned more than anybody can")
	case g.RefreshToken.IsZero():
		return contentError("has no refresh token")
	case !moment(g.SignedInOn) || !moment(g.ObtainedOn):
		return contentError("does not say when it was signed in")
	case g.Flow != token.FlowDevice && g.Flow != token.FlowBrowser:
		return contentError("was signed in in a way that is not known here")
	}
	return nil
}

// moment reports whether t is set, and can be written in any time zone.
func moment(t time.Time) bool { return !t.IsZero() && t.Year() > 0 && t.Year() < 9999 }

// compact is a JSON value without the spaces for people.
func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(raw) == 0 || string(raw) == "null" || json.Compact(&b, raw) != nil {
		return nil
	}
	return b.Bytes()
}

// short reports whether s is a text of one line that may stand in a sentence.
func short(s string) bool { return len(s) <= maxText && plain(s) }

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// goodPath reports whether p names a file of the configuration, on every system,
// and none outside it.
func goodPath(p string) bool {
	if p == MainFile {
		return true
	}
	name, ok := strings.CutPrefix(p, DropIns)
	return ok && short(name) && strings.EqualFold(path.Ext(name), ".yaml") && name[0] != '.' && !strings.ContainsAny(name, `/\:*?"<>|`)
}
