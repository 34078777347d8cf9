package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/m365-token-broker/broker/internal/audit"
)

// maxAuditCheck is how much of an audit log is read here; `broker audit verify`
// reads all of it.
const maxAuditCheck = 16 << 20

// examineAuditLog looks whether the audit log can be written, and whether its
// chain holds.
func (p *parts) examineAuditLog(context.Context, wanted) []check {
	if all := p.examineAudit(); len(all) > 0 {
		for i := range all {
			all[i].Name = nameAudit
		}
		return all
	}
	if !p.watcher.Current().Config.Audit.File {
		return skipped("The audit log in files is switched off (audit.file).", nameAudit)
	}
	dir := auditDir(p.loaded.Places.StateDir)
	if size := sizeOf(dir); size > maxAuditCheck {
		return []check{{Name: nameAudit, Result: resultOK, Text: fmt.Sprintf("The audit log is written; its %d MiB are read by: broker audit verify", size>>20)}}
	}
	return []check{auditCheck(audit.Verify(dir, nil))}
}

// sizeOf is what the files of a directory hold.
func sizeOf(dir string) (size int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
			size += info.Size()
		}
	}
	return size
}

// auditCheck says what reading the log has shown.
func auditCheck(r audit.Report, err error) check {
	c := check{Name: nameAudit, Result: resultProblem, Remedy: "Keep a copy of the audit directory, find out who could write there, and see: broker audit verify"}
	switch {
	case errors.Is(err, audit.ErrNoLog):
		return skipped("There is no audit log yet.", nameAudit)[0]
	case err != nil:
		c.Text, c.Remedy = "The audit log cannot be read ("+err.Error()+").", "Give the broker's account access to the audit directory in the state directory."
	case r.Fault == nil:
		c.Result, c.Text, c.Remedy = resultOK, fmt.Sprintf("The audit log is written, and its chain of %d lines is whole.", r.Lines), ""
	case r.Fault.Kind == audit.FaultReported:
		c.Result, c.Text = resultWarning, "The audit log was found damaged when the broker opened it: "+r.Fault.Text
	default:
		c.Text = fmt.Sprintf("The audit log is not as it was written (%s, line %d): %s", r.Fault.File, r.Fault.Line, r.Fault.Text)
	}
	return c
}
