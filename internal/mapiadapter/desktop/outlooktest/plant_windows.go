package outlooktest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Where the registry leads to a planted Outlook from.
type Where int

// The places that an installation is looked for in.
const (
	Native     Where = iota // App Paths, as a 64-bit program sees it
	Wow64                   // App Paths, as a 32-bit program sees it
	User                    // App Paths of the account
	ClickToRun              // the configuration of Click-to-Run
	Nowhere
)

// Setup is an Outlook and an account.
type Setup struct {
	Knobs    Knobs
	Where    Where
	Profiles []string // nil: one, "Outlook"; the first is the default
}

// Outlook is a planted stand-in.
type Outlook struct {
	Program string // OUTLOOK.EXE
	Local   string // a folder that plays %LOCALAPPDATA%
}

// Keys of the registry.
const (
	appPaths   = `SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\` + programName
	clickToRun = `SOFTWARE\Microsoft\Office\ClickToRun\Configuration`

	// Key is the account's key of Outlook, and PolicyKey that of its policies.
	Key       = `Software\Microsoft\Office\16.0\Outlook`
	PolicyKey = `Software\Policies\Microsoft\Office\16.0\Outlook`
)

// Version is what a planted Click-to-Run installation reports.
const Version = "16.0.18324.20190"

// Plant installs a stand-in, and profiles of the account, in the registry. All of
// it is gone after the test, the stand-in's processes too. A test of a real
// Windows is skipped.
func Plant(t testing.TB, s Setup) *Outlook {
	t.Helper()
	if !OnWine() {
		t.Skip("this test changes the registry keys of Outlook: it runs under Wine only")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "root", "Office16")
	o := &Outlook{Local: filepath.Join(root, "Local")}
	for _, d := range []string{dir, filepath.Join(o.Local, "Microsoft", "OneAuth"), filepath.Join(o.Local, "Microsoft", "TokenBroker", "Cache")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Knobs.Writes = slices.Clone(s.Knobs.Writes)
	for i, w := range s.Knobs.Writes {
		s.Knobs.Writes[i].Path = filepath.Join(o.Local, w.Path)
	}
	o.Program = installIn(t, dir, s.Knobs)
	t.Cleanup(func() { o.End(t) })
	switch s.Where {
	case Native:
		Set(t, registry.LOCAL_MACHINE, registry.WOW64_64KEY, appPaths, "", o.Program)
	case Wow64:
		Set(t, registry.LOCAL_MACHINE, registry.WOW64_32KEY, appPaths, "", `"`+o.Program+`"`)
	case User:
		Set(t, registry.CURRENT_USER, 0, appPaths, "", o.Program)
	case ClickToRun:
		Set(t, registry.LOCAL_MACHINE, registry.WOW64_64KEY, clickToRun, "InstallationPath", root)
		Set(t, registry.LOCAL_MACHINE, registry.WOW64_64KEY, clickToRun, "VersionToReport", Version)
	case Nowhere:
	}
	names := s.Profiles
	if names == nil {
		names = []string{"Outlook"}
	}
	for i, name := range names {
		SetUser(t, Key+`\Profiles\`+name+`\9375CFF0413111d3B88A00104B2A6676`, "NextAccountID", uint32(1))
		if i == 0 {
			SetUser(t, Key, "DefaultProfile", name)
		}
	}
	return o
}

// SetUser sets a value of the account until the test ends.
func SetUser(t testing.TB, path, name string, value any) {
	t.Helper()
	Set(t, registry.CURRENT_USER, 0, path, name, value)
}

// Set sets a value until the test ends: a text, or a number. A key that was not
// there goes with it, and with all that is below it.
func Set(t testing.TB, root registry.Key, view uint32, path, name string, value any) {
	t.Helper()
	missing := firstMissing(root, view, path)
	k, _, err := registry.CreateKey(root, path, registry.SET_VALUE|view)
	if err != nil {
		t.Fatalf("make the key %s: %v", path, err)
	}
	defer func() { _ = k.Close() }()
	switch v := value.(type) {
	case string:
		err = k.SetStringValue(name, v)
	case uint32:
		err = k.SetDWordValue(name, v)
	default:
		err = errors.ErrUnsupported
	}
	if err != nil {
		t.Fatalf("set %s in %s: %v", name, path, err)
	}
	t.Cleanup(func() {
		if missing != "" {
			deleteTree(root, view, missing)
			return
		}
		if k, err := registry.OpenKey(root, path, registry.SET_VALUE|view); err == nil {
			_ = k.DeleteValue(name) // gone already is gone
			_ = k.Close()
		}
	})
}

// firstMissing is the shortest beginning of the path that is no key yet; empty:
// there is the whole path.
func firstMissing(root registry.Key, view uint32, path string) string {
	parts := strings.Split(path, `\`)
	for i := range parts {
		at := strings.Join(parts[:i+1], `\`)
		k, err := registry.OpenKey(root, at, registry.QUERY_VALUE|view)
		if err != nil {
			return at
		}
		_ = k.Close()
	}
	return ""
}

// deleteTree deletes a key and all below it.
func deleteTree(root registry.Key, view uint32, path string) {
	k, err := registry.OpenKey(root, path, registry.ENUMERATE_SUB_KEYS|view)
	if err != nil {
		return
	}
	names, _ := k.ReadSubKeyNames(-1) // what is not listed stays, and the next line says so to nobody
	_ = k.Close()
	for _, name := range names {
		deleteTree(root, view, path+`\`+name)
	}
	parent, last := root, path
	if i := strings.LastIndexByte(path, '\\'); i > 0 {
		if parent, err = registry.OpenKey(root, path[:i], registry.QUERY_VALUE|view); err != nil {
			return
		}
		defer func() { _ = parent.Close() }()
		last = path[i+1:]
	}
	_ = registry.DeleteKey(parent, last)
}

// OnWine reports whether this Windows is Wine.
func OnWine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}
