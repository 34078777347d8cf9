package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// versions reads what the lock files pin, and what Debian's tools say of
// themselves.
func (w *world) versions(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	var npm struct {
		Packages map[string]struct{ Version string }
	}
	text, err := os.ReadFile(filepath.Join(w.install, "node", "package-lock.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &npm); err != nil {
		return nil, fmt.Errorf("package-lock.json: %w", err)
	}
	for name, p := range npm.Packages {
		all[strings.TrimPrefix(name, "node_modules/")] = p.Version
	}
	for file, line := range map[string]*regexp.Regexp{
		"requirements.txt": regexp.MustCompile(`(?m)^()([\w.-]+)==(\S+)`),
		"go/go.mod":        regexp.MustCompile(`(?m)^\t(\S*/)?([\w.-]+) (v\S+)`),
	} {
		text, err := os.ReadFile(filepath.Join(w.install, file))
		if err != nil {
			return nil, err
		}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			all[m[2]] = m[3]
		}
	}
	number := regexp.MustCompile(`\d+(\.\d+)+`)
	for tool, flag := range map[string]string{"curl": "--version", "msmtp": "--version", "mbsync": "--version", "mutt": "-v"} {
		out, err := w.must(ctx, w.environ(), tool, flag)
		if err != nil {
			return nil, err
		}
		all[tool] = number.FindString(out)
	}
	python, err := w.must(ctx, w.environ(), filepath.Join(w.install, "python", "bin", "python"), "--version")
	all["python"] = number.FindString(python)
	return all, err
}
