package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/backup"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

const testPassphrase = "correct horse battery CANARY"

// fakeBackup has one account, and remembers what it is told to import.
type fakeBackup struct {
	entered, goOn chan struct{} // where set, an export waits
	err           error
	imported      []string
}

func (f *fakeBackup) Export(_ context.Context, in BackupExport) ([]byte, backup.Document, error) {
	if f.entered != nil {
		f.entered <- struct{}{}
		<-f.goOn
	}
	d := backup.Document{CreatedOn: time.Now(), Broker: "1.0.0", Host: "SRV1", Accounts: []backup.Account{{Name: "ops", Grant: token.Grant{
		App:           token.App{Authority: "https://login.example", Tenant: "t", ClientID: "c"},
		HomeAccountID: "oid.tid", Username: "ops@contoso.com", Flow: token.FlowDevice,
		SignedInOn: time.Now(), ObtainedOn: time.Now(), RefreshToken: token.NewSecret("CANARY-refresh"),
	}}}}
	if !in.WithoutConfig {
		d.Files = []backup.File{{Path: backup.MainFile, Text: "tenant: t\n"}}
	}
	in.Lock.WorkFactor = 2
	file, err := backup.Seal(d, in.Lock)
	return file, d, err
}

func (f *fakeBackup) Read(file []byte, k backup.Key) (backup.Document, error) {
	return backup.Open(file, k)
}

func (f *fakeBackup) Import(_ context.Context, a backup.Account, how BackupImport) account.Outcome {
	f.imported = append(f.imported, fmt.Sprintf("%s %+v", a.Name, how))
	if f.err != nil {
		return account.Outcome{Name: a.Name, Fate: account.FateConflict, Err: token.AsError(f.err)}
	}
	return account.Outcome{Name: a.Name, Fate: account.FateNew, Note: "A note."}
}

func (f *fakeBackup) Resource() string { return "graph" }

// did keeps what an administrator did.
type did struct{ all []string }

func (d *did) Issued(*consumer.Identity, token.Key, string, string)   {}
func (d *did) Refused(*consumer.Identity, token.Kind, string, string) {}
func (d *did) Did(_ *consumer.Identity, action, subject, _ string) {
	d.all = append(d.all, action+" "+subject)
}

func withBackup(b *fakeBackup, d *did) func(*Config) {
	return func(c *Config) { c.Backup, c.Audit = b, d }
}

func (s *stack) post(path, body string) *http.Response {
	return s.do(call{method: http.MethodPost, path: path, key: s.admin, body: body})
}

// exported is a file as the API gives it.
func (s *stack) exported() Export {
	s.t.Helper()
	res := s.post("/v1/export", `{"passphrase":"`+testPassphrase+`"}`)
	var e Export
	if err := json.Unmarshal(read(s.t, res), &e); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%d, %v", res.StatusCode, err)
	}
	return e
}

