package main

import (
	"bytes"
	"cmp"
	"os"
	"os/user"
	"regexp"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/telemetry"
)

// This file takes the names of people out of what goes to support.

// meetUsers notes the names of accounts, which may be in anything that follows.
func (d *doctor) meetUsers(accounts []httpapi.Account, targets []httpapi.MapiTarget) {
	for _, a := range accounts {
		d.users = append(d.users, a.Account, a.Username)
	}
	for _, t := range targets {
		d.users = append(d.users, t.Account)
	}
}

// knownUsers are all names that are known: those that were met, those of the
// settings, and who runs this command.
func (d *doctor) knownUsers() []string {
	all := slices.Clone(d.users)
	if d.status != nil {
		for _, a := range d.status.Accounts {
			all = append(all, a.Account, a.Username)
		}
		for _, t := range d.status.Mapi {
			all = append(all, t.Account)
		}
	}
	if d.loaded != nil {
		cfg := d.loaded.Config
		for name, a := range cfg.Accounts {
			all = append(all, name, a.Username)
		}
		for _, c := range cfg.Consumers {
			all = append(all, append(c.Accounts, c.User)...)
		}
		for _, t := range cfg.MAPI {
			all = append(all, t.Account)
		}
	}
	if u, err := user.Current(); err == nil && strings.Contains(u.Username, `\`) { // DOMAIN\user, and no common word such as root
		all = append(all, u.Username)
	}
	return all
}

// explained are the settings with their sources; of an account's alias the key
// has its name.
func (d *doctor) explained() []config.Setting {
	if d.loaded == nil {
		return []config.Setting{}
	}
	return d.loaded.Explain()
}

// cleaner is what every entry of a bundle goes through.
type cleaner struct {
	text  func(string) string // secrets by their shape, mail addresses
	names *regexp.Regexp      // nil: no name is known
	hash  func(string) string
	home  *regexp.Regexp // nil: it is not known
}

// homeIn finds a home directory in a text, however its letters are written, which
// makes no difference to Windows; in JSON each backslash stands twice.
func homeIn(dir string) *regexp.Regexp {
	if len(dir) <= 2 {
		return nil
	}
	return regexp.MustCompile(`(?i)` + regexp.QuoteMeta(strings.ReplaceAll(dir, `\`, `\\`)) + `|` + regexp.QuoteMeta(dir))
}

// cleaner is keyed as the log is, so that an account has one name in all files.
func (d *doctor) cleaner() *cleaner {
	var key []byte
	if k, err := lifecycle.ReadAdminKey(d.dir); err == nil {
		key = []byte(k.Reveal())
	}
	c := &cleaner{}
	c.text, c.hash = telemetry.Cleaner(key)
	if home, err := os.UserHomeDir(); err == nil {
		c.home = homeIn(home)
	}
	names := slices.DeleteFunc(d.knownUsers(), func(s string) bool { return len(s) < 2 })
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) }) // the longest first
	for i, name := range names {
		names[i] = regexp.QuoteMeta(name)
		if strings.Contains(name, `\`) { // in JSON it stands twice
			names = append(names, strings.ReplaceAll(names[i], `\\`, `\\\\`))
		}
	}
	if len(names) > 0 {
		c.names = regexp.MustCompile(`(?i)(^|[^\pL\pN_@\\-])(` + strings.Join(slices.Compact(names), "|") + `)($|[^\pL\pN_@\\-])`)
	}
	return c
}

// clean takes secrets and names out, line by line.
func (c *cleaner) clean(data []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(data)) {
		body := strings.TrimRight(line, "\r\n")
		out.WriteString(c.line(body) + "\n")
	}
	return out.Bytes()
}

func (c *cleaner) line(s string) string {
	if c.home != nil {
		s = c.home.ReplaceAllLiteralString(s, "~")
	}
	s = c.text(s)
	if c.names == nil {
		return s
	}
	for range 2 { // two names may share the character between them
		s = c.names.ReplaceAllStringFunc(s, func(m string) string {
			p := c.names.FindStringSubmatch(m)
			return p[1] + "account-" + c.hash(strings.ReplaceAll(p[2], `\\`, `\`)) + p[3]
		})
	}
	return s
}
