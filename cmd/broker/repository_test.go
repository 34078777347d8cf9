package main

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// required reads the modules that go.mod requires, and whether each is marked
// as needed only by others.
func required(t *testing.T) map[string]bool {
	t.Helper()
	indirect := map[string]bool{}
	for line := range strings.Lines(read(t, "go.mod")) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		fields := strings.Fields(line)
		if len(fields) >= 2 && strings.HasPrefix(fields[1], "v") && strings.Contains(fields[0], ".") {
			indirect[fields[0]] = strings.HasSuffix(line, "// indirect")
		}
	}
	return indirect
}

func TestNoReplace(t *testing.T) {
	for line := range strings.Lines(read(t, "go.mod")) {
		if strings.HasPrefix(line, "replace") || strings.Contains(line, "=>") {
			t.Errorf("go.mod has %q: `go install …@latest` refuses modules with a replace", strings.TrimSpace(line))
		}
	}
}

// Every module that our code imports has its reason in docs/dependencies.md,
// and that page names no other.
func TestDependencies(t *testing.T) {
	modules := slices.SortedFunc(maps.Keys(required(t)), func(a, b string) int { return len(b) - len(a) })
	used := map[string]string{} // module -> a file that imports it
	for _, f := range house(t) {
		for _, imported := range f.imports() {
			i := slices.IndexFunc(modules, func(m string) bool {
				return imported == m || strings.HasPrefix(imported, m+"/")
			})
			if i >= 0 {
				used[modules[i]] = f.path
			}
		}
	}
	explained := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` +\\|")
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		explained[m[1]] = true
	}
	for m, by := range used {
		if !explained[m] {
			t.Errorf("%s (imported by %s) has no line in docs/dependencies.md", m, by)
		}
	}
	for m := range explained {
		if used[m] == "" {
			t.Errorf("docs/dependencies.md explains %s, which nothing imports", m)
		}
	}
}

// leftovers must not stand in the repository: what somebody meant to do later,
// and places of a machine that builds it. The pattern is put together so that
// this file does not hold them.
var leftovers = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b|(^|[^\w.-])/(ro` + `ot|wo` + `rk|fa` + `rm)/`)

func TestNoLeftovers(t *testing.T) {
	err := walk(func(name string, text []byte) error {
		if path.Base(name) == "go.sum" || !utf8.Valid(text) {
			return nil
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if found := leftovers.FindString(line); found != "" {
				t.Errorf("%s:%d holds %q", name, n, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
