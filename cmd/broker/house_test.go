package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/m365-token-broker/broker"
	root   = "../.."
)

// source is one Go file of the repository.
type source struct {
	path      string // from the repository's root, with slashes
	ast       *ast.File
	lines     int
	test      bool
	generated bool
}

var fset = token.NewFileSet()

func (f source) dir() string { return path.Dir(f.path) }

func (f source) imports() []string {
	var all []string
	for _, i := range f.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		all = append(all, p)
	}
	return all
}

// at is where a node stands, for a message.
func (f source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, fset.Position(n.Pos()).Line)
}

// product reports whether the rules for the product's own code hold here.
func (f source) product() bool {
	return !f.test && !f.generated && !isBeside(f.dir()) && !strings.HasSuffix(f.dir(), "test")
}

// house parses every Go file of the repository, whatever system it is for.
func house(t *testing.T) []source {
	t.Helper()
	all, err := parseHouse()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var parseHouse = sync.OnceValues(func() ([]source, error) {
	var all []source
	err := walk(func(name string, text []byte) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{
			path:      name,
			ast:       f,
			lines:     bytes.Count(text, []byte("\n")),
			test:      strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(f),
		})
		return nil
	})
	return all, err
})

// walk visits every file that belongs to the repository.
func walk(visit func(name string, text []byte) error) error {
	return fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		return visit(name, text)
	})
}

func TestPackageComments(t *testing.T) {
	commented := map[string]bool{}
	for _, f := range house(t) {
		if !f.test {
			commented[f.dir()] = commented[f.dir()] || f.ast.Doc != nil
		}
	}
	for dir, has := range commented {
		if !has {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// Files up to 400 lines, functions up to 60; the wiring is one long list by
// nature and may have 120.
func TestSizes(t *testing.T) {
	for _, f := range house(t) {
		if f.test || f.generated {
			continue
		}
		if f.lines > 400 {
			t.Errorf("%s has %d lines: split it by subject, 400 are the limit", f.path, f.lines)
		}
		limit := 60
		if f.path == "cmd/broker/wire.go" {
			limit = 120
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > limit {
				t.Errorf("%s: %s has %d lines, %d are the limit", f.at(fn), fn.Name.Name, n, limit)
			}
		}
	}
}

// Interfaces up to four methods. Functions aim at four parameters besides the
// context; an exported one may have five and others six, more belong into a
// Config.
func TestShapes(t *testing.T) {
	for _, f := range house(t) {
		if !f.product() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.InterfaceType:
				if k := n.Methods.NumFields(); k > 4 {
					t.Errorf("%s: an interface of %d methods; the caller needs a smaller one", f.at(n), k)
				}
			case *ast.FuncDecl:
				limit := 6
				if n.Name.IsExported() {
					limit = 5
				}
				if k := parameters(n.Type); k > limit {
					t.Errorf("%s: %s takes %d parameters besides the context, %d are the limit; take a Config", f.at(n), n.Name.Name, k, limit)
				}
			}
			return true
		})
	}
}

func parameters(fn *ast.FuncType) int {
	n := fn.Params.NumFields()
	if n > 0 && isSelector(fn.Params.List[0].Type, "context", "Context") {
		n--
	}
	return n
}

func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// No init functions, no state in package variables: errors, tables, compiled
// patterns and embedded files only, and linked…, which the linker sets (-X).
func TestNoGlobals(t *testing.T) {
	for _, f := range house(t) {
		if !f.product() {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: an init function; do it where the program is put together", f.at(d))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					checkVars(t, f, d)
				}
			}
		}
	}
}

func checkVars(t *testing.T, f source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if !ok || v.Names[0].Name == "_" || strings.HasPrefix(v.Names[0].Name, "linked") || embedded(d.Doc) || embedded(v.Doc) {
			continue
		}
		if len(v.Values) != len(v.Names) {
			t.Errorf("%s: package variable %s has no fixed value", f.at(v), v.Names[0].Name)
			continue
		}
		for i, name := range v.Names {
			if !fixed(v.Values[i]) {
				t.Errorf("%s: package variable %s can hold state; keep it in a struct that cmd/broker makes", f.at(v), name.Name)
			}
		}
	}
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// fixedCalls make values that nobody changes.
var fixedCalls = regexp.MustCompile(`^(errors\.New|fmt\.Errorf|regexp\.MustCompile|template\.Must|strings\.NewReplacer|` +
	`netip\.MustParse\w+|base64\.\w+\.\w+|maphash\.MakeSeed|windows\.NewLazySystemDLL|\w+\.NewProc)$`)

// fixed reports whether e is a table, or a call that makes a constant thing.
func fixed(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncLit:
		return true
	case *ast.CompositeLit:
		return !strings.HasPrefix(text(e.Type), "sync.") && !strings.HasPrefix(text(e.Type), "atomic.")
	case *ast.CallExpr:
		if a, ok := e.Fun.(*ast.ArrayType); ok { // []byte("…")
			return a.Len == nil
		}
		return fixedCalls.MatchString(text(e.Fun))
	}
	return false
}

// text is the source of a simple expression.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	}
	return ""
}

// Only the program itself and tests may make a context out of nothing.
func TestContexts(t *testing.T) {
	for _, f := range house(t) {
		if !f.product() || f.dir() == "cmd/broker" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if e, ok := n.(*ast.SelectorExpr); ok && isSelector(e, "context", "Background") {
				t.Errorf("%s: context.Background() outside cmd/broker: take the caller's context", f.at(e))
			}
			return true
		})
	}
}

// reveals is how often each package opens a token.Secret. A new place is a
// place where a secret can leave the process: it is counted here so that
// somebody reads it.
var reveals = map[string]int{
	"cmd/broker":         12,
	"internal/account":   1,
	"internal/backup":    5, // into the file that is encrypted, and what it is encrypted with
	"internal/cache":     3,
	"internal/config":    1,
	"internal/consumer":  2,
	"internal/entra":     3,
	"internal/httpapi":   3,
	"internal/lifecycle": 1, // the password of a service's account, into the call that makes the service
	"internal/notify":    2,
	"internal/proxy":     1, // the token, into the request for the resource
	"internal/sink":      3,
	"internal/token":     2,
}

func TestReveals(t *testing.T) {
	got := map[string]int{}
	for _, f := range house(t) {
		if !f.product() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Reveal" {
					got[f.dir()]++
				}
			}
			return true
		})
	}
	for dir := range got {
		if got[dir] != reveals[dir] {
			t.Errorf("%s calls Reveal %d times, the table in cmd/broker/house_test.go says %d: read each place, then correct the table", dir, got[dir], reveals[dir])
		}
	}
	for dir, n := range reveals {
		if got[dir] == 0 {
			t.Errorf("%s never calls Reveal, the table in cmd/broker/house_test.go says %d times", dir, n)
		}
	}
}
