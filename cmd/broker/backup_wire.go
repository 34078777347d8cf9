package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/backup"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
)

// backups is what the API needs to export and import: the book has the sign-ins,
// the watcher the configuration, and the file is the backup package's.
type backups struct{ p *parts }

// Export gives the encrypted file, and what is in it.
func (b backups) Export(_ context.Context, in httpapi.BackupExport) ([]byte, backup.Document, error) {
	saved, err := b.p.broker.Export(in.Accounts)
	if err != nil {
		return nil, backup.Document{}, err
	}
	host, _ := os.Hostname() // for a person who reads it; it may be unknown
	d := backup.Document{CreatedOn: time.Now(), Broker: version(), Host: host}
	for _, s := range saved {
		d.Accounts = append(d.Accounts, backup.Account(s))
	}
	if !in.WithoutConfig {
		texts, err := b.p.watcher.Current().Texts()
		if err != nil {
			return nil, backup.Document{}, err
		}
		for _, t := range texts {
			d.Files = append(d.Files, backup.File(t))
		}
	}
	in.Lock.WorkFactor = b.p.workFactor
	defer debug.FreeOSMemory() // scrypt took 256 MiB, which a broker that idles must not keep
	file, err := backup.Seal(d, in.Lock)
	return file, d, err
}

// Read decrypts a file and checks it.
func (b backups) Read(file []byte, k backup.Key) (backup.Document, error) {
	defer debug.FreeOSMemory()
	return backup.Open(file, k)
}

// Import takes over one account.
func (b backups) Import(ctx context.Context, a backup.Account, how httpapi.BackupImport) account.Outcome {
	if how.DryRun {
		return b.p.book.Weigh(account.Saved(a), how.Replace)
	}
	defer b.p.files.Poke() // they may be waiting for this
	return b.p.broker.Import(ctx, account.Saved(a), how.Replace)
}

// Resource is what to ask a token of to see whether an account works.
func (b backups) Resource() string { return b.p.broker.SignInResource() }

// texts are the files of a document, as the configuration takes them.
func texts(d backup.Document) []config.Text {
	var all []config.Text
	for _, f := range d.Files {
		all = append(all, config.Text(f))
	}
	return all
}
