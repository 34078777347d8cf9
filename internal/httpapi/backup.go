package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/backup"
	"github.com/m365-token-broker/broker/internal/token"
)

// Backup writes the file of an export and reads it.
type Backup interface {
	// Export gives the encrypted file, and what is in it.
	Export(ctx context.Context, in BackupExport) (file []byte, d backup.Document, err error)
	// Read decrypts a file and checks it as a whole.
	Read(file []byte, k backup.Key) (backup.Document, error)
	// Import takes over one account of a document, or says what would become of it.
	Import(ctx context.Context, a backup.Account, how BackupImport) account.Outcome
	// Resource is what a token can be asked for to see whether an account works.
	Resource() string
}

// BackupExport is which sign-ins to export, and how to encrypt them.
type BackupExport struct {
	Accounts      []string // aliases or user names; none: all
	WithoutConfig bool
	Lock          backup.Lock
}

// BackupImport is how to import an account.
type BackupImport struct {
	Replace bool // also where the sign-in here is newer
	DryRun  bool // change nothing
}

const importPath = "/v1/import"

// maxImport is how much the body of an import may hold: a file in base64, and
// what opens it.
const maxImport = 2 << 20

// backupAgain is when a caller may try again that met another export or import.
const backupAgain = 5 * time.Second

// bodyLimit is how much a request's body may hold. Nothing of it is read before
// the caller is known.
func bodyLimit(r *http.Request) int64 {
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path == importPath && r.Method == http.MethodPost {
		return maxImport
	}
	return maxBody
}

// oneBackup lets one export or import run at a time: each takes a second of a
// processor and 256 MiB.
func (s *Server) oneBackup() (release func(), err error) {
	switch {
	case s.cfg.Backup == nil:
		return nil, token.NewError(token.KindUnsupported, "backup", "This broker can neither export nor import.")
	case !s.backups.TryLock():
		return nil, &token.Error{Kind: token.KindRateLimited, Op: "backup", RetryAfter: backupAgain, Detail: "Another export or import is running; try again when it is done."}
	}
	return s.backups.Unlock, nil
}

// ExportAccounts answers with the encrypted file.
func (s *Server) ExportAccounts(c echo.Context) error {
	var in ExportRequest
	if err := s.decode(c, "ExportRequest", false, &in); err != nil {
		return err
	}
	release, err := s.oneBackup()
	if err != nil {
		return err
	}
	defer release()
	ctx := c.Request().Context()
	file, d, err := s.cfg.Backup.Export(ctx, BackupExport{
		Accounts: in.Accounts, WithoutConfig: in.WithoutConfig,
		Lock: backup.Lock{Passphrase: token.NewSecret(in.Passphrase), Recipients: in.Recipients},
	})
	if err != nil {
		return err
	}
	out := Export{File: file, Accounts: []string{}, Config: paths(d)}
	for _, a := range d.Accounts {
		out.Accounts = append(out.Accounts, a.Name)
		s.did(c, "account.exported", a.Name)
	}
	s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "sign-ins were exported: whoever has the file and its passphrase or key can use them anywhere",
		slog.Int("accounts", len(d.Accounts)), slog.String("request_id", requestID(c.Response())))
	return answer(c, http.StatusOK, out)
}

// ImportAccounts takes over the sign-ins of a file, one after the other. Nothing is
// changed before all of the file is known to be good.
func (s *Server) ImportAccounts(c echo.Context) error {
	var in ImportRequest
	if err := s.decode(c, "ImportRequest", false, &in); err != nil {
		return err
	}
	release, err := s.oneBackup()
	if err != nil {
		return err
	}
	defer release()
	d, err := s.cfg.Backup.Read(in.File, backup.Key{Passphrase: token.NewSecret(in.Passphrase), Identity: token.NewSecret(in.Identity)})
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	out := Import{
		CreatedAt: utc(d.CreatedOn), Broker: d.Broker, Host: d.Host, DryRun: in.DryRun,
		Resource: s.cfg.Backup.Resource(), Accounts: []ImportedAccount{}, Config: paths(d),
	}
	changed := 0
	for _, a := range d.Accounts {
		o := s.cfg.Backup.Import(ctx, a, BackupImport{Replace: in.Replace, DryRun: in.DryRun})
		if o.Fate.Changes() && !in.DryRun {
			changed++
			s.did(c, "account.imported", o.Name)
		}
		out.Accounts = append(out.Accounts, ImportedAccount{
			Account: o.Name, Username: a.Grant.Username, SignedInAt: utc(a.Grant.SignedInOn),
			Result: ImportedAccountResult(o.Fate), Note: o.Note, Problem: ProblemOf(o.Err),
		})
	}
	if changed > 0 {
		s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "sign-ins were imported", slog.Int("accounts", changed), slog.String("request_id", requestID(c.Response())))
	}
	return answer(c, http.StatusOK, out)
}

// paths are the files of the configuration in a document.
func paths(d backup.Document) []string {
	all := []string{}
	for _, f := range d.Files {
		all = append(all, f.Path)
	}
	return all
}
