package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile is far above any real file; beyond it something else was named.
const maxFile = 1 << 20

// namePattern is what accounts, resources, consumers and MAPI targets may be
// called. It holds no slash, see key, and no "@", so that an alias is never
// mistaken for a user name.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// plainKey is what stands in error texts without quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidName reports whether name may name an account, a resource, a consumer
// or a MAPI target.
func ValidName(name string) bool { return namePattern.MatchString(name) }

const nameRule = `a name has 1 to 64 characters of a-z, 0-9, ".", "_" and "-", and begins with a letter or a digit`

// file reads one YAML file into a layer and notes everything that is wrong with it.
func (r *reader) file(path string, data []byte) {
	src := Source{Kind: FromFile, Name: path}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // Notepad's byte order mark
	switch {
	case len(data) > maxFile:
		r.fault(src, "", "is larger than 1 MiB; this cannot be a configuration file")
		return
	case !utf8.Valid(data):
		r.fault(src, "", "is not UTF-8 text; save it as UTF-8")
		return
	}
	docs, err := parseYAML(data)
	if err != nil {
		r.fault(yamlFault(src, err))
		return
	}
	var body ast.Node
	for _, doc := range docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			r.fault(at(src, doc.Body), "", `begins a second YAML document; a configuration file is one document, so remove the "---"`)
			return
		}
		body = doc.Body
	}
	if body == nil {
		return
	}
	if layer := r.section(body, reflect.TypeFor[Config](), "", src, ""); layer != nil {
		r.layers = append(r.layers, layer)
	}
}

// parseYAML keeps a defect of the parser on odd input from ending the broker:
// a panic becomes an error, so that a reload keeps the old settings.
func parseYAML(data []byte) (docs []*ast.DocumentNode, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the YAML parser gave up on this file")
		}
	}()
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	return f.Docs, nil
}

// yamlFault takes message and line out of a parser's error. Its full text would
// quote the lines around, and with them secrets.
func yamlFault(src Source, err error) (Source, key, string) {
	text := "the YAML parser gave up on this file"
	if e, ok := errors.AsType[yaml.Error](err); ok {
		text = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			src.Line = t.Position.Line
		}
	}
	return src, "", "is not valid YAML: " + text
}

// at is the place of a node.
func at(src Source, n ast.Node) Source {
	if t := n.GetToken(); t != nil && t.Position != nil {
		src.Line = t.Position.Line
	}
	return src
}

// section reads fixed keys.
func (r *reader) section(n ast.Node, t reflect.Type, where key, src Source, example string) map[string]any {
	layer := map[string]any{}
	ok := r.eachKey(n, shapeSection, where, src, example, func(name string, value ast.Node, src Source) {
		f, known := fieldNamed(t, name)
		if !known {
			r.fault(src, where.in(shown(name)), "unknown key"+unknownKeyHint(name, where, t))
			return
		}
		if v, ok := r.value(value, f, where.in(name), src); ok {
			layer[name] = v
			r.set(where.in(name), src)
		}
	})
	if !ok {
		return nil
	}
	return layer
}

// named reads a section whose keys are names.
func (r *reader) named(n ast.Node, f field, where key, src Source) (any, bool) {
	layer := map[string]any{}
	ok := r.eachKey(n, shapeNamed, where, src, f.example, func(name string, value ast.Node, src Source) {
		at := where.in(name)
		switch {
		case !ValidName(name):
			r.fault(src, where, fmt.Sprintf("%s cannot be a name; %s", strconv.Quote(clip(name)), nameRule))
			return
		case !r.claim(at, src):
			return
		}
		r.sources[at] = src
		layer[name] = map[string]any{}
		if value.Type() == ast.NullType {
			return
		}
		if entry := r.section(value, f.typ.Elem(), at, src, ""); entry != nil {
			layer[name] = entry
		}
	})
	return layer, ok
}

// claim notes where an account, a consumer or a MAPI target is defined; two
// files that define the same one are a mistake. Resources may be laid over one
// another: that is how a built-in one is changed.
func (r *reader) claim(at key, src Source) bool {
	if first, ok := r.homes[at]; ok && first.Name != src.Name {
		return r.fault(src, at, fmt.Sprintf("is already defined in %s; keep one of the two", first))
	}
	if !strings.HasPrefix(string(at), "resources/") {
		r.homes[at] = src
	}
	return true
}

