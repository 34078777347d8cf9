package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"github.com/m365-token-broker/broker/internal/token"
)

// Options says where Load looks. The zero Options reads the default places and
// no environment.
type Options struct {
	ConfigPath string     // --config; "" = BROKER_CONFIG or the default place
	StateDir   string     // --state-dir; "" = BROKER_STATE_DIR or the default place
	Environ    []string   // os.Environ()
	Flags      []Override // --set and the flags that stand for a setting, in order
	GOOS       string     // runtime.GOOS when empty; tests name another

	// Policy reads the policy of the machine; nil: the registry, where there is one.
	Policy func() (PolicyKey, error)

	// replace stands in for files on disk, by path: a writer checks what it is
	// about to write. A nil value is a file about to be removed.
	replace map[string][]byte
	// alone leaves out the drop-ins and the policy.
	alone bool
}

// getenv looks a variable up in Environ; the last one wins, and on Windows
// names are without case.
func (o Options) getenv(name string) (value string) {
	for _, pair := range o.Environ {
		k, v, _ := strings.Cut(pair, "=")
		if k == name || (o.GOOS == "windows" && strings.EqualFold(k, name)) {
			value = v
		}
	}
	return value
}

// Loaded is one reading of all settings. It is immutable.
type Loaded struct {
	Config Config
	Places Places // absolute paths
	// Files that were read, in order; empty where all comes from elsewhere.
	Files []string
	// Warnings are one sentence each, for the log: not wrong, but worth a look.
	Warnings []string
	// ReadOn is when the reading began: what was written later may be missing.
	ReadOn time.Time

	sources map[key]Source
	options Options
	policy  PolicyKey
}

// Load reads and checks the settings. On any problem it returns an *Error that
// holds all of them, and no Loaded. A missing config file is fine unless it was
// named; Ready says whether there is enough to serve.
func Load(o Options) (*Loaded, error) {
	o = o.withGOOS()
	began := time.Now()
	places, err := o.Places()
	if err != nil {
		return nil, err
	}
	r := newReader(o.GOOS)
	policy := r.readPolicy(o)
	files := r.files(o, places)
	r.environment(o.Environ)
	r.flags(o.Flags)
	r.enforce()
	l := &Loaded{Places: places, Files: files, ReadOn: began, options: o, sources: r.sources, policy: policy}
	if err := r.assemble(&l.Config); err != nil {
		return nil, err
	}
	check(r, &l.Config)
	if len(r.problems) > 0 {
		sortProblems(r.problems, append([]string{places.ConfigFile}, files...))
		return nil, &Error{Problems: r.problems}
	}
	l.Warnings = r.warnings
	return l, nil
}

// Reload reads the same places with the same flags and environment again.
func (l *Loaded) Reload() (*Loaded, error) { return Load(l.options) }

// Ready says whether the settings are complete enough to serve; the *Error it
// returns says what is missing. Load itself does not ask for that, so that
// `version`, `demo` and `init` work without any configuration.
func (l *Loaded) Ready() error {
	var problems []Problem
	missing := func(k, value, env string) {
		if value == "" {
			problems = append(problems, Problem{
				Where: Source{Kind: FromFile, Name: l.Places.ConfigFile}, Key: k,
				Text: fmt.Sprintf("is not set; run `broker init`, which asks for it and writes this file (or set %s)", env),
			})
		}
	}
	missing("tenant", l.Config.Tenant, "BROKER_TENANT")
	missing("client_id", l.Config.ClientID, "BROKER_CLIENT_ID")
	if len(problems) > 0 {
		return &Error{Problems: problems}
	}
	return nil
}

func (o Options) withGOOS() Options {
	if o.GOOS == "" {
		o.GOOS = runtime.GOOS
	}
	return o
}

// Places locates the files of these options, with absolute paths, and reads
// none of them; see Locate. An error is an *Error.
func (o Options) Places() (Places, error) {
	o = o.withGOOS()
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if abs, err := filepath.Abs(o.ConfigPath); err == nil && o.ConfigPath != "" && o.GOOS == runtime.GOOS {
		o.ConfigPath = abs // so that it is known for the machine-wide one
	}
	p, err := Locate(o.GOOS, o.ConfigPath, o.StateDir, o.getenv, exists)
	if err != nil {
		return p, err
	}
	for _, path := range []*string{&p.ConfigFile, &p.ConfDir, &p.StateDir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return p, &Error{Problems: []Problem{{Text: "the working directory cannot be found out; give absolute paths"}}}
		}
	}
	return p, nil
}

// reader gathers the layers, where each setting came from, and all problems.
type reader struct {
	goos     string
	layers   []map[string]any
	sources  map[key]Source
	homes    map[key]Source // where each account, consumer and target is defined
	bad      map[key]bool   // keys with a problem of their own
	problems []Problem
	warnings []string

	mandatory *policyLayer // nil where no policy was read
}

