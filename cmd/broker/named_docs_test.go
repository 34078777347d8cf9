package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commandLines are the commands in a document: in backticks, and at the beginning
// of a line of a code block.
func commandLines(text string) []string {
	var all []string
	block := regexp.MustCompile("(?ms)^ *```[a-z]+(?: run=[a-z-]+)?\n(.*?)^ *```")
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(m[1]) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "broker "); ok {
				rest, _, _ = strings.Cut(rest, "#") // a comment
				all = append(all, rest)
			}
		}
	}
	for _, m := range regexp.MustCompile("`broker ([a-z][^`\n]*)`").FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestDocumentsNameOnlyCommandsThatExist: what the documents tell people to run,
// this build has, with its flags.
func TestDocumentsNameOnlyCommandsThatExist(t *testing.T) {
	found := 0
	look := func(name string) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(text)) {
			found++
			if problem := runnable(line); problem != "" {
				t.Errorf("%s: broker %s: %s", name, line, problem)
			}
		}
	}
	look(filepath.Join(root, "README.md"))
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(name string, entry fs.DirEntry, err error) error {
		// A decision stays as it was made.
		if err == nil && !entry.IsDir() && strings.HasSuffix(name, ".md") && filepath.Base(filepath.Dir(name)) != "adr" {
			look(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 50 {
		t.Errorf("only %d commands were found in the documents; the search is broken", found)
	}
}

// runnable says what is wrong with a command line; "" is nothing.
func runnable(line string) string {
	words := strings.Fields(line)
	for i, w := range words {
		if w == "--" { // what follows is another program's
			words = words[:i]
			break
		}
	}
	cmd, rest, err := newRoot(environment{}).Find(words)
	switch {
	case err != nil:
		return err.Error()
	case !cmd.HasParent() && line != "--help":
		return "no such command"
	case cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-"):
		return "no subcommand " + rest[0]
	}
	for _, w := range rest {
		if problem := unknownFlag(cmd, w); problem != "" {
			return problem
		}
	}
	return ""
}

func unknownFlag(cmd *cobra.Command, word string) string {
	name, ok := strings.CutPrefix(word, "--")
	name, _, _ = strings.Cut(name, "=")
	if !ok || name == "help" || cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil {
		return ""
	}
	return "no flag --" + name
}
