package main

import (
	"fmt"
	"regexp"
	"strings"
)

// block is a fenced block of docs/consumers.md.
type block struct {
	name     string // of run=NAME; empty where it is not run
	language string
	text     string
	line     int
	after    string // the paragraph that follows
}

var (
	fence   = regexp.MustCompile("^```([a-z]+)(?: run=([a-z-]+))?$")
	notRun  = regexp.MustCompile(`not run here`)
	heading = regexp.MustCompile(`^#+ `)
)

// blocks reads a document's fenced blocks. It fails where a fence is neither
// opened nor closed as this page does it.
func blocks(document string) ([]block, error) {
	var all []block
	var open *block
	for i, line := range strings.Split(document, "\n") {
		switch {
		case open == nil && strings.HasPrefix(line, "```"):
			m := fence.FindStringSubmatch(line)
			if m == nil {
				return nil, fmt.Errorf("line %d: %q is not ```LANGUAGE or ```LANGUAGE run=NAME", i+1, line)
			}
			open = &block{language: m[1], name: m[2], line: i + 1}
		case open != nil && line == "```":
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case len(all) > 0 && !heading.MatchString(line):
			all[len(all)-1].after += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.line)
	}
	return all, nil
}

// recipes are the blocks that run, by name.
func recipes(document string) (map[string]block, error) {
	list, err := blocks(document)
	if err != nil {
		return nil, err
	}
	named := map[string]block{}
	for _, b := range list {
		if b.name == "" {
			continue
		}
		if _, twice := named[b.name]; twice {
			return nil, fmt.Errorf("line %d: run=%s stands on the page twice", b.line, b.name)
		}
		named[b.name] = b
	}
	return named, nil
}

// swap replaces parts of a recipe; a part that is not there is a fault of the
// table that names it.
func swap(text string, pairs ...string) (string, error) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			return "", fmt.Errorf("the recipe does not hold %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text, nil
}
