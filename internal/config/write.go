package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// InitValues are the answers that `broker init` collects; empty ones stay at
// their defaults.
type InitValues struct {
	Tenant    string
	ClientID  string
	Cloud     Cloud
	Listen    string
	Authority string
	CAFile    string
}

// Init writes a first broker.yaml, with comments, to path: in one step, for the
// owner only, in a directory for the owner only. Wrong values are refused with
// an *Error before anything is written. A file that is there already is an
// error of KindConflict unless force is set.
func Init(path string, v InitValues, force bool) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return token.NewError(token.KindInternal, "write the configuration", "The working directory cannot be found out; give an absolute path.")
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return token.NewError(token.KindConflict, "write the configuration",
			fmt.Sprintf("%s exists already; edit it, or use --force to replace it.", path))
	}
	data := v.yaml()
	l, err := Load(Options{ConfigPath: path, StateDir: filepath.Dir(path), replace: map[string][]byte{path: data}, alone: true})
	if err == nil {
		err = l.Ready()
	}
	if err != nil {
		return unplaced(err, path)
	}
	return writeOwnerOnly(path, data)
}

// yaml is the commented file. "#key:" at the start of a line shows a default.
func (v InitValues) yaml() []byte {
	var b bytes.Buffer
	set := func(k, value, standard, comment string) {
		for line := range strings.Lines(comment) {
			b.WriteString("# " + strings.TrimSpace(line) + "\n")
		}
		if value == "" {
			b.WriteString("#" + k + ": " + standard + "\n\n")
			return
		}
		b.WriteString(k + ": " + quoted(value) + "\n\n")
	}
	b.WriteString(initHead)
	set("tenant", v.Tenant, quoted("contoso.com"), "Your organisation: the tenant's ID, or one of its domains.")
	set("client_id", v.ClientID, quoted("00000000-0000-0000-0000-000000000000"), "Your app registration: its application (client) ID.")
	set("cloud", string(v.Cloud), string(CloudGlobal), "Which Microsoft cloud: global, gcchigh, dod or china.")
	set("listen", v.Listen, DefaultListen, "Where programs reach the broker: an address of this machine only.")
	set("authority", v.Authority, `""`, "Another login host, https://host[:port], for private clouds and tests.")
	set("ca_file", v.CAFile, `""`, "Extra root certificates (PEM), for the above and for TLS inspection.")
	b.WriteString(initTail)
	return b.Bytes()
}

const initHead = `# Settings of the M365 Token Broker, written by "broker init" and yours to edit.
# "broker config check" says what is wrong, and where each setting comes from.
# A running broker takes over a good change by itself and refuses a bad one.
# Lines that begin with "#" and a key show the default.

`

const initTail = `# More ways in, with the same keys: a Unix socket (Linux, macOS) that one group may
# open, or a named pipe (Windows) that some accounts or groups may open.
#socket: ""
#  /run/m365-token-broker/broker.sock
#socket_group: ""
#pipe: ""
#  '\\.\pipe\m365-token-broker'
#pipe_users: []
#  ['CONTOSO\svc-crm']

# The proxy to the internet, http://user:password@host:port. By default the
# variables HTTPS_PROXY and NO_PROXY say so.
#proxy_url: ""

# Where sign-ins are kept: auto, wincred, secret-service, file or memory.
#store: auto

# Short names for accounts. An account without one is known by its user name.
#accounts: {}
#  ops: {username: ops@contoso.com}

# What tokens are for. graph, ews, imap, smtp and pop are built in.
#resources: {}
#  crm: {scopes: ["api://crm/.default"], base_url: "https://crm.example.com"}

# Programs that may ask for tokens live in conf.d/, one file each, written by
# "broker consumers add NAME --account A --resource R". Each can be tied to a
# program (executable, sha256), an account (user) and hours.

# Outlook profiles that Extended MAPI programs work through, each with the Windows
# account that its program runs as.
#mapi: {}
#  archive: {profile: Outlook, account: 'CONTOSO\svc-archive', mode: cached, policy: nudge, notice: true, probe: false}

# Who is told when such a profile needs a person, besides the log: a webhook
# (https), a command, the Windows event log.
#notify: {webhook: "", webhook_secret_file: "", command: [], event_log: true}

# Protocols of other token services that the broker speaks as well.
#dialects: {managed_identity: true, azd: true, sidecar: true, sidecar_unauthenticated: false}

# Who got which token and who was refused, in a log whose lines are chained:
# in the state directory, and where chosen in the Windows event log too.
#audit: {file: true, event_log: false}

# log_level: debug, info, warn or error; log_format: auto, text or json.
# Traces and metrics follow the standard OTEL_* variables.
#telemetry: {log_level: info, log_format: auto}
`

// ownMark begins every drop-in that the broker wrote, and says so to people.
const ownMark = "# Written by the broker (broker consumers); changes made here by hand are kept only until its next change."

// SaveConsumer writes the consumer to conf.d/<name>.yaml, in one step and for
// the owner only, and returns that path. The settings as a whole are checked
// with the new file in place before it is written: what is wrong with the
// consumer is an error of KindInvalidRequest, what is wrong with the files on
// disk is an *Error.
//
// It touches only a file that the broker wrote, or that holds nothing but this
// consumer. Where the consumer is defined elsewhere the error is of
// KindConflict and names the file and the line to edit. Calls for one directory
// must not run at the same time.
func (l *Loaded) SaveConsumer(name string, c Consumer) (path string, err error) {
	if !ValidName(name) || isDevice(name) {
		return "", token.NewError(token.KindInvalidRequest, "save consumer", fmt.Sprintf("%q cannot be the name of a consumer; %s, and is no device of Windows such as con or nul.", clip(name), nameRule))
	}
	path, _, err = l.dropIn("save consumer", name)
	if err != nil {
		return "", err
	}
	data := c.yaml(name)
	o := l.options
	o.replace = map[string][]byte{path: data}
	if _, err := Load(o); err != nil {
		return "", rejected(unplaced(err, path))
	}
	return path, writeOwnerOnly(path, data)
}

