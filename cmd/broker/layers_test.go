package main

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// floors is the house's plan, from the ground up. A package may import what
// stands on a lower floor, and nothing that stands on its own.
// docs/architecture.md has the picture.
var floors = [][]string{
	{"internal/token", "internal/ownerfile", "openapi"},
	{"internal/audit", "internal/config", "internal/credstore", "internal/lifecycle", "internal/local", "internal/notify", "internal/peer", "internal/processors"},
	{
		"internal/account", "internal/backup", "internal/cache", "internal/consumer", "internal/entra", "internal/ews", "internal/mapiadapter",
		"internal/refresh", "internal/reminder", "internal/sandbox", "internal/signin", "internal/sink", "internal/telemetry",
	},
	{"internal/broker", "internal/httpapi", "internal/proxy"},
	{"cmd/broker"},
}

// walls names the libraries that only one package may know, so that replacing
// one is that package's work alone.
var walls = []struct {
	library string   // the beginning of an import path
	homes   []string // who may import it
}{
	{"github.com/AzureAD/microsoft-authentication-library-for-go", []string{"internal/entra"}},
	{"github.com/labstack/", []string{"internal/httpapi"}},
	{"github.com/danieljoos/wincred", []string{"internal/credstore"}},
	{"github.com/godbus/dbus", []string{"internal/credstore"}},
	{"github.com/zalando/go-keyring", []string{"internal/credstore"}},
	{"github.com/go-ole/go-ole", []string{"internal/mapiadapter"}},
	{"github.com/Microsoft/go-winio", []string{"internal/local"}},
	{"filippo.io/age", []string{"internal/backup"}},
	{"github.com/spf13/cobra", []string{"cmd/broker"}},
	{"go.opentelemetry.io/", []string{"internal/telemetry"}},
	{"github.com/prometheus/", []string{"internal/telemetry"}},
}

// beside lists what stands beside the house: programs for developers, which the
// floors do not hold. They are never part of the product.
var beside = []string{"bench", "client", "packaging", "scripts"}

// floorOf is the floor of a package of the house, or -1. A package below
// another ("internal/credstore/credstoretest") belongs to it.
func floorOf(dir string) (int, string) {
	for i, floor := range floors {
		for _, p := range floor {
			if dir == p || strings.HasPrefix(dir, p+"/") {
				return i, p
			}
		}
	}
	return -1, ""
}

func isBeside(dir string) bool {
	return slices.ContainsFunc(beside, func(b string) bool { return dir == b || strings.HasPrefix(dir, b+"/") })
}

// Imports go down only, and never to a neighbour.
func TestFloors(t *testing.T) {
	for _, f := range house(t) {
		if f.test || isBeside(f.dir()) {
			continue
		}
		from, part := floorOf(f.dir())
		if from < 0 {
			t.Errorf("%s stands on no floor: give %s its place in floors (cmd/broker/layers_test.go) and in docs/architecture.md", f.path, f.dir())
			continue
		}
		for _, imported := range f.imports() {
			dir, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				checkWalls(t, f, imported)
				continue
			}
			to, other := floorOf(dir)
			switch {
			case to < 0:
				t.Errorf("%s imports %s, which stands on no floor; only tests may", f.path, dir)
			case part == other:
			case to == from:
				t.Errorf("%s imports its neighbour %s: declare the interface you need in %s and let cmd/broker join the two", f.path, dir, part)
			case to > from:
				t.Errorf("%s imports %s from a floor above: imports go down only", f.path, dir)
			}
		}
	}
}

func checkWalls(t *testing.T, f source, imported string) {
	t.Helper()
	_, part := floorOf(f.dir())
	for _, w := range walls {
		if strings.HasPrefix(imported, w.library) && !slices.Contains(w.homes, part) {
			t.Errorf("%s imports %s, which only %s may know", f.path, imported, strings.Join(w.homes, ", "))
		}
	}
	system := strings.HasPrefix(imported, "golang.org/x/sys/")
	if slices.Contains(floors[0], part) && strings.Contains(strings.Split(imported, "/")[0], ".") && !system {
		t.Errorf("%s imports %s: the ground stands on the standard library and golang.org/x/sys only", f.path, imported)
	}
}

// A package for tests ("…test") is imported by tests only.
func TestTestPackages(t *testing.T) {
	for _, f := range house(t) {
		if f.test || strings.HasSuffix(f.dir(), "test") {
			continue
		}
		for _, imported := range f.imports() {
			if strings.HasPrefix(imported, module) && strings.HasSuffix(path.Base(imported), "test") {
				t.Errorf("%s imports %s, which is for tests", f.path, imported)
			}
		}
	}
}