func importBody(t *testing.T, in ImportRequest) string {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExportAndImport(t *testing.T) {
	b, d := &fakeBackup{}, &did{}
	s := newStack(t, withBackup(b, d))
	e := s.exported()
	if bytes.Contains(e.File, []byte("CANARY")) || !slices.Equal(e.Accounts, []string{"ops"}) || !slices.Equal(e.Config, []string{"broker.yaml"}) {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(s.log.String(), "level=WARN msg=\"sign-ins were exported") {
		t.Errorf("no warning in the log: %s", s.log)
	}
	in := ImportRequest{File: e.File, Passphrase: testPassphrase, DryRun: true}
	s.post(importPath, importBody(t, in))
	in.DryRun, in.Replace = false, true
	var out Import
	if err := json.Unmarshal(read(t, s.post(importPath, importBody(t, in))), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Accounts) != 1 || out.Accounts[0].Result != ImportedAccountResultNew || out.Accounts[0].Note != "A note." || out.Host != "SRV1" || out.Resource != "graph" || out.DryRun {
		t.Errorf("%+v", out)
	}
	if want := []string{"ops {Replace:false DryRun:true}", "ops {Replace:true DryRun:false}"}; !slices.Equal(b.imported, want) {
		t.Errorf("%v", b.imported)
	}
	if want := []string{"account.exported ops", "account.imported ops"}; !slices.Equal(d.all, want) {
		t.Errorf("the audit log was told %v", d.all)
	}
	b.err = token.NewError(token.KindConflict, "import", "In the way.")
	if err := json.Unmarshal(read(t, s.post(importPath, importBody(t, in))), &out); err != nil || out.Accounts[0].Problem.Detail != "In the way." {
		t.Errorf("%v, %+v", err, out)
	}
	if len(d.all) != 2 {
		t.Errorf("a conflict was told as done: %v", d.all)
	}
	if strings.Contains(s.log.String(), "CANARY") {
		t.Error("the log holds a secret")
	}
}

func TestImportsThatAreRefused(t *testing.T) {
	b := &fakeBackup{}
	s := newStack(t, withBackup(b, &did{}))
	file := s.exported().File
	for name, tt := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"a wrong passphrase": {importBody(t, ImportRequest{File: file, Passphrase: testPassphrase + "x"}), 400, "The passphrase is not right"},
		"a damaged file":     {importBody(t, ImportRequest{File: file[:len(file)-3], Passphrase: testPassphrase}), 400, "The file is damaged"},
		"no passphrase":      {importBody(t, ImportRequest{File: file}), 400, "one of the two"},
		"no file":            {`{"passphrase":"` + testPassphrase + `"}`, 400, "is missing"},
		"no base64":          {`{"file":"CANARY!","passphrase":"x"}`, 400, ""},
		"no JSON":            {testPassphrase, 400, "not JSON"},
		"a file too large":   {importBody(t, ImportRequest{File: make([]byte, 1<<20+64), Passphrase: testPassphrase}), 400, ""},
		"a body too large":   {`{"file":"` + strings.Repeat("A", maxImport) + `"}`, 413, "2048 KiB"},
	} {
		res := s.post(importPath, tt.body)
		text := string(read(t, res))
		if res.StatusCode != tt.status || !strings.Contains(text, tt.want) || strings.Contains(text, "CANARY") {
			t.Errorf("%s: %d %s", name, res.StatusCode, text)
		}
	}
	if b.imported != nil || strings.Contains(s.log.String(), "CANARY") {
		t.Errorf("imported %v; the log: %s", b.imported, s.log)
	}
	none := s.post("/v1/export", `{"passphrase":"`+testPassphrase+`","accounts":[]}`)
	if text := string(read(t, none)); none.StatusCode != http.StatusBadRequest || !strings.Contains(text, `accounts\" is empty; it takes the accounts to export.`) {
		t.Errorf("nobody to export: %d %s", none.StatusCode, text)
	}
	if res := s.post("/v1/export", `{"passphrase":"CANARY"}`); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a short passphrase: %d", res.StatusCode)
	}
}

// The body of an import is larger than any other's, and nobody but the
// administrator has it read.
func TestOnlyAnImportMayBeLarge(t *testing.T) {
	s := newStack(t, withBackup(&fakeBackup{}, &did{}))
	large := `{"file":"` + strings.Repeat("A", 1<<20) + `","passphrase":"x"}`
	for _, tt := range []struct {
		method, path, key string
		want              int
	}{
		{http.MethodPost, importPath, s.admin, 400},
		{http.MethodPost, importPath, s.crm, 403},
		{http.MethodPost, importPath, "", 401},
		{http.MethodPut, importPath, s.admin, 413},
		{http.MethodPost, "/v1/import/x", s.admin, 413},
		{http.MethodPost, "/v1/export", s.admin, 413},
		{http.MethodPost, "/v1/token", s.crm, 413},
	} {
		if res := s.do(call{method: tt.method, path: tt.path, key: tt.key, body: large}); res.StatusCode != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, res.StatusCode, tt.want)
		}
	}
}

func TestOneBackupAtATime(t *testing.T) {
	b := &fakeBackup{entered: make(chan struct{}), goOn: make(chan struct{})}
	s := newStack(t, withBackup(b, &did{}))
	first := make(chan *http.Response)
	body := `{"passphrase":"` + testPassphrase + `","without_config":true}`
	go func() { first <- s.post("/v1/export", body) }()
	<-b.entered
	if res := s.post("/v1/export", body); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "5" {
		t.Errorf("a second one: %d", res.StatusCode)
	}
	close(b.goOn)
	if res := <-first; res.StatusCode != http.StatusOK {
		t.Errorf("the first one: %d", res.StatusCode)
	}
	b.entered = nil
	s.exported()
	if res := newStack(t).post("/v1/export", body); res.StatusCode != http.StatusBadRequest {
		t.Errorf("without a Backup: %d", res.StatusCode)
	}
}
