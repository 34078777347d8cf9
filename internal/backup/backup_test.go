package backup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	passphrase = "correct horse battery staple"
	cheap      = 4 // work factor
)

func document() Document {
	signedIn := time.Date(2026, 11, 1, 8, 0, 0, 123456789, time.UTC)
	return Document{
		CreatedOn: signedIn.Add(24 * time.Hour), Broker: "1.2.3", Host: "SRV1",
		Accounts: []Account{{Name: "ops", Grant: token.Grant{
			App:           token.App{Authority: "https://login.example", Tenant: "11111111-2222-3333-4444-555555555555", ClientID: "client"},
			HomeAccountID: "oid.tid", Username: "ops@contoso.com", Flow: token.FlowDevice,
			SignedInOn: signedIn, ObtainedOn: signedIn.Add(time.Hour), RefreshToken: token.NewSecret("0.CANARY-refresh"),
		}, Learned: []byte(`{"graph":{"n":2}}`)}},
		Files: []File{{MainFile, "tenant: contoso.com\n"}, {DropIns + "crm.yaml", "consumers: {}\n"}},
	}
}

func seal(t *testing.T, d Document) []byte {
	t.Helper()
	file, err := Seal(d, Lock{Passphrase: token.NewSecret(passphrase), WorkFactor: cheap})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func key(s string) Key { return Key{Passphrase: token.NewSecret(s)} }

// shown makes documents comparable: secrets are compared by what they hold.
func shown(d Document) string {
	s := fmt.Sprintf("%+v", d)
	for _, a := range d.Accounts {
		s += " " + a.Grant.RefreshToken.Reveal()
	}
	return s
}

func TestAFileHoldsTheWholeDocument(t *testing.T) {
	file := seal(t, document())
	if bytes.Contains(file, []byte("CANARY")) || bytes.Contains(file, []byte("contoso")) {
		t.Error("the file holds something in clear")
	}
	d, err := Open(file, key(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shown(document()), shown(d)); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(fmt.Sprintf("%+v %#v", d, d), "CANARY") {
		t.Error("a document prints its tokens")
	}
}

func TestAFileForAKey(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, _ := age.GenerateX25519Identity()
	file, err := Seal(document(), Lock{Recipients: []string{id.Recipient().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Key{Identity: token.NewSecret("# made today\n" + id.String() + "\n")}); err != nil {
		t.Error(err)
	}
	for name, k := range map[string]Key{
		"to another key":                  {Identity: token.NewSecret(other.String())},
		"with --identity":                 key(passphrase),
		"no identity file":                {Identity: token.NewSecret("AGE-SECRET-KEY-1CANARY")},
		"one of the two":                  {},
		"passphrase or the identity of t": {Identity: token.NewSecret(id.String()), Passphrase: token.NewSecret(passphrase)},
	} {
		refused(t, file, k, name)
	}
	refused(t, seal(t, document()), Key{Identity: token.NewSecret(id.String())}, "or with a passphrase")
}

// refused opens a file that must not open, and holds the error to its kind and to
// a part of its sentence.
func refused(t *testing.T, file []byte, k Key, want string) {
	t.Helper()
	d, err := Open(file, k)
	e, ok := errors.AsType[*token.Error](err)
	if !ok || e.Kind != token.KindInvalidRequest || !strings.Contains(e.Detail, want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if strings.Contains(fmt.Sprint(err), "CANARY") || len(d.Accounts) > 0 {
		t.Errorf("something of the file gets out: %v, %v", err, d)
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	file := seal(t, document())
	if WorkFactor != 18 {
		t.Error("the files that age writes by default must open, and no weaker ones be written")
	}
	heavy := bytes.Replace(file, []byte(fmt.Sprintf(" %d\n", cheap)), []byte(" 30\n"), 1)
	for _, tt := range []struct {
		name string
		file []byte
		pass string
		want string
	}{
		{"a wrong passphrase", file, passphrase + "x", "The passphrase is not right"},
		{"an empty file", nil, passphrase, "not in the age format"},
		{"something else", []byte("PK\x03\x04 a zip"), passphrase, "not in the age format"},
		{"too large", make([]byte, MaxFile+1), passphrase, "larger than 1024 KiB"},
		{"too much work", heavy, passphrase, "more work"},
		{"another document", sealed(t, `{"hello":1}`), passphrase, "no export of a broker"},
		{"not JSON", sealed(t, `CANARY`), passphrase, "no export of a broker"},
		{"a newer one", sealed(t, `{"format":"m365-token-broker-backup","version":2,"accounts":"elsewhere"}`), passphrase, "update this broker"},
		{"wrong types", sealed(t, `{"format":"m365-token-broker-backup","version":1,"accounts":"CANARY"}`), passphrase, "right types"},
	} {
		t.Run(tt.name, func(t *testing.T) { refused(t, tt.file, key(tt.pass), tt.want) })
	}
}

// sealed is a file with any content.
func sealed(t *testing.T, text string) []byte {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(cheap)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A file that is damaged in any byte, cut off anywhere or has anything behind its
// end is refused, and gives nothing.
func TestADamagedFileIsRefused(t *testing.T) {
	file := seal(t, document())
	for i := range file {
		for _, bit := range []byte{1, 0x80} {
			broken := bytes.Clone(file)
			broken[i] ^= bit
			refused(t, broken, key(passphrase), "Nothing was changed")
		}
		refused(t, file[:i], key(passphrase), "Nothing was changed")
	}
	refused(t, append(bytes.Clone(file), '\n'), key(passphrase), "The file is damaged")
	big := document()
	big.Files = append(big.Files, File{DropIns + "big.yaml", strings.Repeat("# filler\n", 20_000)}) // several chunks of age
	file = seal(t, big)
	for _, at := range []int{65536, 65552, 2 * 65552, len(file) - 65552, len(file) - 16, len(file) - 1} {
		refused(t, file[:at], key(passphrase), "The file is damaged")
		broken := bytes.Clone(file)
		broken[at] ^= 4
		refused(t, broken, key(passphrase), "The file is damaged")
	}
}

func TestAnArmoredFile(t *testing.T) {
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	if _, err := w.Write(seal(t, document())); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(out.Bytes(), key(passphrase)); err != nil {
		t.Error(err)
	}
	refused(t, out.Bytes()[:out.Len()/2], key(passphrase), "The file is damaged")
}

func TestDocumentsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Document){
		"account 1 has no refresh token":        func(d *Document) { d.Accounts[0].Grant.RefreshToken = token.Secret{} },
		"account 1 has no usable user name":     func(d *Document) { d.Accounts[0].Grant.Username = "a\nb" },
		"account 1 has no usable home":          func(d *Document) { d.Accounts[0].Grant.HomeAccountID = "" },
		"account 1 has no usable client":        func(d *Document) { d.Accounts[0].Grant.App.ClientID = strings.Repeat("x", 513) },
		"account 1 has no usable name":          func(d *Document) { d.Accounts[0].Name = "\x1b[2J" },
		"account 1 has an authority":            func(d *Document) { d.Accounts[0].Grant.App.Authority = "http://login.example" },
		"account 1 does not say when":           func(d *Document) { d.Accounts[0].Grant.SignedInOn = time.Time{} },
		"account 1 was signed in in a way":      func(d *Document) { d.Accounts[0].Grant.Flow = "password" },
		"account 1 has learned":                 func(d *Document) { d.Accounts[0].Learned = make([]byte, 64<<10+1) },
		"it does not say when":                  func(d *Document) { d.CreatedOn = time.Time{} },
		"the name of its broker or machine":     func(d *Document) { d.Host = "a\x00b" },
		"it has more than 1000 accounts":        func(d *Document) { d.Accounts = make([]Account, 1001) },
		"it has more than 1000 files":           func(d *Document) { d.Files = make([]File, 1001) },
		"file 2 of the configuration is there":  func(d *Document) { d.Files[1].Path = MainFile },
		"file 1 of the configuration has a pat": func(d *Document) { d.Files[0].Path = "../broker.yaml" },
	} {
		d := document()
		change(&d)
		if err := d.check(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
		if _, err := Seal(d, Lock{Passphrase: token.NewSecret(passphrase), WorkFactor: cheap}); token.KindOf(err) != token.KindConflict {
			t.Errorf("%s: sealed: %v", name, err)
		}
	}
}

func TestPathsOfTheConfiguration(t *testing.T) {
	for p, want := range map[string]bool{
		"broker.yaml": true, "conf.d/crm.yaml": true, "conf.d/A b.yaml": true,
		"": false, "conf.d/": false, "conf.d/.yaml": false, "conf.d/a/b.yaml": false, `conf.d/..\..\x.yaml`: false, "conf.d/../x.yaml": false,
		"/etc/x.yaml": false, "conf.d/a:b.yaml": false, "conf.d/crm.yml": false, "other.yaml": false, "conf.d/a\n.yaml": false,
	} {
		if goodPath(p) != want {
			t.Errorf("%q: %v", p, !want)
		}
	}
}

func TestAnExportThatIsTooLarge(t *testing.T) {
	d := document()
	d.Files[0].Text = strings.Repeat("x", MaxFile)
	_, err := Seal(d, Lock{Passphrase: token.NewSecret(passphrase), WorkFactor: cheap})
	if e := token.AsError(err); e.Kind != token.KindConflict || !strings.Contains(e.Detail, "leave the configuration out") {
		t.Error(err)
	}
}

func TestLocks(t *testing.T) {
	many := make([]string, 17)
	for name, l := range map[string]Lock{
		"one of the two":        {},
		"too many recipients":   {Recipients: many},
		"has 7 characters":      {Passphrase: token.NewSecret("CANARY!")},
		"Recipient 1 is no pub": {Recipients: []string{"AGE-SECRET-KEY-1CANARY"}},
	} {
		_, err := Seal(document(), l)
		if e := token.AsError(err); e.Kind != token.KindInvalidRequest || !strings.Contains(e.Detail, name) || strings.Contains(e.Detail, "CANARY") {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

func TestPassphrases(t *testing.T) {
	for text, good := range map[string]bool{
		passphrase: true, "zwölf Zeichen!": true, "abcdefghijkl": true,
		"abcdefghijk": false, "aaaaaaaaaaaaaaaa": false, "ababababababab": false, "": false,
		" correct horse battery": false, "correct horse\tbattery": false, strings.Repeat("abcdef", 200): false,
	} {
		if err := CheckPassphrase(token.NewSecret(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
	seen := map[string]bool{}
	for range 200 {
		p := NewPassphrase()
		if err := CheckPassphrase(p); err != nil {
			t.Errorf("%s: %v", p.Reveal(), err)
		}
		seen[p.Reveal()] = true
	}
	if len(seen) != 200 {
		t.Error("a passphrase was made twice")
	}
}

// Where the age tool is at hand, it opens the file.
func TestTheAgeToolOpensIt(t *testing.T) {
	tool, err := exec.LookPath("age")
	if err != nil {
		t.Log("the age tool is not here; its library wrote the file")
		return
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file, err := Seal(document(), Lock{Recipients: []string{id.Recipient().String()}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"file": string(file), "key": id.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(tool, "-d", "-i", filepath.Join(dir, "key"), filepath.Join(dir, "file")).Output()
	if err != nil || !bytes.Contains(out, []byte("CANARY-refresh")) {
		t.Errorf("%v: %s", err, out)
	}
}

// Whatever stands in a document, reading it neither fails badly nor lets through
// what check refuses, and what it lets through is written and read as the same.
func FuzzDocument(f *testing.F) {
	good, err := document().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":"m365-token-broker-backup","version":1,"created_at":"2026-11-01T08:00:00Z","accounts":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parse(raw)
		if err != nil {
			return
		}
		again, err := d.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		e, err := parse(again)
		if err != nil || shown(d) != shown(e) {
			t.Fatalf("%v\n%s\n%s", err, shown(d), shown(e))
		}
	})
}

// costly finds a work factor of two digits.
var costly = regexp.MustCompile(`-> scrypt \S+ \d\d`)

// Whatever a file is, opening it ends in a document or in an error of ours.
func FuzzOpen(f *testing.F) {
	file, err := Seal(document(), Lock{Passphrase: token.NewSecret(passphrase), WorkFactor: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 1\n"))
	f.Add([]byte(armor.Header + "\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if costly.Match(file) {
			return // takes too long to try
		}
		if _, err := Open(file, key(passphrase)); err != nil && token.KindOf(err) != token.KindInvalidRequest {
			t.Fatal(err)
		}
	})
}
