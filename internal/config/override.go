package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Override is one setting from the command line.
type Override struct {
	Flag  string // as the person wrote it, "--listen" or "--set"
	Key   string // "listen", "telemetry.log_level", "resources.graph.base_url"
	Value string // lists are separated by commas
}

// notSettings are the variables of our prefix that are read elsewhere: places
// (Locate), and what `broker exec` hands to the program it runs.
var notSettings = [...]string{"BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_KEY", "BROKER_URL"}

const envPrefix = "BROKER_"

// envNames maps each variable to its key: every setting that is one text or one
// switch and has a fixed name.
func envNames() map[string]key {
	names := map[string]key{}
	for _, s := range fixedSettings() {
		if shapeOf(s.field.typ) != shapeList {
			names[envPrefix+strings.ToUpper(strings.ReplaceAll(string(s.at), "/", "_"))] = s.at
		}
	}
	return names
}

// environment reads BROKER_… as one layer. An empty variable counts as not set;
// Windows' names are without case.
func (r *reader) environment(environ []string) {
	known := envNames()
	layer := map[string]any{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if r.goos == "windows" {
			name = strings.ToUpper(name)
		}
		if !strings.HasPrefix(name, envPrefix) || value == "" || slices.Contains(notSettings[:], name) {
			continue
		}
		src := Source{Kind: FromEnv, Name: name}
		at, ok := known[name]
		if !ok {
			r.fault(src, "", "is no setting of the broker"+unknownEnvHint(name, known))
			continue
		}
		r.override(layer, at, value, src)
	}
	r.layers = append(r.layers, layer)
}

func unknownEnvHint(name string, known map[string]key) string {
	var names []string
	for _, n := range append(sortedKeys(known), notSettings[:]...) {
		names = append(names, strings.TrimPrefix(n, envPrefix))
	}
	if near := nearest(strings.TrimPrefix(name, envPrefix), names); near != "" {
		return fmt.Sprintf("; did you mean %s%s?", envPrefix, near)
	}
	return "; lists and named entries are set in broker.yaml or with --set, and other variables must not begin with BROKER_"
}

// flags reads the command line as one layer; the last of two wins.
func (r *reader) flags(overrides []Override) {
	layer := map[string]any{}
	for _, o := range overrides {
		src := Source{Kind: FromFlag, Name: o.Flag}
		at, ok := r.resolve(o.Key, src)
		if ok {
			r.override(layer, at, o.Value, src)
		}
	}
	r.layers = append(r.layers, layer)
}

// resolve finds the key that people write with dots. Names may hold dots too;
// as a name always stands between a top key and one of its fields, there is
// only one reading.
func (r *reader) resolve(dotted string, src Source) (key, bool) {
	top, rest, deep := strings.Cut(dotted, ".")
	f, ok := fieldNamed(reflect.TypeFor[Config](), top)
	if !ok {
		return "", r.fault(src, key(shown(top)), "unknown key"+unknownKeyHint(top, "", reflect.TypeFor[Config]()))
	}
	at, t := key(top), f.typ
	switch shapeOf(t) {
	case shapeSection:
	case shapeNamed:
		i := strings.LastIndexByte(rest, '.')
		if i < 0 || !ValidName(rest[:i]) {
			return "", r.fault(src, at, fmt.Sprintf("needs a name and a key, such as %s.NAME.%s; %s", top, fieldNames(t.Elem())[0], nameRule))
		}
		at, t, rest = at.in(rest[:i]), t.Elem(), rest[i+1:]
	default:
		if deep {
			return "", r.fault(src, key(shown(dotted)), fmt.Sprintf("unknown key; %q has no keys of its own", top))
		}
		return at, true
	}
	if rest == "" {
		return "", r.fault(src, at, "is a section; set one of its keys: "+oneOf(fieldNames(t)))
	}
	if _, ok := fieldNamed(t, rest); !ok {
		return "", r.fault(src, at.in(shown(rest)), "unknown key"+unknownKeyHint(rest, at, t))
	}
	return at.in(rest), true
}

// override puts one text into a layer.
func (r *reader) override(layer map[string]any, at key, text string, src Source) {
	f := fieldAt(at)
	layer = slot(layer, at)
	r.set(at, src)
	if shapeOf(f.typ) != shapeList {
		if v, ok := r.scalar(f, at, text, src); ok {
			layer[f.name] = v
		}
		return
	}
	items := []string{}
	for _, item := range strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' }) {
		r.sources[at.item(len(items))] = src
		items = append(items, item)
	}
	layer[f.name] = items
}

// slot is the map of a layer that holds the setting; those on the way are made.
func slot(layer map[string]any, at key) map[string]any {
	parts := strings.Split(string(at), "/")
	for _, part := range parts[:len(parts)-1] {
		inner, ok := layer[part].(map[string]any)
		if !ok {
			inner = map[string]any{}
			layer[part] = inner
		}
		layer = inner
	}
	return layer
}

// fieldAt is the field of a key that is known.
func fieldAt(at key) (f field) {
	t := reflect.TypeFor[Config]()
	for part := range strings.SplitSeq(string(at), "/") {
		if t.Kind() == reflect.Map {
			t = t.Elem()
			continue
		}
		f, _ = fieldNamed(t, part)
		t = f.typ
	}
	return f
}
