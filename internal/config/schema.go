package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/m365-token-broker/broker/internal/token"
)

// field is one known key, as Config's tags declare it.
type field struct {
	name    string
	typ     reflect.Type
	index   int
	enum    []string
	example string
	short   bool // a value to shorten when it is shown
}

// fields lists the keys of a section in the order of its struct.
func fields(t reflect.Type) []field {
	all := make([]field, t.NumField())
	for i := range all {
		f := t.Field(i)
		all[i] = field{
			name: f.Tag.Get("yaml"), typ: f.Type, index: i,
			enum: strings.Fields(f.Tag.Get("enum")), example: f.Tag.Get("example"), short: f.Tag.Get("show") == "short",
		}
	}
	return all
}

func fieldNamed(t reflect.Type, name string) (field, bool) {
	all := fields(t)
	i := slices.IndexFunc(all, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return all[i], true
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
	}
	return names
}

// fixedSetting is a setting with a fixed name: none of a named entry.
type fixedSetting struct {
	at    key
	field field
}

// fixedSettings lists them in the order of Config.
func fixedSettings() []fixedSetting {
	var all []fixedSetting
	var add func(t reflect.Type, where key)
	add = func(t reflect.Type, where key) {
		for _, f := range fields(t) {
			switch at := where.in(f.name); shapeOf(f.typ) {
			case shapeText, shapeBool, shapeList:
				all = append(all, fixedSetting{at: at, field: f})
			case shapeSection:
				add(f.typ, at)
			case shapeNamed:
			}
		}
	}
	add(reflect.TypeFor[Config](), "")
	return all
}

// shape is what a value must look like.
type shape int

const (
	shapeText shape = iota
	shapeBool
	shapeList    // of texts
	shapeSection // fixed keys
	shapeNamed   // names of the user's choice, a section each
)

func shapeOf(t reflect.Type) shape {
	switch {
	case t == reflect.TypeFor[token.Secret](), isText(t):
		return shapeText
	case t.Kind() == reflect.Bool:
		return shapeBool
	case t.Kind() == reflect.Slice:
		return shapeList
	case t.Kind() == reflect.Map:
		return shapeNamed
	case t.Kind() == reflect.Struct:
		return shapeSection
	default:
		return shapeText
	}
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// String says what is expected, to go behind "must be".
func (s shape) String() string {
	return [...]string{"text", "true or false", "a list of texts", "a section of keys", "a section of names"}[s]
}

// scalar checks one text or bool that was written as text s. What it returns
// goes into a layer; ok is false where a problem was noted.
func (r *reader) scalar(f field, at key, s string, src Source) (value any, ok bool) {
	switch {
	case shapeOf(f.typ) == shapeBool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return nil, r.fault(src, at, "must be true or false")
		}
		return b, true
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return nil, r.fault(src, at, "holds a control character, such as a line break; write it on one line")
	case s != strings.TrimSpace(s):
		return nil, r.fault(src, at, "begins or ends with a space; remove it")
	case len(f.enum) > 0 && !slices.Contains(f.enum, s):
		return nil, r.fault(src, at, fmt.Sprintf("%q is not one of %s%s", s, oneOf(f.enum), didYouMean(s, f.enum)))
	}
	if into, ok := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(f.typ)); ok {
		if err := into.UnmarshalText([]byte(s)); err != nil {
			return nil, r.fault(src, at, fmt.Sprintf("%q %v", s, err))
		}
	}
	return s, true
}

// nearest is the known name that s was most probably meant to be, or "".
func nearest(s string, known []string) string {
	best, limit := "", max(2, len(s)/3)+1
	for _, k := range known {
		if d := levenshtein.Distance(strings.ToLower(s), strings.ToLower(k), nil); d < limit && d < len(k) {
			best, limit = k, d
		}
	}
	if best != "" || len(s) < 3 {
		return best
	}
	for _, k := range known {
		if strings.HasPrefix(s, k) || strings.HasPrefix(k, s) {
			return k
		}
	}
	return ""
}

// didYouMean is the tail of an error text, or "" where nothing is near.
func didYouMean(s string, known []string) string {
	if near := nearest(s, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// oneOf writes "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// secretText is the one door in this package from a Secret setting to its text,
// for checking and comparing; it is never shown.
func secretText(s token.Secret) string { return s.Reveal() }
