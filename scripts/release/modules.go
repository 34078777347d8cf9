package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// linked is what is linked into the programs of a release.
type linked struct {
	main    string // the product's own module
	golang  string // the version of Go, 1.26.8
	modules []module
}

type module struct{ path, version, sum string }

// readLinked reads the build information of the programs: what is really in
// them, whatever go.mod says.
func readLinked(programs []string) (linked, error) {
	l := linked{}
	found := map[string]module{}
	for _, name := range programs {
		info, err := buildinfo.ReadFile(name)
		if err != nil {
			return l, fmt.Errorf("%s: %w", name, err)
		}
		golang := strings.TrimPrefix(info.GoVersion, "go")
		if l.golang != "" && l.golang != golang {
			return l, fmt.Errorf("%s is made by Go %s, others by Go %s; build all with one", name, golang, l.golang)
		}
		l.main, l.golang = info.Main.Path, golang
		for _, d := range info.Deps {
			if d.Replace != nil {
				return l, fmt.Errorf("%s: %s is replaced; a release has no replacements", name, d.Path)
			}
			found[d.Path] = module{d.Path, d.Version, d.Sum}
		}
	}
	l.modules = slices.SortedFunc(maps.Values(found), func(a, b module) int { return cmp.Compare(a.path, b.path) })
	return l, nil
}

// license is one license file of a module.
type license struct {
	file string
	text string
}

// licenses reads the license files of the modules, which the go command has
// fetched to build them.
func (l linked) licenses() (map[string][]license, error) {
	args := []string{"list", "-m", "-json=Path,Dir"}
	for _, m := range l.modules {
		args = append(args, m.path+"@"+m.version)
	}
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask the go command where the modules are: %w", err)
	}
	all := map[string][]license{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if all[m.Path], err = licenseFiles(m.Dir); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path, err)
		}
	}
	return all, nil
}

// golangLicense is the license of the standard library.
func golangLicense() ([]license, error) {
	cmd := exec.CommandContext(context.Background(), "go", "env", "GOROOT")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask the go command where it is: %w", err)
	}
	return licenseFiles(strings.TrimSpace(string(out)))
}

// licenseFiles reads the license and notice files of a folder.
func licenseFiles(dir string) ([]license, error) {
	if dir == "" {
		return nil, errors.New("its files are not here; run go mod download")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []license
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "NOTICE") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		found = append(found, license{e.Name(), strings.ReplaceAll(string(text), "\r\n", "\n")})
	}
	if len(found) == 0 {
		return nil, errors.New("there is no license file; nobody may hand it on")
	}
	return found, nil
}

// phrases tell the licenses that this project takes apart, in this order. A
// license that none of them fits is one that somebody has to read.
var phrases = []struct{ id, phrase string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"MPL-2.0", "mozilla public license, version 2.0"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"BSD-3-Clause", "neither the name of"},
	{"BSD-3-Clause", "may not be used to endorse or promote"},
	{"BSD-2-Clause", "redistributions in binary form must reproduce the above copyright notice"},
}

// spdx names the licenses of a module.
func spdx(files []license) ([]string, error) {
	var ids []string
	for _, f := range files {
		if strings.HasPrefix(strings.ToUpper(f.file), "NOTICE") {
			continue
		}
		text := strings.Join(strings.Fields(strings.ToLower(f.text)), " ")
		text = strings.ReplaceAll(text, "apache license, version 2.0", "apache license version 2.0")
		for _, p := range phrases {
			if strings.Contains(text, p.phrase) {
				ids = append(ids, p.id)
				break
			}
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("its license is none that is known; read it, and name it in scripts/release/modules.go")
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// notices prints the licenses of all that is linked in, which most of them ask for.
func (r release) notices(out io.Writer, programs []string) error {
	l, err := readLinked(programs)
	if err != nil {
		return err
	}
	licenses, err := l.licenses()
	if err != nil {
		return err
	}
	golang, err := golangLicense()
	if err != nil {
		return fmt.Errorf("the license of Go: %w", err)
	}
	licenses["Go"] = golang
	var b strings.Builder
	fmt.Fprintf(&b, "M365 Token Broker %s holds the following, under the licenses below.\n", r.version)
	for _, m := range append([]module{{path: "Go", version: l.golang}}, l.modules...) {
		for _, f := range licenses[m.path] {
			fmt.Fprintf(&b, "\n%s\n%s %s: %s\n\n%s\n", strings.Repeat("=", 78), m.path, m.version, f.file, strings.TrimSpace(f.text))
		}
	}
	_, err = io.WriteString(out, b.String())
	return err
}