// eachKey calls do for every key of a mapping, and reports whether n is one.
func (r *reader) eachKey(n ast.Node, want shape, where key, src Source, example string, do func(string, ast.Node, Source)) bool {
	m, ok := n.(ast.MapNode)
	if !ok {
		return r.mismatch(n, want, where, src, example)
	}
	lines := map[string]int{}
	for it := m.MapRange(); it.Next(); {
		k := it.Key()
		src := at(src, k)
		scalar, ok := k.(ast.ScalarNode)
		if !ok || k.IsMergeKey() || k.GetToken() == nil {
			r.fault(src, where, "has a key that is not plain text; write keys as they stand in the documentation")
			continue
		}
		name := scalar.GetToken().Value
		if first, twice := lines[name]; twice {
			r.fault(src, where.in(shown(name)), fmt.Sprintf("is already set in line %d; keep one of the two", first))
			continue
		}
		lines[name] = src.Line
		do(name, it.Value(), src)
	}
	return true
}

// value reads what stands behind one known key. A key with nothing behind it
// counts as not set.
func (r *reader) value(n ast.Node, f field, where key, src Source) (any, bool) {
	if n == nil || n.Type() == ast.NullType {
		return nil, false
	}
	switch want := shapeOf(f.typ); want {
	case shapeSection:
		layer := r.section(n, f.typ, where, src, f.example)
		return layer, layer != nil
	case shapeNamed:
		return r.named(n, f, where, src)
	case shapeList:
		return r.list(n, f, where, src)
	case shapeBool:
		if b, ok := n.(*ast.BoolNode); ok {
			return b.Value, true
		}
		return nil, r.mismatch(n, want, where, src, f.hint())
	default:
		if s, ok := textOf(n); ok {
			return r.scalar(f, where, s, src)
		}
		return nil, r.mismatch(n, want, where, src, f.hint())
	}
}

func (r *reader) list(n ast.Node, f field, where key, src Source) (any, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, r.mismatch(n, shapeList, where, src, f.hint())
	}
	items, good := []string{}, true
	for i, node := range seq.Values {
		src := at(src, node)
		r.sources[where.item(i)] = src
		s, ok := textOf(node)
		if !ok {
			good = r.mismatch(node, shapeText, where.item(i), src, "")
			continue
		}
		if _, ok = r.scalar(field{typ: reflect.TypeFor[string]()}, where.item(i), s, src); !ok {
			good = false
		}
		items = append(items, s)
	}
	if !good {
		r.bad[where] = true
	}
	return items, good
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// mismatch notes that n is not what was wanted, and returns false.
func (r *reader) mismatch(n ast.Node, want shape, where key, src Source, example string) bool {
	is := map[ast.NodeType]string{
		ast.SequenceType: "is a list", ast.MappingType: "is a section of keys", ast.MappingValueType: "is a section of keys",
		ast.StringType: "is text", ast.LiteralType: "is text", ast.BoolType: "is true or false", ast.NullType: "is empty",
		ast.IntegerType: "is a number", ast.FloatType: "is a number", ast.InfinityType: "is a number", ast.NanType: "is a number",
	}[n.Type()]
	if src.Line == 0 {
		src = at(src, n)
	}
	if is == "" {
		return r.fault(src, where, "uses a YAML tag, anchor or alias, which is not supported here; write the value out")
	}
	text := fmt.Sprintf("%s, but must be %s", is, want)
	switch {
	case want == shapeText && slices.Contains([]ast.NodeType{ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType, ast.BoolType}, n.Type()):
		text += "; put it in quotes"
	case example != "":
		text += fmt.Sprintf("; for example %s: %s", where.name(), example)
	}
	return r.fault(src, where, text)
}

// shown is a key of the user's as it may stand in an error text.
func shown(name string) string {
	if plainKey.MatchString(name) {
		return name
	}
	return strconv.Quote(clip(name))
}

// clip keeps error texts short.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// hint is an example of the key's value.
func (f field) hint() string {
	if len(f.enum) > 0 {
		return f.enum[0]
	}
	return f.example
}

// unknownKeyHint ends the text on an unknown key: the nearest known key of the
// section, the section that the key belongs to, or all keys there are.
func unknownKeyHint(name string, where key, t reflect.Type) string {
	names := fieldNames(t)
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		home := key(f.name)
		switch {
		case f.name == name:
			return "; it belongs at the top of the file, without indentation"
		case shapeOf(f.typ) == shapeSection && home != where && slices.Contains(fieldNames(f.typ), name):
			return fmt.Sprintf("; it belongs under %q", home)
		}
	}
	return "; known keys here: " + oneOf(names)
}