// RemoveConsumer removes the consumer's drop-in, under the rules of
// SaveConsumer. A consumer that does not exist is an error of KindNotFound.
func (l *Loaded) RemoveConsumer(name string) error {
	const op = "remove consumer"
	var path string
	var exists bool
	if ValidName(name) { // only then may it be part of a path
		var err error
		if path, exists, err = l.dropIn(op, name); err != nil {
			return err
		}
	}
	if !exists {
		return token.NewError(token.KindNotFound, op, fmt.Sprintf("There is no consumer %q; `broker consumers list` shows them.", clip(name)))
	}
	if err := ownerfile.Remove(path); err != nil {
		return writeError(op, path, err)
	}
	return nil
}

// dropIn finds the consumer's own file, as the disk is now, and refuses where
// the consumer stands elsewhere, is the policy's, or the file holds more than the consumer.
func (l *Loaded) dropIn(op, name string) (path string, exists bool, err error) {
	path = filepath.Join(l.Places.ConfDir, name+".yaml")
	r := newReader(l.options.GOOS)
	r.readPolicy(l.options)
	if src, ok := r.policyOf(key("consumers").in(name).in("key_sha256")); ok {
		return "", false, token.NewError(token.KindConflict, op,
			fmt.Sprintf("Consumer %s is defined by the policy of this machine, in %s; have it changed there.", name, src))
	}
	r.files(l.options, l.Places) // for the homes; SaveConsumer's own check tells the problems
	if home, ok := r.homes[key("consumers").in(name)]; ok && home.Name != path {
		return "", false, token.NewError(token.KindConflict, op,
			fmt.Sprintf("Consumer %s is defined in %s, which is yours to edit; change it there, or remove it there first.", name, home))
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, false, nil
	case err != nil:
		return "", false, writeError(op, path, err)
	case bytes.HasPrefix(data, []byte(ownMark)):
		return path, true, nil
	}
	if other, line := otherThan(data, name); other != "" {
		return "", false, token.NewError(token.KindConflict, op,
			fmt.Sprintf("%s:%d sets %s too, so the broker leaves this file alone; edit it by hand, or move that part to another file of %s.", path, line, other, filepath.Dir(path)))
	}
	return path, true, nil
}

// otherThan finds the first key in a drop-in that is not the consumer's.
func otherThan(data []byte, name string) (other string, line int) {
	docs, err := parseYAML(data)
	if err != nil {
		src, _, _ := yamlFault(Source{}, err)
		return "something that is not valid YAML", src.Line
	}
	allowed := map[string]bool{"consumers": true}
	var look func(n ast.Node, path key, allowed map[string]bool)
	look = func(n ast.Node, path key, allowed map[string]bool) {
		m, ok := n.(ast.MapNode)
		if !ok {
			return
		}
		for it := m.MapRange(); it.Next() && other == ""; {
			k := it.Key().GetToken()
			if !allowed[k.Value] {
				other, line = path.in(shown(k.Value)).String(), k.Position.Line
				return
			}
			if path == "" {
				look(it.Value(), "consumers", map[string]bool{name: true})
			}
		}
	}
	for _, doc := range docs {
		look(doc.Body, "", allowed)
	}
	return other, line
}

// yaml is the drop-in. Every value is written as JSON, which is YAML too and
// leaves no question of quoting.
func (c Consumer) yaml(name string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nconsumers:\n  %s:\n", ownMark, quoted(name))
	v := reflect.ValueOf(c)
	for _, f := range fields(v.Type()) {
		value := v.Field(f.index)
		if !value.IsZero() || f.name == "key_sha256" {
			fmt.Fprintf(&b, "    %s: %s\n", f.name, quoted(value.Interface()))
		}
	}
	return b.Bytes()
}

// quoted is v as JSON without HTML escapes.
func quoted(v any) string {
	if list, ok := v.([]string); ok && list == nil {
		return "[]"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // texts, switches and lists of texts cannot fail
	return strings.TrimSpace(b.String())
}

// unplaced takes the place off problems in a file that was never written.
func unplaced(err error, path string) error {
	if e, ok := errors.AsType[*Error](err); ok {
		for i := range e.Problems {
			if e.Problems[i].Where.Name == path {
				e.Problems[i].Where = Source{}
			}
		}
	}
	return err
}

// rejected makes problems that lie only in what was to be written the caller's.
func rejected(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.Where != (Source{}) }) {
		return err
	}
	return token.NewError(token.KindInvalidRequest, "save consumer", strings.ReplaceAll(e.Error(), "\n", "; "))
}

// isDevice reports whether Windows takes name.yaml for a device.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	switch base {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(base) == 4 && (strings.HasPrefix(base, "com") || strings.HasPrefix(base, "lpt")) && base[3] >= '0' && base[3] <= '9'
}

// writeOwnerOnly replaces path in one step, so that a crash leaves the old file
// or the new one.
func writeOwnerOnly(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return writeError("write the configuration", path, err)
	}
	if err := ownerfile.Write(path, data); err != nil {
		return writeError("write the configuration", path, err)
	}
	return nil
}

func writeError(op, path string, err error) error {
	return &token.Error{
		Kind: token.KindInternal, Op: op, Err: err,
		Detail: fmt.Sprintf("%s cannot be written (%s); check that the broker's user may write there and that the disk is not full.", path, reason(err)),
	}
}
