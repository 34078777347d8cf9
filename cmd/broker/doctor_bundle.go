package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// This file makes the file for support.

// bundleFlags say where it goes.
type bundleFlags struct {
	file  string
	force bool
}

func (b *bundleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.file, "bundle", "", "also write a zip `file` for support: the report, the settings, the status and the log's end, without secrets and user names")
	cmd.Flags().BoolVar(&b.force, "force", false, "overwrite the file of --bundle")
}

// check refuses what cannot be written, before the doctor looks at anything.
func (b *bundleFlags) check(cmd *cobra.Command) error {
	switch {
	case b.file != "":
	case b.force:
		return usagef("--force overwrites the file of --bundle, and there is none; name it with --bundle")
	case cmd.Flags().Changed("bundle"):
		return usagef("--bundle needs the name of a file")
	default:
		return nil
	}
	if err := checkTarget(b.file, b.force); err != nil {
		return usagef("--bundle: %w", err)
	}
	return nil
}

// How much of what grows goes into a bundle.
const (
	bundleLog   = 2000    // lines of the log
	bundleTail  = 4 << 20 // bytes of the log that are looked at
	bundleAudit = 10000   // lines of the audit log that are counted
)

// entry is one file in a bundle.
type entry struct {
	name string
	data []byte
}

// pack writes the bundle and says what is in it.
func (d *doctor) pack(r httpapi.DoctorReport, b bundleFlags) error {
	entries, err := d.entries(r)
	if err != nil {
		return err
	}
	c := d.cleaner()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i, e := range entries {
		entries[i].data = c.clean(e.data)
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: time.Now().UTC()})
		if err == nil {
			_, err = w.Write(entries[i].data)
		}
		if err != nil {
			return fmt.Errorf("make the bundle: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("make the bundle: %w", err)
	}
	if err := ownerfile.WriteOwned(b.file, out.Bytes()); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	fmt.Fprintf(d.o.env.stderr, "broker: wrote %s, which only you can read; have a look before you send it:\n", printable(b.file))
	for _, e := range entries {
		fmt.Fprintf(d.o.env.stderr, "  %-12s %s\n", e.name, contents[e.name])
	}
	return nil
}

// contents are what the entries hold, for people.
var contents = map[string]string{
	"doctor.txt":   "this report",
	"doctor.json":  "this report, for programs",
	"version.json": "the version of this command",
	"config.json":  "every setting with its source, secrets redacted",
	"status.json":  "what the running broker says of itself",
	"audit.json":   "how often each event stands in the audit log, without names",
	"broker.log":   "the end of the broker's log",
}

// entries are the files of a bundle, not yet cleaned.
func (d *doctor) entries(r httpapi.DoctorReport) ([]entry, error) {
	var text bytes.Buffer
	if err := showChecks(&text, r.Checks); err != nil {
		return nil, err
	}
	all := []entry{{"doctor.txt", text.Bytes()}}
	add := func(name string, v any) error {
		var b bytes.Buffer
		if err := printJSON(&b, v); err != nil {
			return fmt.Errorf("make the bundle: %s: %w", name, err)
		}
		all = append(all, entry{name, b.Bytes()})
		return nil
	}
	err := errors.Join(add("doctor.json", r), add("version.json", readBuild()), add("config.json", d.settings()))
	if d.status != nil {
		err = errors.Join(err, add("status.json", d.status))
	}
	if d.dir == "" { // nor is there one of these, and no other directory has them
		return all, err
	}
	if counts := auditCounts(auditDir(d.dir)); counts != nil {
		err = errors.Join(err, add("audit.json", counts))
	}
	if tail := logTail(filepath.Join(d.dir, "logs", "broker.log")); len(tail) > 0 {
		all = append(all, entry{"broker.log", tail})
	}
	return all, err
}

// settings are the settings on the disk, as `broker config check` shows them; none
// where they are wrong, which the report says.
func (d *doctor) settings() checked {
	c := checked{OK: d.loaded != nil, Files: []string{}, Settings: d.explained(), Warnings: []string{}, Problems: []string{}}
	if d.loaded != nil {
		c.ConfigFile, c.StateDir = d.loaded.Places.ConfigFile, d.loaded.Places.StateDir
		c.Files, c.Warnings = append(c.Files, d.loaded.Files...), append(c.Warnings, d.loaded.Warnings...)
	}
	return c
}

// auditSummary is what a bundle has of the audit log.
type auditSummary struct {
	Lines  int            `json:"lines"` // the newest ones
	From   time.Time      `json:"from"`
	To     time.Time      `json:"to"`
	Events map[string]int `json:"events"`
}

// auditCounts counts the newest lines; nil where there is no log to be read.
func auditCounts(dir string) *auditSummary {
	lines, err := audit.Tail(dir, bundleAudit, func(audit.Line) bool { return true })
	if err != nil || len(lines) == 0 {
		return nil
	}
	s := &auditSummary{Lines: len(lines), From: lines[0].Time.Time, To: lines[len(lines)-1].Time.Time, Events: map[string]int{}}
	for _, l := range lines {
		s.Events[string(l.Event)]++
	}
	return s
}

// logTail is the end of a log file, whole lines; nothing where there is none.
func logTail(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	from := max(0, info.Size()-bundleTail)
	data := make([]byte, info.Size()-from)
	n, _ := f.ReadAt(data, from)
	data = data[:n]
	if from > 0 { // the first line is not whole
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	return slices.Concat(lines[max(0, len(lines)-bundleLog-1):]...)
}