func newReader(goos string) *reader {
	return &reader{goos: goos, sources: map[key]Source{}, homes: map[key]Source{}, bad: map[key]bool{}}
}

// fault notes a problem. It returns false, so that callers can end with it.
func (r *reader) fault(src Source, at key, text string) bool {
	r.problems = append(r.problems, Problem{Where: src, Key: at.String(), Text: text})
	r.bad[at] = true
	return false
}

func (r *reader) warn(src Source, at key, text string) {
	r.warnings = append(r.warnings, Problem{Where: src, Key: at.String(), Text: text}.String())
}

// files reads broker.yaml and the drop-ins, and returns those there were.
func (r *reader) files(o Options, p Places) []string {
	paths := []string{p.ConfigFile}
	if !o.alone {
		paths = append(paths, r.dropIns(o, p.ConfDir)...)
	}
	var read []string
	for _, path := range paths {
		src := Source{Kind: FromFile, Name: path}
		data, replaced := o.replace[path]
		if !replaced {
			var err error
			data, err = readFile(path)
			switch {
			case errors.Is(err, fs.ErrNotExist) && path == p.ConfigFile && !p.Required:
				continue
			case errors.Is(err, fs.ErrNotExist) && path == p.ConfigFile:
				r.fault(src, "", fmt.Sprintf("does not exist; write it with `broker init --config %s`, or name another file", path))
				continue
			case errors.Is(err, fs.ErrNotExist): // removed since the directory was listed
				continue
			case err != nil:
				r.fault(src, "", "cannot be read: "+reason(err))
				continue
			}
			r.trust(src, p.Shared)
		}
		read = append(read, path)
		r.file(path, data)
	}
	return read
}

// dropIns lists conf.d/*.yaml in name order.
func (r *reader) dropIns(o Options, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.fault(Source{Kind: FromFile, Name: dir}, "", "cannot be read: "+reason(err))
	}
	found := map[string]bool{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch ext := strings.ToLower(filepath.Ext(e.Name())); {
		case e.IsDir(), strings.HasPrefix(e.Name(), "."):
		case ext == ".yaml":
			found[path] = true
		case ext == ".yml":
			r.warn(Source{Kind: FromFile, Name: path}, "", "is not read; drop-ins end in .yaml, so rename it")
		}
	}
	for path, data := range o.replace {
		if filepath.Dir(path) != dir {
			continue
		}
		found[path] = true
		if data == nil {
			delete(found, path)
		}
	}
	return sortedKeys(found)
}

var errIsDir = errors.New("it is a directory")

// readFile is os.ReadFile that says what a directory is on every system.
func readFile(path string) ([]byte, error) {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil, errIsDir
	}
	return os.ReadFile(path)
}

// reason is the cause of a file error without the path, which stands before it,
// in the same words on every system where people meet it often.
func reason(err error) string {
	switch e, ok := errors.AsType[*fs.PathError](err); {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "the broker's user has no permission"
	case ok:
		return e.Err.Error()
	}
	return err.Error()
}

// assemble lays the layers on one another and fills c. The layers were checked
// against the schema, so that a failure here is a defect of ours.
func (r *reader) assemble(c *Config) error {
	cloud := CloudGlobal
	for _, layer := range r.layers {
		if name, ok := layer["cloud"].(string); ok {
			cloud = Cloud(name)
		}
	}
	base := builtin(cloud)
	r.noteBuiltin(base, "", Source{Kind: FromBuiltin, Name: string(cloud)})
	k := koanf.New("/")
	for _, layer := range append([]map[string]any{defaults(), base}, r.layers...) {
		if err := k.Load(confmap.Provider(layer, ""), nil); err != nil {
			return fmt.Errorf("merge the settings: %w", err)
		}
	}
	toSecret := func(_, to reflect.Type, data any) (any, error) {
		if s, ok := data.(string); ok && to == reflect.TypeFor[token.Secret]() {
			return token.NewSecret(s), nil
		}
		return data, nil
	}
	err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{Tag: "yaml", DecoderConfig: &mapstructure.DecoderConfig{
		DecodeHook:  mapstructure.ComposeDecodeHookFunc(toSecret, mapstructure.TextUnmarshallerHookFunc()),
		ErrorUnused: true,
	}})
	if err != nil {
		return fmt.Errorf("fill the settings: %w", err)
	}
	return nil
}

// noteBuiltin gives the built-in settings their source where nothing else set them.
func (r *reader) noteBuiltin(layer map[string]any, where key, src Source) {
	for name, v := range layer {
		at := where.in(name)
		if _, set := r.sources[at]; !set {
			r.sources[at] = src
		}
		if m, ok := v.(map[string]any); ok {
			r.noteBuiltin(m, at, src)
		}
	}
}
